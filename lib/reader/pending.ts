import { abortError, isAnnexfsError } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import type { PieceFetcher } from './ahead.js'

/** However long the read takes that others make way for. */
const LONGEST: Milliseconds = 1_000
/** A read that has waited for so long makes way for no other. */
const LONG_ENOUGH: Milliseconds = 3_000

/**
 * Reads of one open file that wait for bytes. Most of those that are under way when a program seeks were asked for by
 * the kernel's own readahead, which cannot be told from a read that a program waits for: they are not ended, but let
 * the read at the new place go first, for a second at the most each time, and not once they have waited for long.
 */
export class Pending {
  readonly #reads = new Set<PendingRead>()

  /** A read of the stream with this id begins to wait; balanced by {@link end}. */
  begin(stream: number): PendingRead {
    const read = new PendingRead(stream)
    this.#reads.add(read)
    return read
  }

  end(read: PendingRead): void {
    this.#reads.delete(read)
  }

  /** Lets the reads of these streams wait until the result is called. */
  postpone(streams: ReadonlySet<number>): () => void {
    const later = Array.from(this.#reads).filter((read) => streams.has(read.stream) && read.postpone())
    const resume = (): void => {
      clearTimeout(timer)
      for (const read of later) read.resume()
    }
    const timer = later.length === 0 ? undefined : setTimeout(resume, LONGEST)
    return resume
  }
}

/** One read and its pieces. */
export class PendingRead {
  readonly stream: number
  readonly #since = performance.now()
  /** Fires when it is to let others go first; another one each time. */
  #giveWay = new AbortController()
  /** Fires when it may go on; undefined while it need not wait. */
  #goOn: AbortController | undefined
  #wasPostponed = false

  constructor(stream: number) {
    this.stream = stream
  }

  /** False when it has waited for long already. */
  postpone(): boolean {
    if (performance.now() - this.#since > LONG_ENOUGH) return false
    this.#goOn ??= new AbortController()
    this.#wasPostponed = true
    this.#giveWay.abort()
    return true
  }

  resume(): void {
    this.#giveWay = new AbortController()
    this.#goOn?.abort()
    this.#goOn = undefined
  }

  /** Has a piece fetched, later when it must let others go first. */
  async fetch(fetcher: PieceFetcher, index: number, signal: AbortSignal): Promise<Piece> {
    for (;;) {
      while (this.#goOn !== undefined && !signal.aborted) await either(this.#goOn.signal, signal)
      if (signal.aborted) throw abortError(signal)
      const giveWay = this.#giveWay.signal
      const both = AbortSignal.any([signal, giveWay])
      try {
        return await this.#fetch(fetcher, index, both)
      } catch (error) {
        if (signal.aborted || !giveWay.aborted || !isAnnexfsError(error, 'ABORTED')) throw error
      }
    }
  }

  async #fetch(fetcher: PieceFetcher, index: number, signal: AbortSignal): Promise<Piece> {
    try {
      return await fetcher.fetch(index, { urgency: this.#wasPostponed ? 'readahead' : 'read', signal })
    } catch (error) {
      // What is left of a budget is for reads, and this may be one that somebody waits for.
      if (!this.#wasPostponed || !isAnnexfsError(error, 'OVER_BUDGET')) throw error
      return fetcher.fetch(index, { urgency: 'read', signal })
    }
  }
}

/** Resolves when one of the signals has fired. */
function either(...signals: readonly AbortSignal[]): Promise<void> {
  return new Promise((resolve) => {
    const both = AbortSignal.any(signals.slice())
    if (both.aborted) resolve()
    else both.addEventListener('abort', () => resolve(), { once: true })
  })
}
