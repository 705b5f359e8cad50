import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, AnnexfsError } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

/** Gives every piece of work a deadline, and all of it one end: at unmount nothing may be left that waits. */
export class Deadlines {
  readonly #stop = new AbortController()
  readonly #timeout: Milliseconds

  constructor(timeout: Milliseconds) {
    this.#timeout = timeout
  }

  /** Fires at {@link stop}. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  get stopped(): boolean {
    return this.#stop.signal.aborted
  }

  stop(): void {
    this.#stop.abort(new AnnexfsError('ABORTED', 'the file system is being unmounted'))
  }

  /**
   * Does `work` until it is done, the deadline passes or everything stops; `late` gets what comes after that.
   * @throws AnnexfsError TIMED_OUT, ABORTED, and what `work` throws.
   */
  run<T>(what: string, work: (signal: AbortSignal) => T | Promise<T>, late?: (value: T) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const controller = new AbortController()
      let over = false
      const end = (): boolean => {
        if (over) return false
        over = true
        clearTimeout(timer)
        this.#stop.signal.removeEventListener('abort', stopped)
        return true
      }
      const give = (error: AnnexfsError): void => {
        if (!end()) return
        reject(error)
        controller.abort(error)
      }
      const stopped = (): void => give(abortError(this.#stop.signal))
      const timer = setTimeout(() => {
        give(new AnnexfsError('TIMED_OUT', `${what} took longer than ${this.#timeout} ms`))
      }, this.#timeout)
      this.#stop.signal.addEventListener('abort', stopped)
      const begin = async (): Promise<T> => work(controller.signal)
      begin().then(
        (value) => {
          if (end()) resolve(value)
          else late?.(value)
        },
        (error: unknown) => {
          if (end()) reject(error instanceof Error ? error : new Error(String(error)))
        },
      )
      if (this.stopped) stopped()
    })
  }

  /** Waits; less when everything stops. */
  async wait(time: Milliseconds): Promise<void> {
    try {
      await sleep(time, undefined, { signal: this.#stop.signal })
    } catch (error) {
      // Only the end of everything wakes it early, and that is no failure of waiting.
      if (!this.stopped) throw error
    }
  }
}
