import { createHash, getHashes, type Hash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { parentPort } from 'node:worker_threads'
import { reasonOf, systemCode, type ErrorCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

/** What the thread of {@link ManifestHasher} is told. A stream is `begin`, `bytes`…, `end`; each is answered. */
export type HashRequest =
  | { readonly kind: 'file'; readonly path: Uint8Array; readonly work: HashWork }
  | { readonly kind: 'begin'; readonly work: HashWork }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'end' }

export interface HashWork {
  /** A digest name of node:crypto. */
  readonly algorithm: string
  readonly pieceLength: Bytes
  readonly size: Bytes
}

export type HashAnswer =
  | { readonly kind: 'taken' }
  | { readonly kind: 'done'; readonly digest: string; readonly pieces: Uint8Array<ArrayBuffer> }
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly message: string }

const STEP: Bytes = 1_048_576
const DIGEST: Bytes = 20

/** The key's own hash and the hashes of the pieces, in one pass. */
class BothHashes {
  readonly #whole: Hash
  readonly #work: HashWork
  readonly #pieces: Uint8Array<ArrayBuffer>
  #piece = createHash('sha1')
  #inPiece = 0
  #index = 0
  #size = 0

  constructor(work: HashWork) {
    if (!getHashes().includes(work.algorithm)) throw new Refused('UNSUPPORTED', `Node.js has no ${work.algorithm}`)
    this.#work = work
    this.#whole = createHash(work.algorithm)
    this.#pieces = new Uint8Array(Math.ceil(work.size / work.pieceLength) * DIGEST)
  }

  update(bytes: Uint8Array): void {
    const { size, pieceLength } = this.#work
    this.#size += bytes.byteLength
    if (this.#size > size) throw new Refused('CORRUPT', `it is longer than the ${size} bytes that its key says`)
    this.#whole.update(bytes)
    for (let at = 0; at < bytes.byteLength;) {
      const part = bytes.subarray(at, at + pieceLength - this.#inPiece)
      this.#piece.update(part)
      this.#inPiece += part.byteLength
      at += part.byteLength
      if (this.#inPiece === pieceLength) this.#endPiece()
    }
  }

  end(): HashAnswer {
    const { size } = this.#work
    if (this.#size !== size) throw new Refused('CORRUPT', `it has ${this.#size} bytes, not the ${size} of its key`)
    if (this.#inPiece > 0) this.#endPiece()
    return { kind: 'done', digest: this.#whole.digest('hex'), pieces: this.#pieces }
  }

  #endPiece(): void {
    this.#pieces.set(this.#piece.digest(), this.#index * DIGEST)
    this.#index += 1
    this.#piece = createHash('sha1')
    this.#inPiece = 0
  }
}

class Refused extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

let stream: BothHashes | undefined

async function answer(request: HashRequest): Promise<HashAnswer> {
  switch (request.kind) {
    case 'file':
      return hashFile(Buffer.from(request.path), request.work)
    case 'begin':
      stream = new BothHashes(request.work)
      return { kind: 'taken' }
    case 'bytes':
      stream?.update(request.bytes)
      return { kind: 'taken' }
    case 'end': {
      const done = stream?.end()
      stream = undefined
      return done ?? { kind: 'failed', code: 'SYSTEM', message: 'nothing was begun' }
    }
  }
}

async function hashFile(path: Buffer, work: HashWork): Promise<HashAnswer> {
  const hashes = new BothHashes(work)
  // Never through a link at the last name, and never waiting for a pipe or a device.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!(await file.stat()).isFile()) throw new Refused('CORRUPT', 'it is no file')
    const buffer = Buffer.allocUnsafeSlow(STEP)
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, STEP, null)
      if (bytesRead === 0) return hashes.end()
      hashes.update(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

function failed(error: unknown): HashAnswer {
  const code = error instanceof Refused ? error.code : systemCode(error) === undefined ? 'SYSTEM' : 'UNAVAILABLE'
  return { kind: 'failed', code, message: reasonOf(error) }
}

/** One after the other: a file takes several turns. */
let last: Promise<void> = Promise.resolve()

parentPort?.on('message', (request: HashRequest) => {
  last = last
    .then(() => answer(request))
    .catch(failed)
    .then((answered) => {
      const moved = answered.kind === 'done' ? [answered.pieces.buffer] : []
      parentPort?.postMessage(answered, moved)
    })
})
