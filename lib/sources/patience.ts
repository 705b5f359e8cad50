import { abortError, AnnexfsError, throwIfAborted } from '../errors.js'
import { Slots } from '../slots.js'
import type { Milliseconds } from '../space/space.js'

/** More operations than this that never came back, and a place gets no more: each holds a thread of a small pool. */
const MOST_STUCK = 2

/** An operation that was given up is stuck once it has run for this long: readers change their mind in a moment. */
const STUCK_AFTER: Milliseconds = 1_000

/** Operations on one place at once: a disk that hangs keeps the threads that wait for it, of which there are 16. */
const AT_ONCE = 4
/** On all places together: the cache and the look-up of names need threads too. */
const ALL_AT_ONCE = 12

const stuck = new Map<string, number>()
const all = new Slots(ALL_AT_ONCE)
/** Of places with operations under way, or waiting for their turn. */
const turns = new Map<string, { readonly slots: Slots; users: number }>()

/**
 * Runs a file system operation on `place` (a remote's folder, say), but waits for it only until the signal fires: a
 * dead NFS server or disk may never answer, and the operation cannot be taken back. Only some run at once, the others wait
 * for their turn.
 * @param late is given a result that nobody waits for any more, to close it.
 * @throws AnnexfsError ABORTED, TIMED_OUT by the signal; UNAVAILABLE when `place` has not answered before.
 */
export async function patiently<T>(
  place: string,
  signal: AbortSignal,
  operation: () => Promise<T>,
  late?: (result: T) => void,
): Promise<T> {
  refuseStuck(place)
  const leave = await turn(place, signal)
  let running: Promise<T>
  try {
    // Meanwhile those before it may have turned out to hang.
    refuseStuck(place)
    running = operation()
  } catch (error) {
    leave()
    throw error
  }
  const started = performance.now()
  running.then(leave, leave)
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

function refuseStuck(place: string): void {
  if ((stuck.get(place) ?? 0) < MOST_STUCK) return
  throw new AnnexfsError('UNAVAILABLE', `${place} does not answer: earlier reads of it are still waiting`)
}

/** Waits until an operation on `place` may begin. @returns what to call when it has ended. */
async function turn(place: string, signal: AbortSignal): Promise<() => void> {
  const own = turns.get(place) ?? { slots: new Slots(AT_ONCE), users: 0 }
  turns.set(place, own)
  own.users++
  let leaveOwn: (() => void) | undefined
  const leave = (): void => {
    leaveOwn?.()
    own.users--
    if (own.users === 0) turns.delete(place)
  }
  try {
    throwIfAborted(signal)
    leaveOwn = await own.slots.take(signal)
    const leaveAll = await all.take(signal)
    return () => {
      leaveAll()
      leave()
    }
  } catch (error) {
    leave()
    throw error
  }
}

function answered(place: string): void {
  const left = (stuck.get(place) ?? 1) - 1
  if (left > 0) stuck.set(place, left)
  else stuck.delete(place)
}
