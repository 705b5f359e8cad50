import { closeSync, readSync, unlinkSync, writeSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { systemCode } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { CLIENTS, ensureFolder, isLinked, openFile } from './folder.js'
import { native } from './native.js'
import { isGone } from './walk.js'

/**
 * Each process that writes to a cache has a file in `clients/` that it keeps locked for its life. It holds how many bytes
 * the process may still write under the room that it was granted. A file whose lock can be had belongs to a dead process:
 * what it was granted is void.
 */
export class ClientFile {
  readonly #path: string
  readonly #name: string
  #fd: number | undefined
  #written: Bytes = 0
  #hasOthers = false

  constructor(readonly root: string) {
    this.#name = randomBytes(8).toString('hex')
    this.#path = join(root, CLIENTS, this.#name)
  }

  /** Says what this process may still write. The caller holds the evict lock, unless the number only shrinks. */
  write(outstanding: Bytes): void {
    if (this.#fd !== undefined && !isLinked(this.#fd)) this.close()
    if (this.#fd === undefined) {
      ensureFolder(join(this.root, CLIENTS))
      this.#fd = openFile(this.#path, 'create')
      native.tryLock(this.#fd)
    }
    writeNumber(this.#fd, outstanding)
    this.#written = outstanding
  }

  /** Lowers the number on disk, so that others need not reckon with room that was used up meanwhile. */
  lower(outstanding: Bytes): void {
    if (this.#fd === undefined || outstanding >= this.#written) return
    writeNumber(this.#fd, outstanding)
    this.#written = outstanding
  }

  /** Whether other processes were alive when that was last looked at. */
  get hasOthers(): boolean {
    return this.#hasOthers
  }

  /** What all other living processes may still write. The caller holds the evict lock. */
  async others(): Promise<Bytes> {
    let total = 0
    let names: string[]
    this.#hasOthers = false
    try {
      names = await readdir(join(this.root, CLIENTS))
    } catch (error) {
      if (isGone(error)) return 0
      throw error
    }
    for (const name of names) {
      if (name === this.#name) continue
      const outstanding = outstandingOf(join(this.root, CLIENTS, name))
      if (outstanding === undefined) continue
      this.#hasOthers = true
      total += outstanding
    }
    return total
  }

  close(): void {
    if (this.#fd === undefined) return
    const fd = this.#fd
    this.#fd = undefined
    try {
      if (isLinked(fd)) unlinkSync(this.#path)
    } catch (error) {
      // The folder went away or may not be written to; a file that stays is seen to be of a dead process.
      if (systemCode(error) === undefined) throw error
    } finally {
      closeSync(fd)
    }
  }
}

/** Undefined for a dead process, whose file is removed. */
function outstandingOf(path: string): Bytes | undefined {
  let fd: number
  try {
    fd = openFile(path, 'write')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    if (native.tryLock(fd)) {
      unlinkSync(path)
      return undefined
    }
    return readNumber(fd) ?? 0
  } finally {
    closeSync(fd)
  }
}

/** Writes a number that {@link readNumber} can tell from a torn or foreign one. */
export function writeNumber(fd: number, value: number): void {
  const buffer = Buffer.alloc(12)
  buffer.writeDoubleLE(value, 0)
  buffer.writeUInt32LE(crc32(buffer.subarray(0, 8), 1), 8)
  writeSync(fd, buffer, 0, 12, 0)
}

export function readNumber(fd: number): number | undefined {
  const buffer = Buffer.alloc(12)
  if (readSync(fd, buffer, 0, 12, 0) !== 12) return undefined
  if (crc32(buffer.subarray(0, 8), 1) !== buffer.readUInt32LE(8)) return undefined
  const value = buffer.readDoubleLE(0)
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined
}
