import type { Milliseconds } from '../space/space.js'

/** The least of what was seen lately: at least in the last `memory`, at most in twice that. */
export class Least {
  #before = Infinity
  #now = Infinity
  #since: Milliseconds = -Infinity

  constructor(private readonly memory: Milliseconds) {}

  /** As of the last {@link add}; undefined before the first. */
  get last(): number | undefined {
    const least = Math.min(this.#before, this.#now)
    return least === Infinity ? undefined : least
  }

  add(value: number, now: Milliseconds): void {
    if (now - this.#since > this.memory) {
      this.#before = now - this.#since > 2 * this.memory ? Infinity : this.#now
      this.#now = Infinity
      this.#since = now
    }
    this.#now = Math.min(this.#now, value)
  }
}
