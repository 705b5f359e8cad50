import type { Bytes, Milliseconds } from '../space/space.js'

/** Values that are kept: one a second over 5 minutes. */
export const HISTORY_SECONDS = 300
/** A rate is the mean of so many whole seconds before now, and the one that runs. */
const RATE_SECONDS = 4

/** Bytes by second over the last minutes; needs no timer: seconds in which nothing came are filled in when asked. */
export class Throughput {
  readonly #seconds = new Float64Array(HISTORY_SECONDS)
  /** The second that `#seconds` was last written for, on a monotonic clock. */
  #second = -1
  total: Bytes = 0

  /** @param now on the clock of `performance.now()`, as everywhere here. */
  add(bytes: Bytes, now: Milliseconds): void {
    this.total += bytes
    const at = this.#forward(now) % HISTORY_SECONDS
    this.#seconds[at] = (this.#seconds[at] ?? 0) + bytes
  }

  /** Bytes per second over the last seconds. */
  rate(now: Milliseconds): number {
    const second = this.#forward(now)
    let sum = 0
    for (let back = 0; back <= RATE_SECONDS && back <= second; back++) sum += this.#at(second - back)
    return (sum * 1000) / (Math.min(second, RATE_SECONDS) * 1000 + Math.max(1, now - second * 1000))
  }

  /** One value for each of the whole seconds before now, oldest first. */
  history(now: Milliseconds): number[] {
    const second = this.#forward(now)
    return Array.from({ length: HISTORY_SECONDS - 1 }, (_, n) => {
      const at = second - HISTORY_SECONDS + 1 + n
      return at < 0 ? 0 : this.#at(at)
    })
  }

  #at(second: number): Bytes {
    return this.#seconds[second % HISTORY_SECONDS] ?? 0
  }

  #forward(now: Milliseconds): number {
    const second = Math.max(this.#second, Math.floor(now / 1000))
    const first = Math.max(this.#second + 1, second - HISTORY_SECONDS + 1)
    for (let at = first; at <= second; at++) this.#seconds[at % HISTORY_SECONDS] = 0
    this.#second = second
    return second
  }
}
