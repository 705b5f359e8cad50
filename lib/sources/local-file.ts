import { constants, fstatSync, readSync, type Stats } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { PlainFile } from '../space/direct.js'
import type { Bytes } from '../space/space.js'

/** Names may be bytes: annexed keys need not be UTF-8. */
export type LocalPath = string | Buffer

/** An open regular file, of the size that was expected. */
export interface LocalFile {
  readonly size: Bytes
  /** Nobody is expected to change it: no write permission on it, and no other name (hard link) for it. */
  readonly settled: boolean
  /** What tells it from another file in its place: inode and time. */
  readonly version: string
  /** `length` bytes at `offset`. @throws AnnexfsError CORRUPT when the file has changed since, SYSTEM. */
  read(offset: Bytes, length: Bytes): Promise<Uint8Array>
  /** Fills `into` from `offset`, without a trip through the thread pool: for files on a local disk. @throws as read. */
  readSync(offset: Bytes, into: Uint8Array): void
  /** The open file itself, for who reads it elsewhere; undefined once it is closed. */
  direct(): PlainFile | undefined
  close(): void
}

/**
 * Opens a file for reading in place. Never follows a link at the last name, nor waits for a pipe or a device.
 * @returns undefined when there is no regular file there or its size is not `expectedSize`.
 * @throws AnnexfsError SYSTEM when it is there but cannot be opened.
 */
export async function openLocalFile(path: LocalPath, expectedSize: Bytes | undefined): Promise<LocalFile | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = constants
  let handle: FileHandle
  try {
    handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'ENAMETOOLONG'].includes(systemCode(error) ?? '')) return undefined
    throw new AnnexfsError('SYSTEM', `cannot open ${path.toString()}: ${reasonOf(error)}`, { cause: error })
  }
  const stats = await handle.stat()
  if (!stats.isFile() || (expectedSize !== undefined && stats.size !== expectedSize)) {
    await handle.close()
    return undefined
  }
  return new OpenFile(path, handle, stats)
}

class OpenFile implements LocalFile {
  readonly size: Bytes
  readonly settled: boolean
  readonly version: string
  readonly #path: LocalPath
  readonly #handle: FileHandle
  readonly #mtime: number
  #reading = 0
  #closed = false

  constructor(path: LocalPath, handle: FileHandle, stats: Stats) {
    this.#path = path
    this.#handle = handle
    this.size = stats.size
    this.settled = (stats.mode & 0o222) === 0 && stats.nlink === 1
    this.version = `${stats.ino} ${stats.mtimeMs}`
    this.#mtime = stats.mtimeMs
  }

  async read(offset: Bytes, length: Bytes): Promise<Uint8Array> {
    this.#checkOpen()
    const bytes = Buffer.allocUnsafeSlow(length)
    this.#reading++
    try {
      for (let done = 0; done < length;) {
        const { bytesRead } = await this.#handle.read(bytes, done, length - done, offset + done)
        if (bytesRead === 0) throw this.#changed()
        done += bytesRead
      }
      // After the read: what was written before it shows in the time by now.
      this.#checkSame(await this.#handle.stat())
      return bytes
    } catch (error) {
      throw this.#failure(error)
    } finally {
      this.#reading--
      if (this.#closed && this.#reading === 0) this.#closeHandle()
    }
  }

  readSync(offset: Bytes, into: Uint8Array): void {
    this.#checkOpen()
    try {
      for (let done = 0; done < into.byteLength;) {
        const count = readSync(this.#handle.fd, into, done, into.byteLength - done, offset + done)
        if (count === 0) throw this.#changed()
        done += count
      }
      this.#checkSame(fstatSync(this.#handle.fd))
    } catch (error) {
      throw this.#failure(error)
    }
  }

  direct(): PlainFile | undefined {
    if (this.#closed) return undefined
    return { kind: 'file', data: this.#handle.fd, size: this.size, mtime: this.#mtime }
  }

  /** Safe while reads are under way: the last of them closes. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#reading === 0) this.#closeHandle()
  }

  #closeHandle(): void {
    // A file that was only read loses nothing when its close fails.
    this.#handle.close().catch(() => undefined)
  }

  #checkOpen(): void {
    if (this.#closed) throw new AnnexfsError('SYSTEM', `${this.#path.toString()} was closed`)
  }

  #checkSame(stats: Stats): void {
    if (stats.size !== this.size || stats.mtimeMs !== this.#mtime) throw this.#changed()
  }

  #changed(): AnnexfsError {
    return new AnnexfsError('CORRUPT', `${this.#path.toString()} has changed while it was read`)
  }

  #failure(error: unknown): AnnexfsError {
    if (error instanceof AnnexfsError) return error
    return new AnnexfsError('SYSTEM', `cannot read ${this.#path.toString()}: ${reasonOf(error)}`, { cause: error })
  }
}
