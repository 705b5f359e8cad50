import { createHash } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { Stats } from 'node:fs'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { Magnet } from '../torrent/magnet.js'
import { LARGEST_METAINFO, parseMetainfo, type Metainfo } from '../torrent/metainfo.js'
import { keepLayout, summaryOf, type Origin, type Summary, type TorrentMemory } from './torrent-item.js'
import type { MagnetResolver } from './torrent-magnets.js'
import { LARGEST_MAGNET_LIST, parseMagnetList, readRegularFile } from './torrent-read.js'

export { readMagnetFile } from './torrent-read.js'

/**
 * Younger files may still be written, and may change again without another time stamp (the kernel's clock for files is
 * coarse): they are read once more when they are older, and only then is it said that they are not usable.
 */
export const SETTLES_AFTER: Milliseconds = 1_500
/** A time stamp further ahead says nothing about a file's age. */
const AHEAD: Milliseconds = 60_000

export interface SourceFileContext {
  readonly memory: TorrentMemory
  readonly magnets: MagnetResolver
  readonly log: Log
  /** Called when a magnet's torrent has become known after the file was read. */
  readonly onKnown: () => void
}

/** A `.torrent` or `.magnet` file as it was last read. */
export class SourceFile {
  readonly stamp: string
  /** Whether the file was old enough when it was read for this to be its content. */
  settled: boolean
  readonly #fingerprint: string
  readonly #controller = new AbortController()
  readonly #origins: Origin[]

  private constructor(stamp: string, settled: boolean, fingerprint: string, origins: Origin[]) {
    this.stamp = stamp
    this.settled = settled
    this.#fingerprint = fingerprint
    this.#origins = origins
  }

  /** The torrents of this file that are known; none when it is not usable. */
  get origins(): readonly Origin[] {
    return this.#origins
  }

  /** Lets go of magnets that are not known yet. */
  close(): void {
    this.#controller.abort()
  }

  /**
   * Reads the file; what is not usable is logged once it has settled. Gives `before` when nothing has changed since, else
   * the caller closes that one. Never rejects.
   */
  static async read(
    path: Buffer,
    stats: Stats,
    before: SourceFile | undefined,
    context: SourceFileContext,
  ): Promise<SourceFile> {
    const stamp = stampOf(stats)
    const settled = isSettled(stats)
    try {
      const list = isMagnetList(path)
      const { bytes } = await readRegularFile(path, list ? LARGEST_MAGNET_LIST : LARGEST_METAINFO)
      const fingerprint = createHash('sha256').update(bytes).digest('base64')
      const same = before !== undefined && before.stamp === stamp && before.#fingerprint === fingerprint
      if (list) {
        const { magnets, problems } = parseMagnetList(bytes)
        if (settled) for (const problem of problems) warn(context.log, path, problem)
        if (same) return before.#settle(settled)
        const file = new SourceFile(stamp, settled, fingerprint, [])
        file.#learnAll(magnets, stats.mtimeMs, path, before?.origins ?? [], context)
        return file
      }
      if (same && before.origins.length > 0) return before.#settle(settled)
      const origin = torrentOrigin(path, parseMetainfo(bytes), stats.mtimeMs, context.memory)
      return new SourceFile(stamp, settled, fingerprint, [origin])
    } catch (error) {
      // What has gone in the meantime is to be looked at again, not to be complained about.
      const gone = systemCode(error) === 'ENOENT'
      if (settled && !gone) warn(context.log, path, reasonOf(error))
      return new SourceFile(stamp, settled && !gone, '', [])
    }
  }

  #settle(settled: boolean): SourceFile {
    this.settled = settled
    return this
  }

  /** What was known `before` is shown at once, the others as they become known. */
  #learnAll(
    magnets: readonly Magnet[],
    mtime: Milliseconds,
    path: Buffer,
    before: readonly Origin[],
    context: SourceFileContext,
  ): void {
    // A list may have thousands of magnets, and each listens.
    setMaxListeners(0, this.#controller.signal)
    const known = new Map(before.map(({ summary }) => [summary.infohash, summary]))
    for (const magnet of magnets) {
      const summary = known.get(magnet.infohash)
      if (summary === undefined) void this.#learn(magnet, mtime, path, context)
      else this.#origins.push(magnetOrigin(magnet, summary, mtime, context.magnets))
    }
  }

  async #learn(magnet: Magnet, mtime: Milliseconds, path: Buffer, context: SourceFileContext): Promise<void> {
    const { magnets, memory, log, onKnown } = context
    try {
      const metainfo = await magnets.want(magnet, this.#controller.signal)
      if (this.#controller.signal.aborted) return
      if (metainfo.multiFile) keepLayout(metainfo, memory)
      this.#origins.push(magnetOrigin(magnet, summaryOf(metainfo), mtime, magnets))
      onKnown()
    } catch (error) {
      if (!isAnnexfsError(error, 'ABORTED')) warn(log, path, `magnet ${magnet.infohash}: ${reasonOf(error)}`)
    }
  }
}

/** What changes when a file does. */
export function stampOf(stats: Stats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeMs}:${stats.ctimeMs}`
}

/** Whether the file is old enough for what is read of it to be its content. */
export function isSettled(stats: Stats): boolean {
  const age = Date.now() - stats.mtimeMs
  return age > SETTLES_AFTER || age < -AHEAD
}

function isMagnetList(path: Buffer): boolean {
  return path.subarray(-'.magnet'.length).toString('latin1').toLowerCase() === '.magnet'
}

export function torrentOrigin(
  path: Buffer | string,
  metainfo: Metainfo,
  mtime: Milliseconds,
  memory: TorrentMemory,
): Origin {
  const { infohash } = metainfo
  if (metainfo.multiFile) keepLayout(metainfo, memory)
  const read = async (): Promise<Metainfo> => {
    const now = parseMetainfo((await readRegularFile(path, LARGEST_METAINFO)).bytes)
    if (now.infohash === infohash) return now
    throw new AnnexfsError('NOT_FOUND', `${path.toString()} is another torrent now: ${now.infohash}, not ${infohash}`)
  }
  return { summary: summaryOf(metainfo), mtime, read }
}

export function magnetOrigin(magnet: Magnet, summary: Summary, mtime: Milliseconds, magnets: MagnetResolver): Origin {
  const read = async (): Promise<Metainfo> => {
    const kept = await magnets.kept(magnet)
    if (kept !== undefined) return kept
    throw new AnnexfsError('NOT_FOUND', `the metadata of magnet ${magnet.infohash} is no longer kept`)
  }
  return { summary, mtime, read }
}

function warn(log: Log, path: Buffer, reason: string): void {
  log.warn('a file is left out', { file: path.toString(), reason })
}
