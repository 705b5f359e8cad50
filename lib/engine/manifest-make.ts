import { displayKey } from '../annex/key.js'
import { AnnexfsError, isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import { ManifestHasher } from '../manifest/hash.js'
import { Manifests } from '../manifest/manifests.js'
import { ManifestRecorder } from '../manifest/record.js'
import { canHaveManifest, manifestProblem, type ManifestKey } from '../manifest/rule.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { FileNode } from '../tree/tree.js'
import type { Content, KeyContent } from './content.js'
import type { Volume } from './volume.js'
import { readInto } from './read-into.js'

export interface MakeOptions {
  /** Of the repository, opened without the use of manifests. */
  readonly volume: Volume
  readonly git: GitRepository
  /** Files and folders, each `/` or `/a/b`. */
  readonly paths: readonly string[]
  readonly sign: boolean
  /** Also keys that have a manifest: one that turns out to be false is replaced. */
  readonly again: boolean
  /** Only content that the repository itself has. */
  readonly localOnly: boolean
  readonly dryRun: boolean
  /** Contents that are read at once. */
  readonly jobs: number
  readonly readTimeout: Milliseconds
  readonly log: Log
  readonly signal: AbortSignal
  /** Told of each key that something is to be said of. */
  readonly onKey?: (path: string, what: 'local' | 'fetch', size: Bytes) => void
}

/** What {@link makeManifests} did. Counts are of keys, each counted once however many files have it. */
export interface MakeReport {
  recorded: number
  /** They had a manifest already. */
  known: number
  /** Keys that can have no manifest: no hash, no size, empty. */
  refused: number
  /** With `localOnly`: not here. */
  absent: number
  /** Content that could not be had. */
  unavailable: number
  /** Content that is not what its key says. */
  wrong: number
  /** Files of submodules, which have refs of their own. */
  elsewhere: number
  /** Content that was read, or would be. */
  bytes: Bytes
}

/** An interruption loses at most this: manifests, content that was read for them, time. */
const BATCH_BYTES: Bytes = 32 * 1024 * 1024
const BATCH_CONTENT: Bytes = 16 * 1024 ** 3
const BATCH_TIME: Milliseconds = 300_000
/** What is read at once of content that is fetched. */
const STEP: Bytes = 1024 * 1024

/**
 * Makes and records the manifests of files and of all files in folders: reads their content, from the repository itself
 * or from wherever it is, compares it with the keys, and commits to the repository's own ref in batches.
 * What fails for one key is logged and counted, and the others go on; when the signal fires, what was made is committed.
 * @throws AnnexfsError NOT_FOUND for a path, SYSTEM when git cannot write, the signal's reason.
 */
export async function makeManifests(options: MakeOptions, report: MakeReport): Promise<void> {
  const maker = new Maker(options, report)
  await maker.run()
}

/** A report of nothing yet. */
export function emptyReport(): MakeReport {
  return { recorded: 0, known: 0, refused: 0, absent: 0, unavailable: 0, wrong: 0, elsewhere: 0, bytes: 0 }
}

interface Item {
  readonly path: string
  readonly node: FileNode<Content>
  readonly content: KeyContent
  readonly key: ManifestKey
}

class Maker {
  readonly #options: MakeOptions
  readonly #report: MakeReport
  readonly #manifests: Manifests
  readonly #recorder: ManifestRecorder
  readonly #seen = new Set<string>()
  #committing: Promise<void> = Promise.resolve()
  #content: Bytes = 0
  #committedAt = performance.now()

  constructor(options: MakeOptions, report: MakeReport) {
    this.#options = options
    this.#report = report
    const { git, sign, log } = options
    this.#manifests = new Manifests(git, { signatures: 'ignore', log })
    // Not the caller's signal: what was made is committed also when the caller gives up.
    this.#recorder = new ManifestRecorder({ git, sign, signal: new AbortController().signal })
  }

  async run(): Promise<void> {
    const items = this.#items()
    const workers = Array.from({ length: this.#options.jobs }, () => this.#work(items))
    const ends = await Promise.allSettled(workers)
    await this.#commit()
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  async #work(items: AsyncGenerator<Item>): Promise<void> {
    const hasher = new ManifestHasher()
    try {
      for (let next = await items.next(); next.done !== true; next = await items.next()) {
        throwIfAborted(this.#options.signal)
        await this.#make(next.value, hasher)
      }
    } finally {
      await items.return(undefined)
      await hasher.close()
    }
  }

  async #make(item: Item, hasher: ManifestHasher): Promise<void> {
    const { options, report } = { options: this.#options, report: this.#report }
    const { key } = item
    const object = await item.content.annex.objectPath(key)
    if (object === undefined && options.localOnly) {
      report.absent += 1
      return
    }
    options.onKey?.(item.path, object === undefined ? 'fetch' : 'local', key.size)
    if (options.dryRun) {
      report.bytes += key.size
      return
    }
    try {
      const pieces =
        object === undefined
          ? await hasher.stream(this.#fetch(item), key, options.signal)
          : await hasher.file(object.path, key, options.signal)
      if (object !== undefined) report.bytes += key.size
      this.#recorder.add(key, pieces)
      this.#content += key.size
    } catch (error) {
      throwIfAborted(options.signal)
      this.#failed(item, object === undefined ? 'what was fetched' : 'the object in the repository', error)
      return
    }
    const late = performance.now() - this.#committedAt > BATCH_TIME
    if (late || this.#content >= BATCH_CONTENT || this.#recorder.pendingBytes >= BATCH_BYTES) await this.#commit()
  }

  #failed({ path, key }: Item, what: string, error: unknown): void {
    const { log } = this.#options
    if (isAnnexfsError(error, 'CORRUPT')) {
      this.#report.wrong += 1
      log.error(`${what} is not the content of its key; no manifest was made`, {
        path,
        key: displayKey(key),
        reason: reasonOf(error),
      })
      return
    }
    this.#report.unavailable += 1
    log.error('content could not be read; no manifest was made', { path, reason: reasonOf(error) })
  }

  /** One after the other, also when several workers find that one is due. */
  async #commit(): Promise<void> {
    const before = this.#committing
    const own = before.then(async () => {
      this.#report.recorded += await this.#recorder.commit()
      this.#content = 0
      this.#committedAt = performance.now()
    })
    this.#committing = own.catch(() => undefined)
    await own
  }

  async *#fetch({ path, node, key }: Item): AsyncGenerator<Uint8Array> {
    const { volume, readTimeout, signal } = this.#options
    const patient = (): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(readTimeout)])
    const file = await volume.open(node, path, patient())
    try {
      const own = Buffer.allocUnsafeSlow(STEP)
      for (let at = 0; at < key.size;) {
        const count = Math.min(STEP, key.size - at)
        const bytes = own.subarray(0, await readInto(file, at, own.subarray(0, count), patient()))
        if (bytes.byteLength === 0) throw new AnnexfsError('CORRUPT', `it ends after ${at} of ${key.size} bytes`)
        yield bytes
        at += bytes.byteLength
        this.#report.bytes += bytes.byteLength
      }
    } finally {
      file.close()
    }
  }

  async *#items(): AsyncGenerator<Item> {
    const { volume, paths, signal } = this.#options
    for (const path of paths) {
      const node = await volume.lookup(path, signal)
      if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path}`)
      if (node.kind === 'dir') yield* this.#folder(path)
      if (node.kind === 'file') yield* this.#file(path, node)
    }
  }

  async *#folder(path: string): AsyncGenerator<Item> {
    const { volume, signal } = this.#options
    throwIfAborted(signal)
    for (const { name, node } of await volume.list(path, signal)) {
      const full = `${path === '/' ? '' : path}/${name}`
      if (node.kind === 'dir') yield* this.#folder(full)
      if (node.kind === 'file') yield* this.#file(full, node)
    }
  }

  /** Nothing for a file that is kept in git, or whose key needs no manifest any more. */
  async *#file(path: string, node: FileNode<Content>): AsyncGenerator<Item> {
    const { content } = node
    if (content.kind !== 'key') return
    const { key } = content
    if (content.annex.git.gitDir !== this.#options.git.gitDir) {
      this.#report.elsewhere += 1
      return
    }
    if (this.#seen.has(key.raw)) return
    this.#seen.add(key.raw)
    if (!canHaveManifest(key)) {
      this.#report.refused += 1
      const level = key.size === 0 ? 'debug' : 'info'
      this.#options.log[level]('a key can have no manifest', { path, reason: manifestProblem(key) })
      return
    }
    if (!this.#options.again && (await this.#manifests.find(key)).length > 0) {
      this.#report.known += 1
      return
    }
    yield { path, node, content, key }
  }
}
