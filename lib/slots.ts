import { abortError, throwIfAborted } from './errors.js'
import type { Urgency } from './space/space.js'

interface Waiting {
  readonly urgency: () => Urgency
  readonly go: () => void
}

/** So many at once and no more; those that a reader waits for come first, then in the order of asking. */
export class Slots {
  #free: number
  readonly #waiting: Waiting[] = []

  constructor(limit: number) {
    this.#free = limit
  }

  /**
   * Waits for a slot; the caller gives it back by the function that it gets.
   * @param urgency asked when one is free: it may rise meanwhile. Default: all wait in the order of asking.
   * @throws AnnexfsError ABORTED, TIMED_OUT.
   */
  async take(signal: AbortSignal, urgency: () => Urgency = () => 'read'): Promise<() => void> {
    throwIfAborted(signal)
    if (this.#free > 0) this.#free--
    else await this.#wait(urgency, signal)
    let held = true
    return () => {
      if (!held) return
      held = false
      const next = this.#waiting.find((one) => one.urgency() === 'read') ?? this.#waiting[0]
      if (next === undefined) this.#free++
      else next.go()
    }
  }

  #wait(urgency: () => Urgency, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(waiting), 1)
        signal.removeEventListener('abort', onAbort)
      }
      const onAbort = (): void => {
        leave()
        reject(abortError(signal))
      }
      const waiting: Waiting = {
        urgency,
        go: () => {
          leave()
          resolve()
        },
      }
      this.#waiting.push(waiting)
      signal.addEventListener('abort', onAbort)
    })
  }
}
