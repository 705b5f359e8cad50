import { abortError, AnnexfsError } from './errors.js'
import type { Milliseconds } from './space/space.js'

export interface Patience {
  /** What is being done, for the message. */
  readonly what: string
  readonly timeout: Milliseconds
  readonly signal: AbortSignal
  /** How long work whose time is over may take to say what it was waiting for; default: not at all. */
  readonly lastWords?: Milliseconds
}

/**
 * Does `work` until it is done, its time is over or `signal` fires; `late` gets what comes after that.
 * @throws AnnexfsError TIMED_OUT, ABORTED, and what `work` throws.
 */
export function withDeadline<T>(
  { what, timeout, signal, lastWords = 0 }: Patience,
  work: (signal: AbortSignal) => T | Promise<T>,
  late?: (value: T) => void,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const controller = new AbortController()
    let over = false
    const end = (): boolean => {
      if (over) return false
      over = true
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
      return true
    }
    const stop = (): void => {
      const error = abortError(signal)
      if (end()) reject(error)
      controller.abort(error)
    }
    let timer = setTimeout(() => {
      const error = new AnnexfsError('TIMED_OUT', `${what} took longer than ${timeout} ms`)
      const giveUp = (): void => {
        if (end()) reject(error)
      }
      if (lastWords > 0) timer = setTimeout(giveUp, lastWords)
      else giveUp()
      controller.abort(error)
    }, timeout)
    if (signal.aborted) {
      stop()
      return
    }
    signal.addEventListener('abort', stop)
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
  })
}
