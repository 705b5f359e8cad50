import { createHash } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { reasonOf, systemCode, type ErrorCode } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'

/** A part of a piece space and the file that holds its bytes. Parts follow each other without gaps. */
export interface HashPart {
  /** Null: there is none, its bytes are zeros (padding). Undefined: the file is not there. */
  readonly path: Uint8Array | null | undefined
  readonly length: Bytes
  /** The file must not have been changed since; undefined: it may be anything, and shorter. */
  readonly mtime?: Milliseconds
}

export interface HashWork {
  readonly parts: readonly HashPart[]
  readonly pieceLength: Bytes
}

/** Pieces `[first, end)`. */
export interface HashRequest {
  readonly first: number
  readonly end: number
}

export type HashAnswer =
  | {
      readonly kind: 'done'
      readonly first: number
      /** SHA-1 digests after each other. */
      readonly digests: Uint8Array<ArrayBuffer>
      /** For each piece 1 when all of its bytes were there. */
      readonly there: Uint8Array<ArrayBuffer>
    }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string }

const STEP: Bytes = 1024 * 1024
const DIGEST: Bytes = 20

/** Of a thread that only hashes: synchronous reads are the fastest, and nobody else waits for this event loop. */
class Hasher {
  readonly #work: HashWork
  readonly #starts: Float64Array
  readonly #total: Bytes
  readonly #buffer = new Uint8Array(STEP)
  #open: { readonly part: number; readonly fd: number | undefined } | undefined

  constructor(work: HashWork) {
    this.#work = work
    this.#starts = new Float64Array(work.parts.length)
    let at = 0
    for (const [index, part] of work.parts.entries()) {
      this.#starts[index] = at
      at += part.length
    }
    this.#total = at
  }

  run({ first, end }: HashRequest): HashAnswer {
    const digests = new Uint8Array((end - first) * DIGEST)
    const there = new Uint8Array(end - first)
    for (let index = first; index < end; index++) {
      const digest = this.#piece(index)
      if (digest === undefined) continue
      digests.set(digest, (index - first) * DIGEST)
      there[index - first] = 1
    }
    return { kind: 'done', first, digests, there }
  }

  #piece(index: number): Uint8Array | undefined {
    const hash = createHash('sha1')
    const end = Math.min(this.#total, (index + 1) * this.#work.pieceLength)
    let at = index * this.#work.pieceLength
    for (let part = this.#partAt(at); at < end; part++) {
      const { path, length } = this.#work.parts[part] ?? { path: undefined, length: 0 }
      const start = this.#starts[part] ?? 0
      const stop = Math.min(end, start + length)
      while (at < stop) {
        const count = Math.min(STEP, stop - at)
        const own = this.#buffer.subarray(0, count)
        if (path === null) own.fill(0)
        else if (!this.#read(part, at - start, own)) return undefined
        hash.update(own)
        at += count
      }
    }
    return hash.digest()
  }

  /** The last part that begins at or before `offset` and is not empty, or the first. */
  #partAt(offset: Bytes): number {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.#starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return low
  }

  #read(index: number, offset: Bytes, into: Uint8Array): boolean {
    const fd = this.#file(index)
    if (fd === undefined) return false
    let filled = 0
    while (filled < into.length) {
      const count = readSync(fd, into, filled, into.length - filled, offset + filled)
      if (count === 0) {
        if (this.#work.parts[index]?.mtime === undefined) return false
        throw new Changed(this.#name(index))
      }
      filled += count
    }
    return true
  }

  #file(index: number): number | undefined {
    if (this.#open?.part === index) return this.#open.fd
    if (this.#open?.fd !== undefined) closeSync(this.#open.fd)
    this.#open = undefined
    const fd = this.#openFile(index)
    this.#open = { part: index, fd }
    return fd
  }

  #openFile(index: number): number | undefined {
    const part = this.#work.parts[index]
    if (part?.path === undefined || part.path === null) return undefined
    let fd: number
    try {
      fd = openSync(Buffer.from(part.path), constants.O_RDONLY | constants.O_NONBLOCK)
    } catch (error) {
      if (part.mtime === undefined && ['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) return undefined
      throw error
    }
    const stats = fstatSync(fd)
    if (part.mtime !== undefined && (stats.mtimeMs !== part.mtime || stats.size !== part.length)) {
      closeSync(fd)
      throw new Changed(this.#name(index))
    }
    if (!stats.isFile()) {
      closeSync(fd)
      return undefined
    }
    return fd
  }

  #name(index: number): string {
    return Buffer.from(this.#work.parts[index]?.path ?? []).toString('utf8')
  }
}

class Changed extends Error {
  constructor(path: string) {
    super(`${path} was changed while it was read`)
  }
}

const hasher = new Hasher(workerData as HashWork)

parentPort?.on('message', (request: HashRequest) => {
  let answer: HashAnswer
  try {
    answer = hasher.run(request)
  } catch (error) {
    answer = { kind: 'failed', code: error instanceof Changed ? 'INVALID' : 'SYSTEM', message: reasonOf(error) }
  }
  parentPort?.postMessage(answer, answer.kind === 'done' ? [answer.digests.buffer, answer.there.buffer] : [])
})
