import { Actions } from '../lib/control/actions.js'
import { socketName } from '../lib/control/folder.js'
import { controlMethods } from '../lib/control/methods.js'
import { startControl, type ControlSocket } from '../lib/control/server.js'
import type { Engine } from '../lib/engine/engine.js'
import { reasonOf } from '../lib/errors.js'
import type { Log } from '../lib/log/log.js'
import type { Station } from '../lib/status/snapshot.js'
import { shownSources } from '../lib/status/sources.js'
import { stationOf } from '../lib/status/station.js'
import type { Milliseconds } from '../lib/space/space.js'
import { version } from './version.js'

export interface ObserveOptions {
  readonly engine: Engine
  readonly sources: readonly string[]
  readonly cacheFolder: string
  readonly cacheLimit: number
  readonly timeout: number
  readonly log: Log
  /** Without symbolic links; undefined for what is not mounted. */
  readonly mountpoint?: string
  /** Base URL of the gateway, once there is one. */
  readonly gateway?: () => string | undefined
  /** Ends the process, for who may ask for that over the control socket; a mount is unmounted instead. */
  readonly stop?: () => void
}

/** A running engine whose facts are to be had. */
export interface Observed {
  readonly station: Station
  close(): Promise<void>
}

/** A mount that was just unmounted may still be closing what it has open. */
const PREDECESSOR: Milliseconds = 2_000

/** Makes the facts of a running engine to be had, and opens its control socket. Without one it runs all the same. */
export async function observe(options: ObserveOptions): Promise<Observed> {
  const { engine, cacheFolder, cacheLimit, timeout, log, mountpoint, gateway, stop } = options
  const station = stationOf({
    engine,
    version: version(),
    cacheFolder,
    sources: await shownSources(options.sources),
    ...(mountpoint !== undefined && { mountpoint }),
    ...(gateway !== undefined && { gateway }),
  })
  const methods = controlMethods(station, new Actions({ engine, cacheLimit, timeout }), stop)
  const name = mountpoint === undefined ? `serve-${process.pid}.sock` : socketName(mountpoint)
  let control: ControlSocket | undefined
  try {
    control = await startControl({ name, methods, log, patience: PREDECESSOR })
  } catch (error) {
    log.warn('there is no control socket: annexfs status will not see this one', { reason: reasonOf(error) })
  }
  return { station, close: async () => control?.close() }
}
