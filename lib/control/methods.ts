import { AnnexfsError, reasonOf } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import type { Station } from '../status/snapshot.js'
import type { Actions } from './actions.js'
import { PROTOCOL, type Method } from './protocol.js'

const EVERY: Milliseconds = 1_000
const OFTEN: Milliseconds = 100
const SELDOM: Milliseconds = 3_600_000

type Params = Readonly<Record<string, unknown>>

/**
 * What can be asked of a running annexfs: doc/CONTROL.md. Nothing of it writes to a repository.
 * @param stop ends the process, soon; a mount is unmounted instead.
 */
export function controlMethods(station: Station, actions: Actions, stop?: () => void): ReadonlyMap<string, Method> {
  return new Map<string, Method>([
    ...actionMethods(actions),
    ['stop', async () => stopped(stop)],
    [
      'hello',
      async () => {
        const { version, pid, mountpoint, gateway } = await station.snapshot()
        return { protocol: PROTOCOL, version, pid, mountpoint, gateway }
      },
    ],
    ['status', () => station.snapshot()],
    ['subscribe', (params, { signal, event }) => subscribe(station, params, signal, event)],
    [
      'pieces',
      async (params, { signal }) => {
        const map = await station.pieceMap(text(params, 'file'), signal)
        if (map === undefined) throw new AnnexfsError('NOT_FOUND', 'no such file is open')
        return map
      },
    ],
  ])
}

/** Those that need no running mount. */
export function actionMethods(actions: Actions): ReadonlyMap<string, Method> {
  return new Map<string, Method>([
    ['files', (params, { signal }) => actions.files(text(params, 'path'), signal)],
    ['whereis', (params, { signal }) => actions.whereis(text(params, 'path'), signal)],
    ['pin', (params, { signal }) => actions.pin(text(params, 'path'), signal)],
    ['unpin', (params, { signal }) => actions.unpin(text(params, 'path'), signal)],
    ['evict', (params, { signal }) => actions.evict(text(params, 'path'), signal)],
    [
      'prefetch',
      (params, { signal, event }) => {
        const range = { start: offset(params, 'start') ?? 0, end: offset(params, 'end') ?? Number.MAX_SAFE_INTEGER }
        return actions.prefetch(text(params, 'path'), range, { signal, progress: event })
      },
    ],
  ])
}

function stopped(stop: (() => void) | undefined): object {
  if (stop === undefined) throw new AnnexfsError('UNSUPPORTED', 'a mount ends when it is unmounted: annexfs unmount')
  // The answer goes first.
  setImmediate(stop)
  return {}
}

/** A snapshot now and again every `every` ms, until the client cancels or goes. */
async function subscribe(
  station: Station,
  params: Params,
  signal: AbortSignal,
  event: (value: unknown) => void,
): Promise<unknown> {
  const { every = EVERY } = params
  if (typeof every !== 'number' || !(every >= OFTEN && every <= SELDOM)) {
    throw new AnnexfsError('INVALID', `every is a time from ${OFTEN} to ${SELDOM} ms`)
  }
  while (!signal.aborted) {
    event(await station.snapshot())
    await pause(every, signal)
  }
  throw new AnnexfsError('ABORTED', reasonOf(signal.reason))
}

function pause(duration: Milliseconds, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, duration)
    signal.addEventListener('abort', end, { once: true })
  })
}

function text(params: Params, name: string): string {
  const value = params[name]
  if (typeof value === 'string' && value !== '') return value
  throw new AnnexfsError('INVALID', `${name} is missing, or no string`)
}

function offset(params: Params, name: string): number | undefined {
  const value = params[name]
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw new AnnexfsError('INVALID', `${name} is a whole number of bytes`)
}
