import { constants } from 'node:fs'
import { open, rename, rmdir, statfs, symlink, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenFile, Volume } from '../lib/engine/volume.js'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode, throwIfAborted } from '../lib/errors.js'
import type { Log } from '../lib/log/log.js'
import { makeFolder } from '../lib/make-folder.js'
import { nameFinished } from '../lib/save/part.js'
import type { ByteRange, Bytes, Milliseconds } from '../lib/space/space.js'
import { statsAt } from '../lib/stats-at.js'
import { hashPieces, type HashPart } from '../lib/torrent/create-hash.js'
import type { Plan, PlannedFile } from './torrent-plan.js'
import { showSize } from './units.js'
import { readInto } from '../lib/engine/read-into.js'

/*
 * What is being fetched lies in DIR/.annexfs-INFOHASH/INDEX, each piece at its place, and is moved to its name when the
 * file is complete. Nothing is written down about progress: at the next start the pieces that are there are hashed, and
 * what has the hash is kept, so that neither a crash nor somebody else's hand can leave a wrong byte.
 */

export interface SaveOptions {
  readonly volume: Volume
  readonly plan: Plan
  /** The folder that the torrent goes to. */
  readonly to: string
  /** Other content in the place of a file is written over. */
  readonly force: boolean
  readonly readTimeout: Milliseconds
  /** After so long without a byte it fails. */
  readonly patience: Milliseconds
  readonly log: Log
  readonly signal: AbortSignal
  /** Bytes that were there and have the right hash; before anything is fetched. */
  readonly onFound: (bytes: Bytes) => void
  readonly onBytes: (bytes: Bytes) => void
}

/** Small files would wait for each other otherwise; large ones share what there is. */
const FILES_AT_ONCE = 4
/** One read: enough that the readahead is asked for often, little to hold for four files. */
const STEP: Bytes = 1024 * 1024
const RETRY_AFTER: Milliseconds = 2_000

/**
 * Fetches the planned files into a folder.
 * @throws AnnexfsError UNAVAILABLE or TIMED_OUT after `patience`; INVALID when something else is in a file's place; SYSTEM
 * of the disk; the signal's reason. What was fetched is found again the next time.
 */
export async function saveTorrent(options: SaveOptions): Promise<void> {
  const save = new Save(options)
  await save.run()
}

class Save {
  readonly #options: SaveOptions
  readonly #parts: string
  /** Pieces that are on disk, checked. */
  #verified: (index: number) => boolean = () => false
  /** Pieces that are on disk and wrong. */
  #wrong: (index: number) => boolean = () => false
  readonly #complete = new Set<number>()
  /** Something else is in their place. */
  readonly #taken = new Set<number>()
  #lastProgress = Date.now()

  constructor(options: SaveOptions) {
    this.#options = options
    this.#parts = join(options.to, `.annexfs-${options.plan.metainfo.infohash}`)
  }

  async run(): Promise<void> {
    const { plan, to, signal, onFound } = this.#options
    await makeFolder(to)
    const found = await this.#look()
    await this.#refuseFull(found)
    onFound(found)
    const left = [...plan.files]
    const worker = async (): Promise<void> => {
      for (let file = left.shift(); file !== undefined; file = left.shift()) {
        throwIfAborted(signal)
        await this.#file(file)
      }
    }
    const results = await Promise.allSettled(Array.from({ length: FILES_AT_ONCE }, worker))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    for (const one of plan.links) await makeLink(join(to, ...one.path), one.target)
    // Others that were begun and are not selected now keep it.
    await rmdir(this.#parts).catch((error: unknown) => {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(systemCode(error) ?? '')) {
        throw new AnnexfsError('SYSTEM', `cannot remove ${this.#parts}: ${reasonOf(error)}`, { cause: error })
      }
    })
  }

  /** Hashes what is on disk; how much of the planned files is right. */
  async #look(): Promise<Bytes> {
    const { plan, signal } = this.#options
    const { metainfo } = plan
    const paths = new Map<number, string>()
    for (const file of plan.all) {
      for (const [path, whole] of [
        [this.#target(file), true],
        [this.#part(file), false],
      ] as const) {
        const stats = await statsAt(path, 'show')
        if (stats === undefined) continue
        if (!stats.isFile() || (whole && stats.size !== file.length)) {
          if (whole) this.#taken.add(file.index)
          continue
        }
        paths.set(file.index, path)
        if (whole) this.#complete.add(file.index)
        break
      }
    }
    if (paths.size === 0) return 0
    const parts = metainfo.files.map((file): HashPart => {
      const path = paths.get(file.index)
      return { path: file.padding ? null : path === undefined ? undefined : Buffer.from(path), length: file.length }
    })
    const { hashes, pieceLength } = metainfo.space
    const found = await hashPieces(parts, pieceLength, { signal })
    const right = (index: number): boolean =>
      found.there(index) && found.digests.subarray(index * 20, index * 20 + 20).equals(hashes.at(index))
    this.#verified = right
    this.#wrong = (index) => found.there(index) && !right(index)
    let bytes = 0
    for (const file of plan.files) for (const { range, there } of this.#ranges(file)) if (there) bytes += size(range)
    return bytes
  }

  async #refuseFull(found: Bytes): Promise<void> {
    const { plan, to } = this.#options
    const wanted = plan.files.reduce((sum, file) => sum + file.length, 0) - found
    const { bavail, bsize } = await statfs(to)
    if (wanted <= bavail * bsize) return
    throw new AnnexfsError(
      'SYSTEM',
      `${showSize(wanted)} are still to be fetched and the disk of ${to} has ${showSize(bavail * bsize)} left; ` +
        `make room, or choose files with --select`,
    )
  }

  /** The parts of a file in each of its pieces, in bytes of the file. */
  *#ranges(file: PlannedFile): Generator<{ piece: number; range: ByteRange; there: boolean }> {
    const { pieceLength } = this.#options.plan.metainfo.space
    for (let start = 0; start < file.length;) {
      const piece = Math.floor((file.offset + start) / pieceLength)
      const end = Math.min(file.length, (piece + 1) * pieceLength - file.offset)
      yield { piece, range: { start, end }, there: this.#verified(piece) }
      start = end
    }
  }

  async #file(file: PlannedFile): Promise<void> {
    const { force, onBytes, signal, log } = this.#options
    const target = this.#target(file)
    const missing = Array.from(this.#ranges(file)).filter(({ there }) => !there)
    const complete = this.#complete.has(file.index)
    if (complete && missing.length === 0) return
    const opened = new Opened(this.#options, file)
    try {
      if (complete) {
        // Pieces that it shares with files that are not here could not be hashed: they are compared instead.
        if (await this.#same(file, missing, opened)) return
        if (!force) throw other(target)
        log.info(`writing over ${target}, which is something else`)
      } else if (!force && this.#taken.has(file.index)) throw other(target)
      await makeFolder(dirname(target))
      await makeFolder(this.#parts)
      const part = await this.#openPart(file)
      try {
        const wanted = complete ? Array.from(this.#ranges(file)) : missing
        for (const { range } of wanted) {
          for await (const { bytes, at } of opened.read(range, this.#tell)) {
            throwIfAborted(signal)
            await writeAll(part, bytes, at)
            onBytes(bytes.byteLength)
          }
        }
        // Left from an attempt at something longer; or a hole at the end.
        await part.truncate(file.length)
        if (file.node.executable) await part.chmod(((await part.stat()).mode & 0o777) | 0o111)
        await part.sync()
      } finally {
        await part.close()
      }
      if (force) await rename(this.#part(file), target)
      else await nameFinished(this.#part(file), target)
    } catch (error) {
      throw systemCode(error) === undefined || isAnnexfsError(error)
        ? error
        : new AnnexfsError('SYSTEM', `cannot write ${target}: ${reasonOf(error)}`, { cause: error })
    } finally {
      opened.close()
    }
  }

  /** Whether what is in the place of a file has the bytes of the torrent in `ranges`. */
  async #same(
    file: PlannedFile,
    ranges: readonly { readonly piece: number; readonly range: ByteRange }[],
    opened: Opened,
  ): Promise<boolean> {
    const { pieceLength } = this.#options.plan.metainfo.space
    // A piece of this file alone that was hashed, and is wrong, needs no comparing.
    if (ranges.some(({ piece, range }) => size(range) === pieceLength && this.#wrong(piece))) return false
    const own = await open(this.#target(file), constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      for (const { range } of ranges) {
        for await (const { bytes, at } of opened.read(range, this.#tell)) {
          const mine = Buffer.alloc(bytes.byteLength)
          const { bytesRead } = await own.read(mine, 0, mine.length, at)
          if (bytesRead !== mine.length || !mine.equals(bytes)) return false
          this.#options.onBytes(bytes.byteLength)
        }
      }
      return true
    } finally {
      await own.close()
    }
  }

  /** Told of each success and each failure; throws the failure when there was no success for too long. */
  readonly #tell = (failure?: AnnexfsError): void => {
    const now = Date.now()
    if (failure === undefined) this.#lastProgress = now
    else if (now - this.#lastProgress > this.#options.patience) throw failure
  }

  async #openPart(file: PlannedFile): Promise<FileHandle> {
    return open(this.#part(file), constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o666)
  }

  #target(file: PlannedFile): string {
    return join(this.#options.to, ...file.path)
  }

  #part(file: PlannedFile): string {
    return join(this.#parts, String(file.index))
  }
}

/** A file of the volume, opened when it is first read. */
class Opened {
  #file: OpenFile | undefined

  constructor(
    private readonly options: SaveOptions,
    private readonly file: PlannedFile,
  ) {}

  /**
   * The bytes of a range, in order. What fails for now is tried again.
   * @param tell told of each success, and of each failure, which it may throw.
   */
  async *read(
    range: ByteRange,
    tell: (failure?: AnnexfsError) => void,
  ): AsyncGenerator<{ bytes: Uint8Array; at: Bytes }> {
    for (let at = range.start; at < range.end;) {
      const count = Math.min(STEP, range.end - at)
      let bytes: Uint8Array
      try {
        bytes = await this.#step(at, count)
        tell()
      } catch (error) {
        if (!isAnnexfsError(error, 'UNAVAILABLE') && !isAnnexfsError(error, 'TIMED_OUT')) throw error
        throwIfAborted(this.options.signal)
        tell(error)
        this.options.log.warn('waiting for content', { file: this.file.path.join('/'), reason: reasonOf(error) })
        await sleep(RETRY_AFTER, undefined, { signal: this.options.signal }).catch(() => {
          throwIfAborted(this.options.signal)
        })
        continue
      }
      yield { bytes, at }
      at += bytes.byteLength
    }
  }

  async #step(at: Bytes, count: Bytes): Promise<Uint8Array> {
    const { volume, readTimeout, signal } = this.options
    const within = AbortSignal.any([signal, AbortSignal.timeout(readTimeout)])
    this.#file ??= await volume.open(this.file.node, `/${this.file.path.join('/')}`, within)
    const own = Buffer.allocUnsafeSlow(count)
    const bytes = own.subarray(0, await readInto(this.#file, at, own, within))
    if (bytes.byteLength !== count) {
      throw new AnnexfsError(
        'CORRUPT',
        `read ${bytes.byteLength} of ${count} bytes at ${at} of ${this.file.path.join('/')}`,
      )
    }
    return bytes
  }

  close(): void {
    this.#file?.close()
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, at: Bytes): Promise<void> {
  for (let written = 0; written < bytes.byteLength;) {
    written += (await file.write(bytes, written, bytes.byteLength - written, at + written)).bytesWritten
  }
}

async function makeLink(path: string, target: string): Promise<void> {
  await makeFolder(dirname(path))
  try {
    await symlink(target, path)
  } catch (error) {
    // From the last time, or something of the user's: neither is to be touched.
    if (systemCode(error) !== 'EEXIST') throw error
  }
}

function other(target: string): AnnexfsError {
  return new AnnexfsError(
    'INVALID',
    `${target} is there and is not what the torrent has; move it away, or give --force to write over it`,
  )
}

function size(range: ByteRange): Bytes {
  return range.end - range.start
}
