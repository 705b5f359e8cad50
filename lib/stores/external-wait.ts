import { abortError, throwIfAborted } from '../errors.js'

/** Waits for `work`, but no longer than until the signal fires; the work may then still go on to its end. */
export async function promptly<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whoever waits is told; without anyone it is no unhandled failure.
  work.catch(() => undefined)
  throwIfAborted(signal)
  let stop: () => void = () => undefined
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortError(signal))
    signal.addEventListener('abort', stop, { once: true })
  })
  try {
    return await Promise.race([work, aborted])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
