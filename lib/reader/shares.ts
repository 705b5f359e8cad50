import type { Bytes, Milliseconds } from '../space/space.js'

/** Who has not read for this long leaves its share to the others. */
const IDLE_AFTER: Milliseconds = 5_000
const LOOK_EVERY: Milliseconds = 1_000
/** However many read: less would make requests that are not worth their round trip. */
const LEAST_SHARE: Bytes = 512 * 1024

/**
 * Splits the bytes that may be fetched ahead at once evenly between those who read sequentially now, so that none of
 * them can take everything from the others. One for all open files; bounded by their number.
 */
export class Shares {
  readonly #total: Bytes
  readonly #now: () => Milliseconds
  readonly #seen = new Map<object, Milliseconds>()
  #looked = -Infinity

  constructor(total: Bytes, now: () => Milliseconds = () => performance.now()) {
    this.#total = total
    this.#now = now
  }

  /** What `reader`, who reads now, may have ahead. */
  of(reader: object): Bytes {
    const now = this.#now()
    this.#seen.set(reader, now)
    if (now - this.#looked > LOOK_EVERY) this.#look(now)
    return Math.max(LEAST_SHARE, Math.floor(this.#total / this.#seen.size))
  }

  leave(reader: object): void {
    this.#seen.delete(reader)
  }

  #look(now: Milliseconds): void {
    this.#looked = now
    for (const [reader, at] of this.#seen) if (now - at > IDLE_AFTER) this.#seen.delete(reader)
  }
}
