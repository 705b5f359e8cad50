import { closeSync, fchmodSync, fstatSync, read, type Stats } from 'node:fs'
import { lstat } from 'node:fs/promises'
import { promisify } from 'node:util'
import { AnnexfsError, systemCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

const readAsync = promisify(read)

/**
 * A file that is being read while it may go. A descriptor is closed only when no read of it is under way: its number may
 * mean another file at once, whose bytes would be given for its own.
 */
export class ReadFile {
  readonly #fd: number
  #reading = 0
  #closed = false

  /** @param fd is owned from now on. */
  constructor(fd: number) {
    this.#fd = fd
  }

  status(): Stats {
    return fstatSync(this.#fd)
  }

  /** Whoever wrote it may have left it open to others, or closed to us. */
  makePrivate(): void {
    fchmodSync(this.#fd, 0o600)
  }

  isSameAs(other: ReadFile): boolean {
    const [own, their] = [this.status(), other.status()]
    return own.ino === their.ino && own.dev === their.dev
  }

  /**
   * The bytes from `start` to `end`.
   * @param what for messages.
   * @throws AnnexfsError CORRUPT when the file ends before; system errors.
   */
  async bytes(start: Bytes, end: Bytes, what: string): Promise<Uint8Array> {
    const into = Buffer.allocUnsafeSlow(end - start)
    this.#reading++
    try {
      for (let got = 0; got < into.length;) {
        const { bytesRead } = await readAsync(this.#fd, into, got, into.length - got, start + got)
        if (bytesRead === 0) throw new AnnexfsError('CORRUPT', `${what}: the file was cut while it was read`)
        got += bytesRead
      }
      return into
    } finally {
      this.#reading--
      if (this.#closed && this.#reading === 0) closeSync(this.#fd)
    }
  }

  /** Not to be read any more; the last read that is under way closes it. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#reading === 0) closeSync(this.#fd)
  }
}

/** Size and blocks of a file, zeros when it was not made yet. */
export async function sizeOnDisk(path: string): Promise<{ readonly size: Bytes; readonly blocks: number }> {
  try {
    return await lstat(path)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { size: 0, blocks: 0 }
    throw error
  }
}
