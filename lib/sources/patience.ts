import { abortError, AnnexfsError, throwIfAborted } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

/** More operations than this that never came back, and a place gets no more: each holds a thread of a small pool. */
const MOST_STUCK = 2

/** An operation that was given up is stuck once it has run for this long: readers change their mind in a moment. */
const STUCK_AFTER: Milliseconds = 1_000

const stuck = new Map<string, number>()

/**
 * Runs a file system operation on `place` (a remote's folder, say), but waits for it only until the signal fires: a
 * dead NFS server or disk may never answer, and the operation cannot be taken back.
 * @param late is given a result that nobody waits for any more, to close it.
 * @throws AnnexfsError ABORTED, TIMED_OUT by the signal; UNAVAILABLE when `place` has not answered before.
 */
export async function patiently<T>(
  place: string,
  signal: AbortSignal,
  operation: () => Promise<T>,
  late?: (result: T) => void,
): Promise<T> {
  throwIfAborted(signal)
  if ((stuck.get(place) ?? 0) >= MOST_STUCK) {
    throw new AnnexfsError('UNAVAILABLE', `${place} does not answer: earlier reads of it are still waiting`)
  }
  const started = performance.now()
  const running = operation()
  let stop: () => void = () => undefined
  const aborted = new Promise<'aborted'>((resolve) => (stop = () => resolve('aborted')))
  signal.addEventListener('abort', stop)
  try {
    const result = await Promise.race([running.then((value) => ({ value })), aborted])
    if (result !== 'aborted') return result.value
  } finally {
    signal.removeEventListener('abort', stop)
  }
  const given = abortError(signal)
  let counted = false
  const count = (): void => {
    counted = true
    stuck.set(place, (stuck.get(place) ?? 0) + 1)
  }
  // A deadline that has passed is proof enough.
  const left = given.code === 'TIMED_OUT' ? 0 : started + STUCK_AFTER - performance.now()
  const timer = left > 0 ? setTimeout(count, left).unref() : undefined
  if (timer === undefined) count()
  running
    .then(late, () => undefined)
    .finally(() => {
      clearTimeout(timer)
      if (counted) answered(place)
    })
    .catch(() => undefined)
  throw given
}

function answered(place: string): void {
  const left = (stuck.get(place) ?? 1) - 1
  if (left > 0) stuck.set(place, left)
  else stuck.delete(place)
}
