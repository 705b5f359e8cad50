import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, AnnexfsError, reasonOf, type ErrorCode } from '../errors.js'
import { seconds } from '../log/amounts.js'
import type { Asking } from '../space/awaited.js'
import type { Milliseconds } from '../space/space.js'
import { CutOff } from './http-body.js'

const MOST_TRIES = 5
const FIRST_WAIT: Milliseconds = 100
const LONGEST_WAIT: Milliseconds = 30_000

/** A failure that may pass: thrown by an attempt to be made again. */
export class Passing extends Error {
  /** What to say when it did not pass. */
  readonly error: AnnexfsError
  /** Wait at least so long, because the server asked for it. */
  readonly after: Milliseconds
  /** That of the answer which was the failure. */
  readonly status: number | undefined

  constructor(error: AnnexfsError, after: Milliseconds = 0, status?: number) {
    super(error.message, { cause: error })
    this.error = error
    this.after = after
    this.status = status
  }
}

/** The tries of one read: at most 5 in a row without progress. */
export class Tries {
  readonly #asking: Asking
  #made = 0

  constructor(asking: Asking) {
    this.#asking = asking
  }

  progressed(): void {
    this.#made = 0
  }

  /**
   * Waits until the next try: twice as long each time, at random within that, at least as long as the server asked.
   * @throws the failure itself when the tries are used up or the server asks for more than 30 s; the signal's error.
   */
  async wait(failure: Passing): Promise<void> {
    this.#made++
    if (this.#made >= MOST_TRIES || failure.after > LONGEST_WAIT) {
      const { code, message } = failure.error
      throw this.#made === 1 ? failure.error : again(code, `${message} (tried ${this.#made} times)`, failure.error)
    }
    // A kept connection that the server had just closed is the usual reason: at once, then.
    const spread = failure.error instanceof CutOff && this.#made === 1 ? 0 : FIRST_WAIT * 2 ** (this.#made - 1)
    const wait = failure.after + spread / 2 + Math.random() * spread
    const { signal, awaits } = this.#asking
    const until = performance.now() + wait
    const over = awaits?.(() => awaited(failure, until - performance.now()))
    try {
      await sleep(wait, undefined, { signal })
    } catch (error) {
      // Only the signal ends a sleep early; what we were waiting for is what the reader should be told.
      const reason = abortError(signal)
      throw again(reason.code, `${reason.message} while waiting to ask again: ${reasonOf(failure.error)}`, error)
    } finally {
      over?.()
    }
  }
}

/** `the server asked to wait 3.5 s more (HTTP 429)` */
function awaited({ error, after, status }: Passing, left: Milliseconds): string {
  const time = seconds(Math.max(0, left))
  if (after === 0) return `asked again in ${time}: ${error.message}`
  return `the server asked to wait ${time} more${status === undefined ? '' : ` (HTTP ${status})`}`
}

function again(code: ErrorCode, message: string, cause: unknown): AnnexfsError {
  return new AnnexfsError(code, message, { cause })
}
