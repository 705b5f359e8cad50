import { setImmediate as turn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { entryKind, treeEntries, type TreeEntry } from '../git/tree-object.js'
import type { Log } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import type { Key } from './key.js'
import { KeyPaths } from './key-paths.js'
import { linkKey, LONGEST_POINTER, pointerKey, SHORTEST_POINTER } from './pointer.js'

/** Longest tree object that is read. */
const LONGEST_TREE: Bytes = 256 * 1024 * 1024
/** Files whose blobs are asked for at once. */
const BATCH = 1000
/** More files than any repository has that git can bear; only a tree made to exhaust us has more. */
const MOST_FILES = 5_000_000
const LONGEST_PATH: Bytes = 4096
/** What the lists of all trees may take in memory. */
const KEPT: Bytes = 768 * 1024 * 1024

/** What trees that were exported to remotes say about where keys are. */
export class Exports {
  readonly #git: GitRepository
  readonly #log: Log
  readonly #room: Bytes | undefined
  readonly #trees = new LRUCache<string, KeyPaths>({ maxSize: KEPT, sizeCalculation: (paths) => paths.bytes })
  readonly #reading = new Map<string, Promise<KeyPaths>>()
  #closed = false

  /** @param room for the paths of one tree; default: half a gibibyte. */
  constructor(git: GitRepository, log: Log, room?: Bytes) {
    this.#git = git
    this.#log = log
    this.#room = room
  }

  /** The paths, in raw bytes below the remote's root, under which `key` may lie: of each of `trees` in turn. */
  async paths(key: Key, trees: readonly string[]): Promise<readonly Buffer[]> {
    const found = new Map<string, Buffer>()
    for (const tree of trees) {
      for (const path of (await this.#tree(tree)).of(key.raw)) found.set(path.toString('latin1'), path)
    }
    return [...found.values()]
  }

  close(): void {
    this.#closed = true
    this.#trees.clear()
  }

  /** Read once, also for many who ask at once. */
  async #tree(sha: string): Promise<KeyPaths> {
    const known = this.#trees.get(sha)
    if (known !== undefined) return known
    let reading = this.#reading.get(sha)
    if (reading === undefined) {
      reading = this.#read(sha).finally(() => this.#reading.delete(sha))
      this.#reading.set(sha, reading)
    }
    return reading
  }

  async #read(sha: string): Promise<KeyPaths> {
    const started = performance.now()
    const paths = new KeyPaths(this.#room)
    const complete = await this.#walk(sha, paths)
    if (complete) this.#trees.set(sha, paths)
    const took = Math.round(performance.now() - started)
    this.#log.debug('read an exported tree', { tree: sha, files: paths.count, milliseconds: took })
    return paths
  }

  /** Adds all annexed files; false when something could not be read, so that it is read again next time. */
  async #walk(root: string, paths: KeyPaths): Promise<boolean> {
    const folders: { sha: string; path: string }[] = [{ sha: root, path: '' }]
    let complete = true
    let seen = 0
    let batch: Found[] = []
    const flush = async (): Promise<boolean> => {
      const files = batch
      batch = []
      if (await this.#addFiles(files, paths)) return true
      this.#log.warn('the paths of an exported tree are too long together; only the first are looked at', {
        tree: root,
        files: paths.count,
      })
      return false
    }
    for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
      if (this.#closed) return false
      const { sha, path } = folder
      const object = await this.#git.objects.read(sha, LONGEST_TREE).catch((error: unknown) => {
        this.#log.warn('a folder of an exported tree cannot be read', { tree: sha, reason: reasonOf(error) })
      })
      if (object === undefined || object.type !== 'tree') {
        complete = false
        continue
      }
      const inner: { sha: string; path: string }[] = []
      for (const entry of treeEntries(object.bytes, sha.length / 2)) {
        if (++seen > MOST_FILES) {
          this.#log.warn('an exported tree has too many files; only the first are looked at', {
            tree: root,
            most: MOST_FILES,
          })
          await flush()
          return true
        }
        const place = `${path}${entry.name}`
        if (place.length > LONGEST_PATH || !isName(entry.name)) continue
        const kind = entryKind(entry.mode)
        if (kind === 'dir') inner.push({ sha: entry.sha, path: `${place}/` })
        else if (kind === 'file' || kind === 'link') batch.push({ entry, place })
        if (batch.length >= BATCH && !(await flush())) return true
      }
      folders.push(...inner.reverse())
    }
    await flush()
    return complete
  }

  async #addFiles(files: readonly Found[], paths: KeyPaths): Promise<boolean> {
    if (files.length === 0) return true
    const { objects } = this.#git
    const infos = await objects.infos(files.map(({ entry }) => entry.sha))
    const small = files.flatMap((file, index) => {
      const info = infos[index]
      const fits = info?.type === 'blob' && info.size >= SHORTEST_POINTER && info.size <= LONGEST_POINTER
      return fits ? [{ file, info }] : []
    })
    const blobs = await objects.readAll(small.map(({ info }) => info))
    for (const [index, { file }] of small.entries()) {
      const bytes = blobs[index]?.bytes
      if (bytes === undefined) continue
      const key = entryKind(file.entry.mode) === 'link' ? linkKey(bytes) : pointerKey(bytes)
      if (key !== undefined && !paths.add(key.raw, Buffer.from(file.place, 'latin1'))) return false
    }
    await turn()
    return true
  }
}

interface Found {
  readonly entry: TreeEntry
  /** Its path from the root, bytes as latin1. */
  readonly place: string
}

/** A name that stays where it is put. */
function isName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && !name.includes('/')
}
