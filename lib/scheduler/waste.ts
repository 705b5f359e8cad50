import type { Bytes } from '../space/space.js'

/** Enough to ask twice for the first pieces, when nothing is known of the sources. */
const AT_FIRST: Bytes = 1024 * 1024
const MOST_SAVED: Bytes = 4 * 1024 * 1024
/** Below the 5 % that may be wasted: what is in the kernel's buffers when a request is given up is not seen here. */
const PER_BYTE_FETCHED = 0.03

/** A token bucket for the bytes that asking twice may cost. */
export class WasteBudget {
  #spare: Bytes = AT_FIRST

  fetched(bytes: Bytes): void {
    this.#spare = Math.min(MOST_SAVED, this.#spare + bytes * PER_BYTE_FETCHED)
  }

  allows(bytes: Bytes): boolean {
    return this.#spare >= bytes
  }

  spend(bytes: Bytes): void {
    this.#spare -= bytes
  }

  /** What was spent and turned out not to be wasted. */
  giveBack(bytes: Bytes): void {
    this.#spare = Math.min(MOST_SAVED, this.#spare + bytes)
  }
}
