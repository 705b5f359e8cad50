import { setTimeout as sleep } from 'node:timers/promises'
import { withDeadline } from '../deadline.js'
import { AnnexfsError } from '../errors.js'
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
    return withDeadline({ what, timeout: this.#timeout, signal: this.#stop.signal }, work, late)
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
