import { chunkKey, parseChunkSize, probeOrder, recordedChunks } from '../annex/chunk-log.js'
import { hashDirLower } from '../annex/hash-dirs.js'
import { keyFile, type Key } from '../annex/key.js'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Cipher } from '../cipher/cipher.js'
import type { Bytes } from '../space/space.js'
import type { ObjectName, ObjectStore, StoredObject } from '../stores/store.js'
import { partRange } from './chunks.js'
import { openLegacyChunks } from './chunks-legacy.js'
import type { Demand } from './source.js'

/** One way in which a content may lie in a store: objects that are parts of equal size, the last one shorter. */
export interface Layout {
  /** For messages: `the whole`, `chunks of 1048576 bytes`. */
  readonly label: string
  readonly partSize: Bytes
  readonly count: number
  /** Tells the objects of one store apart. */
  idOf(index: number): string
  /** Undefined when the store surely does not have that part. @throws as the store. */
  open(index: number, demand: Demand): Promise<StoredObject | undefined>
}

export interface LayoutOptions {
  readonly remote: AnnexRemote
  readonly store: ObjectStore
  readonly annex: Pick<AnnexRepository, 'stateOf'>
  readonly key: Key
  readonly length: Bytes
  readonly cipher: Cipher | undefined
  /** Of an exported or imported tree. */
  readonly paths?: readonly Buffer[]
}

/** Old remotes that cut objects into files themselves. */
const LEGACY_KINDS = ['directory', 'webdav']

/** All ways in which `key` may lie in the store, in the order in which git-annex looks for them. */
export async function layoutsOf(options: LayoutOptions): Promise<readonly Layout[]> {
  const { remote, annex, key, length, cipher, paths } = options
  if (paths !== undefined) return treeLayouts(options, paths)
  const chunk = parseChunkSize(remote.config.get('chunk'))
  const legacy = chunk === undefined && LEGACY_KINDS.includes(remote.kind) && isSet(remote.config.get('chunksize'))
  const recorded = recordedChunks(await annex.stateOf(key, '.log.cnk'), remote.uuid, length)
  const variants = cipher?.namesOf(key).length ?? 1
  const layouts: Layout[] = []
  for (const stored of probeOrder({ key, length, chunk, recorded })) {
    for (let variant = 0; variant < variants; variant++) {
      if (stored.kind === 'chunks') layouts.push(chunkLayout(options, stored.size, stored.count, variant))
      else {
        if (legacy) layouts.push(legacyLayout(options, variant))
        layouts.push(wholeLayout(options, variant))
      }
    }
  }
  return layouts
}

function isSet(text: string | undefined): boolean {
  return parseChunkSize(text) !== undefined
}

function storedKey({ cipher }: LayoutOptions, key: Key, variant: number): Key {
  return cipher?.namesOf(key)[variant] ?? key
}

function wholeLayout(options: LayoutOptions, variant: number): Layout {
  const { store, key, length, cipher } = options
  const stored = storedKey(options, key, variant)
  const name: ObjectName = { key: stored, content: key, ...(cipher === undefined ? { size: length } : {}) }
  return {
    label: 'the whole',
    partSize: Math.max(1, length),
    count: 1,
    idOf: () => stored.raw,
    open: (_, { signal }) => store.open(name, signal),
  }
}

function legacyLayout(options: LayoutOptions, variant: number): Layout {
  const { store, key, length, cipher } = options
  const stored = storedKey(options, key, variant)
  const name: ObjectName = { key: stored, content: key, ...(cipher === undefined ? { size: length } : {}) }
  return {
    label: 'chunks without a record',
    partSize: Math.max(1, length),
    count: 1,
    idOf: () => `${stored.raw}.chunk`,
    open: (_, demand) => openLegacyChunks(store, name, demand),
  }
}

function chunkLayout(options: LayoutOptions, size: Bytes, count: number, variant: number): Layout {
  const { store, key, length, cipher } = options
  const keyAt = (index: number): Key => storedKey(options, chunkKey(key, size, index + 1), variant)
  return {
    label: `chunks of ${size} bytes`,
    partSize: size,
    count,
    idOf: (index) => keyAt(index).raw,
    open: (index, { signal }) => {
      const { start, end } = partRange(index, size, length)
      return store.open(
        { key: keyAt(index), content: key, ...(cipher === undefined ? { size: end - start } : {}) },
        signal,
      )
    },
  }
}

function treeLayouts(options: LayoutOptions, paths: readonly Buffer[]): readonly Layout[] {
  const { remote, store, key, length } = options
  // Content that is in no exported file, of remotes made by newer versions of git-annex.
  const hidden = `.git/annex/objects/${hashDirLower(key)}${keyFile(key)}/${keyFile(key)}`
  const all = remote.config.get('annexobjects') === 'yes' ? [...paths, Buffer.from(hidden, 'latin1')] : paths
  return all.map((path) => ({
    label: `the file ${path.toString()}`,
    partSize: Math.max(1, length),
    count: 1,
    idOf: () => `path:${path.toString('latin1')}`,
    open: (_, { signal }) => store.open({ key, content: key, path, size: length }, signal),
  }))
}
