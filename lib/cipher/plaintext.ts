import { randomUUID } from 'node:crypto'
import { mkdir, open, unlink, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { freeSpace } from '../cache/free-space.js'
import type { Scratch } from '../cache/scratch.js'
import { AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { checkInside } from '../sources/range.js'
import type { ByteRange, Bytes } from '../space/space.js'

/** The decrypted bytes of one object, all of them authenticated. */
export interface Plaintext {
  readonly size: Bytes
  /** What it takes of memory; the rest is on disk. */
  readonly memory: Bytes
  /** The bytes of `range`, copied, a block at a time. */
  read(range: ByteRange, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined>
  close(): Promise<void>
}

/** Takes decrypted bytes as they come; they are given out only after `finish`. */
export interface Sink {
  write(bytes: Uint8Array): Promise<void>
  /** @throws AnnexfsError CORRUPT when the length is not the expected one. */
  finish(): Plaintext
  discard(): Promise<void>
}

/** Larger ones go to a file. */
export const LARGEST_IN_MEMORY: Bytes = 16 * 1024 * 1024
const BLOCK: Bytes = 1024 * 1024
/** Free space that is left alone on the disk of the file. */
const DISK_FLOOR: Bytes = 64 * 1024 * 1024

export interface SinkOptions {
  /** The exact length, when it is known. */
  readonly size?: Bytes
  readonly most: Bytes
  /** A private folder for a file that never has a name there for longer than an instant. */
  readonly folder: string
  /** Room under the cache's bound; without it the disk's free space is the bound. */
  readonly scratch?: Scratch
}

/** @throws AnnexfsError SYSTEM when there is no room for it or no file can be made. */
export async function plaintextSink(options: SinkOptions): Promise<Sink> {
  const expected = options.size ?? options.most
  return expected <= LARGEST_IN_MEMORY ? memorySink(options) : fileSink(options)
}

function tooLong(most: Bytes): AnnexfsError {
  return new AnnexfsError('CORRUPT', `the object decrypts to more than the expected ${most} bytes`)
}

function checkLength(length: Bytes, size: Bytes | undefined): void {
  if (size === undefined || length === size) return
  throw new AnnexfsError('CORRUPT', `the object decrypts to ${length} bytes instead of ${size}`)
}

function memorySink({ size, most }: SinkOptions): Sink {
  const longest = size ?? most
  const bytes = Buffer.allocUnsafeSlow(longest)
  let length = 0
  return {
    write: (chunk) => {
      if (length + chunk.byteLength > longest) return Promise.reject(tooLong(longest))
      bytes.set(chunk, length)
      length += chunk.byteLength
      return Promise.resolve()
    },
    finish: () => {
      checkLength(length, size)
      return memoryPlaintext(length === longest ? bytes : Buffer.from(bytes.subarray(0, length)))
    },
    discard: () => Promise.resolve(void bytes.fill(0)),
  }
}

function memoryPlaintext(bytes: Buffer): Plaintext {
  return {
    size: bytes.length,
    memory: bytes.length,
    read: async function* (range, signal) {
      checkInside(range, bytes.length, 'the decrypted object')
      for (let at = range.start; at < range.end; at += BLOCK) {
        throwIfAborted(signal)
        yield Uint8Array.prototype.slice.call(bytes, at, Math.min(range.end, at + BLOCK))
      }
    },
    close: () => Promise.resolve(),
  }
}

async function fileSink({ size, most, folder, scratch }: SinkOptions): Promise<Sink> {
  const longest = size ?? most
  const file = scratch === undefined ? await privateFile(folder, longest) : await fileInCache(scratch, longest)
  let length = 0
  return {
    write: async (chunk) => {
      if (length + chunk.byteLength > longest) throw tooLong(longest)
      try {
        await writeAll(file, chunk, length)
      } catch (error) {
        throw new AnnexfsError('SYSTEM', `cannot keep a decrypted object in ${folder}: ${reasonOf(error)}`, {
          cause: error,
        })
      }
      length += chunk.byteLength
    },
    finish: () => {
      checkLength(length, size)
      return filePlaintext(file, length)
    },
    discard: () => file.close(),
  }
}

async function writeAll(file: OpenFile, bytes: Uint8Array, at: Bytes): Promise<void> {
  for (let done = 0; done < bytes.byteLength;) {
    done += (await file.write(bytes, done, bytes.byteLength - done, at + done)).bytesWritten
  }
}

function filePlaintext(file: OpenFile, size: Bytes): Plaintext {
  return {
    size,
    memory: 0,
    read: async function* (range, signal) {
      checkInside(range, size, 'the decrypted object')
      for (let at = range.start; at < range.end; at += BLOCK) {
        throwIfAborted(signal)
        yield await readBlock(file, at, Math.min(BLOCK, range.end - at))
      }
    },
    close: () => file.close(),
  }
}

async function readBlock(file: OpenFile, at: Bytes, length: Bytes): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length)
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done)
    if (bytesRead === 0) throw new AnnexfsError('SYSTEM', 'the file of a decrypted object was cut off')
    done += bytesRead
  }
  return bytes
}

/** The part of an open file that is used here. */
type OpenFile = Pick<FileHandle, 'read' | 'write' | 'close'>

/** A file that has no name any more: it is gone with the process, however that ends. */
async function unlinkedFile(path: string): Promise<FileHandle> {
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}

/** Its bytes stay reserved while it is open: nobody who counts the files of the cache can see it. */
async function fileInCache(scratch: Scratch, size: Bytes): Promise<OpenFile> {
  const room = await scratch.take(size)
  if (room === undefined) {
    throw new AnnexfsError(
      'SYSTEM',
      `decrypting needs ${size} bytes at once, which do not fit into the cache (at most ${scratch.most}): make it larger`,
    )
  }
  try {
    const file = await unlinkedFile(room.path)
    return {
      read: file.read.bind(file),
      write: file.write.bind(file),
      close: async () => {
        try {
          await file.close()
        } finally {
          await room.remove()
        }
      },
    }
  } catch (error) {
    await room.remove()
    throw new AnnexfsError('SYSTEM', `cannot make a file in the cache: ${reasonOf(error)}`, { cause: error })
  }
}

async function privateFile(folder: string, size: Bytes): Promise<FileHandle> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
    if ((await freeSpace(folder)) < size + DISK_FLOOR) {
      throw new AnnexfsError('SYSTEM', `decrypting needs ${size} bytes in ${folder}, where there are not as many free`)
    }
    const path = join(folder, `plain-${randomUUID()}`)
    return await unlinkedFile(path)
  } catch (error) {
    if (error instanceof AnnexfsError) throw error
    throw new AnnexfsError('SYSTEM', `cannot make a file in ${folder}: ${reasonOf(error)}`, { cause: error })
  }
}
