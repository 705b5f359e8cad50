import { Worker } from 'node:worker_threads'
import { abortError, AnnexfsError, throwIfAborted } from '../errors.js'
import type { Slice } from '../space/space.js'
import type { WholeAnswer, WholeRequest } from './whole-worker.js'

export interface WholeCheck {
  /** Where the bytes are: in the pieces of a cache folder, or in a plain file that holds just the slice's bytes. */
  readonly read: { readonly cacheFolder: string } | { readonly path: string }
  readonly slice: Slice
  /** A digest name of node:crypto, such as `sha256`. */
  readonly algorithm: string
  /** The expected digest, hex. */
  readonly digest: string
  readonly signal: AbortSignal
}

/** `incomplete`: a piece is missing (or damaged), or the file has another length or cannot be read. */
export type WholeOutcome = 'match' | 'mismatch' | 'incomplete'

/** So many checks may wait; who asks for more is refused, rather than letting the queue grow without bound. */
const MOST_WAITING = 4096

/**
 * Hashes all of a slice in another thread and compares. Checks run one after the other, in the order asked.
 * @throws AnnexfsError UNSUPPORTED for a digest that this Node.js lacks; ABORTED or TIMED_OUT when `signal` fires;
 * SYSTEM when the thread fails or too many checks wait.
 */
export async function checkWhole(options: WholeCheck): Promise<WholeOutcome> {
  const { slice, algorithm, read, signal } = options
  throwIfAborted(signal)
  const { id, length, pieceLength } = slice.space
  return hasher.ask(
    {
      read: { ...read },
      space: { id, length, pieceLength },
      offset: slice.offset,
      length: slice.length,
      algorithm,
      digest: options.digest.toLowerCase(),
    },
    signal,
  )
}

interface Waiting {
  readonly request: WholeRequest
  readonly signal: AbortSignal
  readonly resolve: (outcome: WholeOutcome) => void
  readonly reject: (error: unknown) => void
}

/** The one thread, started when it is first needed and after it has failed; it does not keep the process alive. */
class Hasher {
  #worker: Worker | undefined
  #current: Waiting | undefined
  readonly #queue: Waiting[] = []

  async ask(request: WholeRequest, signal: AbortSignal): Promise<WholeOutcome> {
    if (this.#queue.length >= MOST_WAITING) {
      throw new AnnexfsError('SYSTEM', 'too many files wait for the check of their hash; try again later')
    }
    let abort: (() => void) | undefined
    try {
      return await new Promise<WholeOutcome>((resolve, reject) => {
        const waiting = { request, signal, resolve, reject }
        abort = () => {
          this.#abort(waiting)
        }
        signal.addEventListener('abort', abort, { once: true })
        this.#queue.push(waiting)
        this.#next()
      })
    } finally {
      if (abort !== undefined) signal.removeEventListener('abort', abort)
    }
  }

  #next(): void {
    if (this.#current !== undefined) return
    this.#current = this.#queue.shift()
    if (this.#current === undefined) {
      this.#worker?.unref()
      return
    }
    const worker = (this.#worker ??= this.#start())
    worker.ref()
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage(this.#current.request)
  }

  /** A running check is not worth finishing: its thread is ended, and the next check starts a new one. */
  #abort(waiting: Waiting): void {
    waiting.reject(abortError(waiting.signal))
    const at = this.#queue.indexOf(waiting)
    if (at >= 0) this.#queue.splice(at, 1)
    if (this.#current !== waiting) return
    const worker = this.#worker
    this.#worker = undefined
    this.#current = undefined
    void worker?.terminate()
    this.#next()
  }

  #start(): Worker {
    const worker = new Worker(new URL('./whole-worker.js', import.meta.url), { execArgv: [] })
    worker.on('message', (answer: WholeAnswer) => {
      if (worker !== this.#worker) return
      const waiting = this.#current
      this.#current = undefined
      if ('outcome' in answer) waiting?.resolve(answer.outcome)
      else waiting?.reject(new AnnexfsError(answer.code, answer.message))
      this.#next()
    })
    worker.on('error', (error) => {
      this.#failed(worker, error)
    })
    worker.on('exit', (code) => {
      this.#failed(worker, new Error(`the thread ended (${code})`))
    })
    return worker
  }

  #failed(worker: Worker, cause: Error): void {
    if (worker !== this.#worker) return
    this.#worker = undefined
    const waiting = this.#current
    this.#current = undefined
    waiting?.reject(new AnnexfsError('SYSTEM', `checking the hash of ${waiting.request.space.id} failed`, { cause }))
    this.#next()
  }
}

const hasher = new Hasher()
