import type { Milliseconds } from './space/space.js'

/** Tells those who wait that something has changed; they look again for themselves. */
export class Changes {
  readonly #waiting = new Set<() => void>()

  /** Until {@link tell} is called, the signal fires or `time` is over. */
  next(signal: AbortSignal, time?: Milliseconds): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      const timer = time === undefined ? undefined : setTimeout(wake, time)
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake)
    })
  }

  tell(): void {
    for (const wake of this.#waiting) wake()
  }
}
