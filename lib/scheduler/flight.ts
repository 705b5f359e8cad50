import { setMaxListeners } from 'node:events'
import { abortError, isAnnexfsError, reasonOf, type AnnexfsError, type Attempt } from '../errors.js'
import type { Demand, Source } from '../sources/source.js'
import type { Bytes, Milliseconds, Urgency } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import type { Suspects } from './assembly.js'
import type { Carrier } from './carrier.js'
import { URGENCY_ORDER } from './choose.js'

/** A source is asked for a piece this often before it is given up, with these pauses: servers restart, lines drop. */
const RETRY_AFTER: readonly Milliseconds[] = [250, 750]
/** Whatever is configured. */
const MOST_RETRIES = 10
const LONGEST_PAUSE: Milliseconds = 2_000

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

/** One piece that is wanted and not there: who waits for it, and what was tried. */
export class Flight<C = Carrier> {
  readonly index: number
  /** Transfers that are to bring it. More than one when a first one is late, or when each brings a part. */
  readonly carriers = new Set<C>()
  readonly attempts: Attempt[] = []
  /** Since when somebody waits for it. */
  #readSince: Milliseconds | undefined
  /** From one source alone, whole: in parts it failed before. */
  alone = false
  /** Who gave which part of it, when the parts together were wrong. */
  suspects: Suspects | undefined
  /** What asking twice for it may cost, taken from the budget for that. */
  spent: Bytes = 0
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

  /** How long somebody has been waiting for it; 0 while nobody does. */
  waited(): Milliseconds {
    return this.#urgency === 'read' && this.#readSince !== undefined ? performance.now() - this.#readSince : 0
  }

  /**
   * Waits for the piece.
   * @param onLeave called when the demand's signal ended the waiting; its result is what the caller is told.
   */
  join(demand: Demand, onLeave: (error: AnnexfsError) => AnnexfsError): Promise<Piece> {
    if (URGENCY_ORDER[demand.urgency] < URGENCY_ORDER[this.#urgency]) this.#urgency = demand.urgency
    if (demand.urgency === 'read') this.#readSince ??= performance.now()
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
    const pause = isForGood(error) ? undefined : pauseAfter(source, times)
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

/** How long to wait after the failure number `times`; undefined for giving up. */
export function pauseAfter({ limits = {} }: Source, times: number): Milliseconds | undefined {
  const { retries = RETRY_AFTER.length, retryDelay } = limits
  if (times > Math.min(retries, MOST_RETRIES)) return undefined
  if (retryDelay !== undefined) return Math.min(LONGEST_PAUSE, retryDelay * 2 ** (times - 1))
  return RETRY_AFTER[times - 1] ?? LONGEST_PAUSE
}

/** Whether asking the same source again cannot help. */
export function isForGood(error: unknown): boolean {
  return isAnnexfsError(error) && (error.lasting || error.code === 'NOT_FOUND' || error.code === 'CORRUPT')
}
