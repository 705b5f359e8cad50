import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { AnnexfsError, abortError, reasonOf, throwIfAborted } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { HashAnswer, HashPart, HashRequest, HashWork } from './create-hash-worker.js'

export type { HashPart } from './create-hash-worker.js'

export interface HashedPieces {
  readonly count: number
  /** SHA-1 digests after each other; of a piece that is not {@link there} zeros. */
  readonly digests: Buffer
  /** Whether all bytes of a piece were there. */
  there(index: number): boolean
}

const DIGEST: Bytes = 20
/** One task: long enough that messages cost nothing, short enough that threads end together. */
const TASK: Bytes = 16 * 1024 * 1024
/** SHA-1 of this many at once is beyond what disks read. */
const MOST_THREADS = 8

/**
 * Hashes the pieces of files that lie after each other, in threads.
 * @param onBytes told how many bytes were hashed since it was told last.
 * @throws AnnexfsError INVALID when a file changed under way, SYSTEM when it cannot be read, the signal's reason.
 */
export async function hashPieces(
  parts: readonly HashPart[],
  pieceLength: Bytes,
  options: { readonly signal: AbortSignal; readonly onBytes?: (bytes: Bytes) => void },
): Promise<HashedPieces> {
  const { signal, onBytes } = options
  throwIfAborted(signal)
  const total = parts.reduce((sum, part) => sum + part.length, 0)
  const count = Math.ceil(total / pieceLength)
  const digests = Buffer.alloc(count * DIGEST)
  const there = new Uint8Array(count)
  const perTask = Math.max(1, Math.floor(TASK / pieceLength))
  const tasks = Math.ceil(count / perTask)
  let next = 0
  const threads = Array.from({ length: Math.min(tasks, MOST_THREADS, availableParallelism()) }, () => {
    return new HashThread({ parts, pieceLength })
  })
  let onAbort: (() => void) | undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
  })
  const run = async (thread: HashThread): Promise<void> => {
    while (next < count) {
      const first = next
      next = Math.min(count, first + perTask)
      const end = next
      const answer = await thread.ask({ first, end })
      digests.set(answer.digests, first * DIGEST)
      there.set(answer.there, first)
      onBytes?.(Math.min(total, end * pieceLength) - first * pieceLength)
    }
  }
  try {
    await Promise.race([Promise.all(threads.map(run)), aborted])
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort)
    await Promise.all(threads.map((thread) => thread.end()))
  }
  return { count, digests, there: (index) => there[index] === 1 }
}

/** One thread, one request at a time. */
class HashThread {
  readonly #worker: Worker
  #waiting: { readonly resolve: (answer: HashAnswer) => void; readonly reject: (error: unknown) => void } | undefined

  constructor(work: HashWork) {
    this.#worker = new Worker(new URL('./create-hash-worker.js', import.meta.url), { workerData: work, execArgv: [] })
    this.#worker.on('message', (answer: HashAnswer) => this.#waiting?.resolve(answer))
    const gone = (error: unknown): void => {
      this.#waiting?.reject(
        new AnnexfsError('SYSTEM', `the hashing thread failed: ${reasonOf(error)}`, { cause: error }),
      )
    }
    this.#worker.on('error', gone)
    this.#worker.on('exit', () => gone(new Error('it has ended')))
  }

  async ask(request: HashRequest): Promise<Extract<HashAnswer, { kind: 'done' }>> {
    const answer = await new Promise<HashAnswer>((resolve, reject) => {
      this.#waiting = { resolve, reject }
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      this.#worker.postMessage(request)
    })
    if (answer.kind === 'failed') throw new AnnexfsError(answer.code, answer.message)
    return answer
  }

  async end(): Promise<void> {
    await this.#worker.terminate()
  }
}
