import { join } from 'node:path/posix'
import { isStable, type Key } from '../annex/key.js'
import type { CachedSpace } from '../cache/store.js'
import { silentLog } from '../log/log.js'
import { baselineWasm } from '../net/baseline-wasm.js'
import { pretendedWeb } from '../net/pretended-web.js'
import { sourcesForKey } from '../sources/annex.js'
import { webSource } from '../sources/web.js'
import type { Bytes, PieceSpace, SpaceId } from '../space/space.js'
import type { Entry } from '../tree/tree.js'
import { Activity } from './activity.js'
import type { Content } from './content.js'
import type { Deps } from './deps.js'
import type { Volume } from './volume.js'
import { RoutedFile } from './routed-file.js'
import { spaceRoute } from './space-route.js'
import { Spaces } from './spaces.js'

const KIB = 1024
const LENGTH: Bytes = 8 * 1024 * KIB
const PIECE: Bytes = 128 * KIB
/** A key that nothing is recorded of. */
const NOWHERE: Key = {
  raw: 'WORM-s0-m0--annexfs',
  backend: 'WORM',
  size: 0,
  mtime: 0,
  chunkSize: undefined,
  chunkNumber: undefined,
  name: 'annexfs',
}
/** Several SOURCEs are folders of the root. */
const DEEPEST = 3
/** Each read is in a turn of its own: somebody may read for good meanwhile. */
const READS: readonly Bytes[] = [0, 64 * KIB, 128 * KIB, 4096 * KIB, 2048 * KIB, 6144 * KIB]

/**
 * Reads a made-up file from a made-up server through all layers, so that the code is compiled before somebody waits for
 * it: the first read of a mount takes half as long. Nothing leaves the process, and nothing reaches the cache.
 */
export async function rehearseReading(): Promise<void> {
  // The parser of heads is made here.
  const parser = baselineWasm()
  const web = pretendedWeb(LENGTH)
  const log = silentLog
  const space: PieceSpace = { id: 'rehearsal:1' as SpaceId, length: LENGTH, pieceLength: PIECE }
  const activity = new Activity()
  const spaces = new Spaces({ store: { open: forgetful }, cacheLimit: LENGTH, log, activity })
  const source = webSource({ url: 'http://rehearsal.invalid/', client: web, log })
  try {
    const spec = { slice: { space, offset: 0, length: LENGTH }, sources: only(source), check: undefined }
    const first = spaceRoute('rehearsal', spec, { spaces, log, verify: 'normal', readahead: 4 * PIECE })
    const routed = new RoutedFile({ contentId: space.id, size: LENGTH, log, routes: [], first })
    const file = activity.watch('rehearsal', routed)
    const into = Buffer.alloc(64 * KIB)
    for (const offset of READS) await file.read(offset, into.length, into, AbortSignal.timeout(1_000))
    file.close()
  } finally {
    parser.restore()
    activity.waits.close()
    spaces.close()
    await web.close()
  }
}

/**
 * Opens and closes an annexed file near the root, if there is one. Asks git alone, and reads no log of the file: that may
 * be long.
 */
export async function rehearseOpening(
  volume: Pick<Volume, 'list' | 'open'>,
  deps: Pick<Deps, 'stores'>,
): Promise<void> {
  const signal = AbortSignal.timeout(5_000)
  let folder: string | undefined = '/'
  for (let depth = 0; depth < DEEPEST && folder !== undefined; depth++) {
    const entries: readonly Entry<Content>[] = await volume.list(folder, signal)
    for (const { name, node } of entries) {
      if (node.kind !== 'file' || node.content.kind !== 'key') continue
      const { key, annex } = node.content
      // Of others the size, or the version, is asked of a source when they are opened.
      if (!isStable(key) || key.size === undefined) continue
      const file = await volume.open(node, join(folder, name), signal)
      file.close()
      await sourcesForKey({ annex, key: NOWHERE, stores: deps.stores.of(annex), log: silentLog })
      await deps.stores.of(annex).client()
      return
    }
    const next = entries.find(({ node }) => node.kind === 'dir')
    folder = next === undefined ? undefined : join(folder, next.name)
  }
}

function only<T>(source: T): () => Promise<{ sources: readonly T[]; unusable: readonly [] }> {
  return () => Promise.resolve({ sources: [source], unusable: [] })
}

/** A cache that keeps nothing. */
function forgetful(space: PieceSpace): CachedSpace {
  return {
    space,
    has: () => false,
    readSync: () => 'miss',
    read: () => Promise.resolve(undefined),
    put: () => Promise.resolve(false),
    summary: () => ({ cachedBytes: 0, complete: false, assurance: 'none' }),
    cachedIn: () => 0,
    states: (from, to) => new Uint8Array(to - from),
    markWhole: () => Promise.resolve(),
    drop: () => Promise.resolve(),
    close: () => undefined,
  }
}
