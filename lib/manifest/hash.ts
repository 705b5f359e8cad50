import { Worker } from 'node:worker_threads'
import { AnnexfsError, abortError, reasonOf, throwIfAborted } from '../errors.js'
import type { HashAnswer, HashRequest, HashWork } from './hash-worker.js'
import { hashOf, manifestPieceLength, type ManifestKey } from './rule.js'

/** Chunks that may be on their way to the thread. */
const WINDOW = 4

interface Waiting {
  readonly resolve: (answer: HashAnswer) => void
  readonly reject: (error: unknown) => void
}

/**
 * Hashes content for manifests in a thread of its own, one content at a time: its key's hash and its pieces in one pass,
 * in constant memory. Close it.
 */
export class ManifestHasher {
  #worker: Worker | undefined
  #waiting: Waiting[] = []

  /**
   * The SHA-1 digests of the pieces of a file, which must be the key's content.
   * @throws AnnexfsError CORRUPT when it is not, UNAVAILABLE when it cannot be read, UNSUPPORTED for a hash that Node.js
   * lacks, the signal's reason.
   */
  async file(path: Buffer, key: ManifestKey, signal: AbortSignal): Promise<Uint8Array> {
    return this.#abortable(signal, async () => {
      return checked(await this.#ask({ kind: 'file', path, work: workOf(key) }), key)
    })
  }

  /** As {@link file}, for content that comes in chunks. @throws also what `chunks` throws. */
  async stream(chunks: AsyncIterable<Uint8Array>, key: ManifestKey, signal: AbortSignal): Promise<Uint8Array> {
    return this.#abortable(signal, async () => {
      const sent: Promise<HashAnswer>[] = [this.#ask({ kind: 'begin', work: workOf(key) })]
      try {
        for await (const bytes of chunks) {
          throwIfAborted(signal)
          sent.push(this.#ask({ kind: 'bytes', bytes: new Uint8Array(bytes) }))
          if (sent.length > WINDOW) taken(await sent.shift())
        }
        for (const one of sent) taken(await one)
      } catch (error) {
        // Each has been answered, or fails with the thread.
        await Promise.allSettled(sent)
        throw error
      }
      return checked(await this.#ask({ kind: 'end' }), key)
    })
  }

  async close(): Promise<void> {
    await this.#worker?.terminate()
  }

  /** When the signal fires the thread is ended: what it does is not worth finishing. */
  async #abortable(signal: AbortSignal, work: () => Promise<Uint8Array>): Promise<Uint8Array> {
    throwIfAborted(signal)
    const abort = (): void => {
      const worker = this.#worker
      this.#worker = undefined
      this.#fail(abortError(signal))
      void worker?.terminate()
    }
    signal.addEventListener('abort', abort, { once: true })
    try {
      return await work()
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  #ask(request: HashRequest): Promise<HashAnswer> {
    const worker = (this.#worker ??= this.#start())
    const answer = new Promise<HashAnswer>((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      worker.postMessage(request, request.kind === 'bytes' ? [request.bytes.buffer] : [])
    })
    // Several are under way before the first is looked at; each is looked at in the end.
    answer.catch(() => undefined)
    return answer
  }

  #start(): Worker {
    const worker = new Worker(new URL('./hash-worker.js', import.meta.url), { execArgv: [] })
    worker.on('message', (answer: HashAnswer) => {
      if (worker === this.#worker) this.#waiting.shift()?.resolve(answer)
    })
    const gone = (error: unknown): void => {
      if (worker !== this.#worker) return
      this.#worker = undefined
      this.#fail(new AnnexfsError('SYSTEM', `the hashing thread failed: ${reasonOf(error)}`, { cause: error }))
    }
    worker.on('error', gone)
    worker.on('exit', () => gone(new Error('it has ended')))
    return worker
  }

  #fail(error: unknown): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const one of waiting) one.reject(error)
  }
}

function workOf(key: ManifestKey): HashWork {
  return { algorithm: hashOf(key).algorithm, pieceLength: manifestPieceLength(key.size), size: key.size }
}

function taken(answer: HashAnswer | undefined): void {
  if (answer?.kind === 'failed') throw new AnnexfsError(answer.code, answer.message)
}

function checked(answer: HashAnswer, key: ManifestKey): Uint8Array {
  taken(answer)
  if (answer.kind !== 'done') throw new AnnexfsError('SYSTEM', 'the hashing thread gave another answer than asked')
  const { algorithm, digest } = hashOf(key)
  if (answer.digest !== digest) {
    throw new AnnexfsError('CORRUPT', `its ${algorithm} is ${answer.digest}, not that of its key`)
  }
  return answer.pieces
}
