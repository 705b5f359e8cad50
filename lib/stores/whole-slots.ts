import { abortError, throwIfAborted } from '../errors.js'

/** So many may be inside at once; first come, first served. */
export class Slots {
  #free: number
  readonly #waiting = new Set<() => void>()

  constructor(count: number) {
    this.#free = count
  }

  /** Waits for a slot. @returns what gives it back. @throws AnnexfsError ABORTED, TIMED_OUT. */
  async enter(signal: AbortSignal): Promise<() => void> {
    throwIfAborted(signal)
    if (this.#free > 0) {
      this.#free--
    } else {
      await new Promise<void>((resolve, reject) => {
        const aborted = (): void => {
          this.#waiting.delete(enter)
          reject(abortError(signal))
        }
        const enter = (): void => {
          this.#waiting.delete(enter)
          signal.removeEventListener('abort', aborted)
          resolve()
        }
        this.#waiting.add(enter)
        signal.addEventListener('abort', aborted, { once: true })
      })
    }
    let left = false
    return () => {
      if (left) return
      left = true
      const [next] = this.#waiting
      if (next === undefined) this.#free++
      else next()
    }
  }
}
