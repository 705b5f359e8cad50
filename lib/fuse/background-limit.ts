import type { Milliseconds } from '../space/space.js'

/**
 * How many buffered reads the kernel may have under way.
 *
 * Each takes a thread of libfuse, and each thread that comes and goes leaves some memory behind in fuse-native, so the
 * limit is low; but reads that hang must not keep the reads of other files out, so it rises with the reads that are
 * slow, and sinks when they are over.
 */
export class BackgroundLimit {
  readonly #apply: (limit: number) => Promise<boolean>
  readonly #wake: (requests: number) => void
  #limit = FIXED
  #enabled = false
  #waiting = 0
  #timer: NodeJS.Timeout | undefined
  /** Reads that were waiting at the last look, less those that have ended since: all older than one interval. */
  #slow = 0
  #busy = false

  /**
   * @param apply tells the kernel; false means that it cannot be told.
   * @param wake lets up to so many requests go on that have waited for the limit to rise.
   */
  constructor(apply: (limit: number) => Promise<boolean>, wake: (requests: number) => void = () => undefined) {
    this.#apply = apply
    this.#wake = wake
  }

  /** Takes over from the fixed limit of the mount options, where the kernel can be told. */
  async begin(): Promise<boolean> {
    if (!(await this.#apply(LEAST))) return false
    this.#limit = LEAST
    this.#enabled = true
    // Those that came first may be all that the kernel lets through now.
    if (this.#waiting > 0) this.#watch()
    return true
  }

  started(): void {
    this.#waiting += 1
    if (this.#enabled) this.#watch()
  }

  ended(): void {
    this.#waiting -= 1
    // Taken off the slow ones first: too low a count only means that the limit rises one interval later.
    if (this.#slow > 0) this.#slow -= 1
  }

  stop(): void {
    this.#enabled = false
    this.#rest()
  }

  #watch(): void {
    this.#timer ??= setInterval(() => this.#look(), INTERVAL)
  }

  #rest(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #look(): void {
    const wanted = limitFor(Math.min(this.#slow, this.#waiting), this.#limit)
    this.#slow = this.#waiting
    // At the least limit none can be asleep but for reads that are fast, which wake each other.
    if (this.#limit > LEAST && !this.#busy) this.#wake(this.#limit - this.#waiting)
    if (wanted !== this.#limit && !this.#busy) {
      this.#busy = true
      this.#apply(wanted).then(
        (applied) => {
          if (applied) this.#limit = wanted
          this.#busy = false
        },
        () => {
          // The next look tries again.
          this.#busy = false
        },
      )
    }
    if (this.#waiting === 0 && this.#limit === LEAST) this.#rest()
  }
}

/** The limit that leaves room for {@link LEAST} fast reads beside `slow` ones; it sinks only when it may halve. */
export function limitFor(slow: number, now: number): number {
  const wanted = Math.min(MOST, Math.ceil(slow / LEAST) * LEAST + LEAST)
  return wanted > now || wanted * 2 <= now ? wanted : now
}

/** Enough for two sequential readers; the kernel's own default is 12. */
export const LEAST = 32
/** Threads are not free; at this many hung reads, buffered reads of other files wait. */
const MOST = 512
/** In the mount options: for good, where the kernel cannot be told later. */
export const FIXED = 256
const INTERVAL: Milliseconds = 20
