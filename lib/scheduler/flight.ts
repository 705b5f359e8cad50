import { setMaxListeners } from 'node:events'
import { abortError, isAnnexfsError, reasonOf, type AnnexfsError, type Attempt } from '../errors.js'
import type { Demand, Source } from '../sources/source.js'
import type { Milliseconds, Urgency } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import { URGENCY_ORDER } from './choose.js'

/** A source is asked for a piece this often before it is given up, with these pauses: servers restart, lines drop. */
const RETRY_AFTER: readonly Milliseconds[] = [250, 750]

interface Waiter {
  readonly urgency: Urgency
  settle(piece: Piece): void
  fail(error: unknown): void
}

interface Failure {
  readonly times: number
  /** Not asked again for this piece before; Infinity for never. */
  readonly retryAt: Milliseconds
}

/** One piece that is wanted and not there: who waits for it, and what was tried. `C` is what carries it. */
export class Flight<C> {
  readonly index: number
  /** Transfers that are to bring it. More than one when a first one has stalled. */
  readonly carriers = new Set<C>()
  readonly attempts: Attempt[] = []
  readonly #waiters = new Set<Waiter>()
  readonly #failures = new Map<Source, Failure>()
  #urgency: Urgency = 'fill'

  constructor(index: number) {
    this.index = index
  }

  /** That of the waiter in the greatest hurry. */
  get urgency(): Urgency {
    return this.#urgency
  }

  get isWanted(): boolean {
    return this.#waiters.size > 0
  }

  /**
   * Waits for the piece.
   * @param onLeave called when the demand's signal ended the waiting; its result is what the caller is told.
   */
  join(demand: Demand, onLeave: (error: AnnexfsError) => AnnexfsError): Promise<Piece> {
    if (URGENCY_ORDER[demand.urgency] < URGENCY_ORDER[this.#urgency]) this.#urgency = demand.urgency
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter)
        demand.signal.removeEventListener('abort', onAbort)
      }
      const waiter: Waiter = {
        urgency: demand.urgency,
        settle: (piece) => {
          leave()
          resolve(piece)
        },
        fail: (error) => {
          leave()
          // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- always an Error, made by the fetcher
          reject(error)
        },
      }
      const onAbort = (): void => {
        leave()
        this.#urgency = 'fill'
        for (const { urgency } of this.#waiters) {
          if (URGENCY_ORDER[urgency] < URGENCY_ORDER[this.#urgency]) this.#urgency = urgency
        }
        reject(onLeave(abortError(demand.signal)))
      }
      // Hundreds of pieces may hang on the signal of one file.
      setMaxListeners(0, demand.signal)
      demand.signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.add(waiter)
    })
  }

  settle(piece: Piece): void {
    for (const waiter of Array.from(this.#waiters)) waiter.settle(piece)
  }

  fail(error: unknown): void {
    for (const waiter of Array.from(this.#waiters)) waiter.fail(error)
  }

  /** Notes that `source` could not bring it. */
  blame(source: Source, error: unknown, now: Milliseconds): void {
    const times = (this.#failures.get(source)?.times ?? 0) + 1
    const pause = isForGood(error) ? undefined : RETRY_AFTER[times - 1]
    this.#failures.set(source, { times, retryAt: pause === undefined ? Infinity : now + pause })
    this.attempts.push({ source: source.name, reason: reasonOf(error) })
  }

  hasFailed(source: Source): boolean {
    return this.#failures.has(source)
  }

  /** Whether `source` may be asked for it now. */
  mayAsk(source: Source, now: Milliseconds): boolean {
    return (this.#failures.get(source)?.retryAt ?? 0) <= now
  }

  /** When one of `sources` may be asked again; Infinity for never. */
  retryAt(sources: ReadonlySet<Source>): Milliseconds {
    let next = Infinity
    for (const [source, failure] of this.#failures) {
      if (sources.has(source)) next = Math.min(next, failure.retryAt)
    }
    return next
  }
}

/** Whether asking the same source again cannot help. */
export function isForGood(error: unknown): boolean {
  return isAnnexfsError(error) && ['FORBIDDEN', 'INVALID', 'UNSUPPORTED', 'NOT_FOUND', 'CORRUPT'].includes(error.code)
}
