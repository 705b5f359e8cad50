import { isLasting } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

/** After a failure to connect, tries fail at once for so long; doubled each time, up to the second. */
const PASSING: readonly [Milliseconds, Milliseconds] = [250, 5_000]
/** A host that refuses us does so until somebody mends it; servers ban who keeps on knocking (fail2ban: 5 in 10 minutes). */
const LASTING: readonly [Milliseconds, Milliseconds] = [10_000, 120_000]

/** Remembers that a connection could not be made: until some time has passed, tries end with the same error. */
export class BackOff {
  readonly #now: () => Milliseconds
  #failure: { readonly error: unknown; readonly until: Milliseconds; readonly wait: Milliseconds } | undefined

  /** @param now a monotonic clock. */
  constructor(now: () => Milliseconds = () => performance.now()) {
    this.#now = now
  }

  /** @throws the last failure, while it counts. */
  check(): void {
    if (this.#failure !== undefined && this.#now() < this.#failure.until) throw this.#failure.error
  }

  failed(error: unknown): void {
    const [first, longest] = isLasting(error) ? LASTING : PASSING
    const wait = Math.max(first, Math.min(longest, (this.#failure?.wait ?? 0) * 2))
    this.#failure = { error, until: this.#now() + wait, wait }
  }

  succeeded(): void {
    this.#failure = undefined
  }
}
