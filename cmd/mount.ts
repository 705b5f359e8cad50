import { realpath } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import { openEngine, type Engine } from '../lib/engine/engine.js'
import { sourceKind } from '../lib/engine/source-kind.js'
import { AnnexfsError, reasonOf } from '../lib/errors.js'
import { insideMount } from '../lib/fuse/inside.js'
import { mountVolume, type Mounted } from '../lib/fuse/mount.js'
import { recoverStaleMount } from '../lib/fuse/stale.js'
import type { Gateway } from '../lib/gateway/gateway.js'
import type { Log } from '../lib/log/log.js'
import { withoutSecrets } from '../lib/log/secrets.js'
import type { Station } from '../lib/status/snapshot.js'
import { boundYoungGeneration } from '../lib/young-generation.js'
import { startDaemon, tellReady } from './daemon.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { GATEWAY_OPTIONS, gatewaySettings, LISTEN_OPTION, type GatewaySettings } from './gateway-options.js'
import { observe } from './observe.js'
import { commandLog } from './open.js'
import { engineSettings, readTimeout, SOURCE_OPTIONS, type EngineSettings } from './options.js'
import { rehearseSoon } from './rehearse.js'
import { showSize } from './units.js'

/** `annexfs mount SOURCE... MOUNTPOINT` */
export const mountCommand: Command = {
  name: 'mount',
  summary: 'mount one or more SOURCEs and serve them until unmounted',
  usage: ['SOURCE... MOUNTPOINT [options]'],
  description:
    'Mounts read-only at MOUNTPOINT, an existing folder, and runs in the foreground until Ctrl-C, SIGTERM or annexfs ' +
    'unmount. A single SOURCE is the root of the mount; several are folders in it, named after them. With --daemon ' +
    'the command returns when the mount answers.',
  options: [
    {
      name: 'allow-other',
      help: 'let other users see the mount (needs user_allow_other in /etc/fuse.conf unless root)',
    },
    { name: 'daemon', help: 'return once the mount answers; it goes on in the background' },
    LISTEN_OPTION,
    ...GATEWAY_OPTIONS,
    ...SOURCE_OPTIONS,
  ],
  async run(given, argv) {
    const sources = given.positional.slice(0, -1)
    const mountpoint = given.positional.at(-1)
    if (mountpoint === undefined || sources.length === 0) {
      throw new AnnexfsError('USAGE', 'mount wants at least one SOURCE and a MOUNTPOINT')
    }
    const settings = engineSettings(given)
    const timeout = readTimeout(given)
    if (given.has('daemon'))
      return startDaemon({ command: 'mount', argv, log: resolve(mountpoint), shown: resolve(mountpoint) })
    const log = commandLog(given)
    const listening = await gatewaySettings(given, log)
    const session = await openSession({
      sources,
      mountpoint,
      settings,
      timeout,
      allowOther: given.has('allow-other'),
      ...(listening !== undefined && { gateway: listening }),
      log,
    })
    await tellReady()
    await session.ended
    log.info(session.summary())
    return EXIT.ok
  },
}

export interface SessionOptions {
  readonly sources: readonly string[]
  readonly mountpoint: string
  readonly settings: EngineSettings
  readonly timeout: number
  readonly allowOther: boolean
  /** Where the files are to be had over HTTP as well. */
  readonly gateway?: GatewaySettings
  readonly log: Log
}

export interface Session {
  readonly engine: Engine
  readonly mounted: Mounted
  readonly station: Station
  /** Settles when the mount is gone, by a signal, by us or by somebody else, and everything is closed. */
  readonly ended: Promise<void>
  /** What was read and fetched, in a line. */
  summary(): string
  end(): Promise<void>
}

/** Opens the sources, mounts them, and unmounts on SIGINT, SIGTERM and SIGHUP. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { sources, mountpoint, settings, log } = options
  boundYoungGeneration()
  await recoverStaleMount(mountpoint, log)
  const root = await realpath(mountpoint).catch((error: unknown) => {
    throw new AnnexfsError('NOT_FOUND', `cannot mount at ${mountpoint}: ${reasonOf(error)}`, { cause: error })
  })
  await refuseInside(root, sources, settings)
  const forbid = (path: string): boolean => path === root || path.startsWith(`${root}${sep}`)
  const engine = await openEngine(sources, { ...settings, log, forbid })
  let mounted: Mounted
  try {
    mounted = await mountVolume(engine.volume, {
      mountpoint,
      // Everybody sees it in the table of mounts.
      name: sources.length === 1 ? withoutSecrets(sources[0] ?? 'annexfs') : `${sources.length} sources`,
      allowOther: options.allowOther,
      readTimeout: options.timeout,
      log,
    })
  } catch (error) {
    await engine.volume.close()
    throw error
  }
  log.info(`mounted ${sources.join(', ')} at ${root}`)
  const { cacheFolder, cacheLimit } = settings
  const { timeout } = options
  let served: Gateway | undefined
  const observed = await observe({
    engine,
    sources,
    cacheFolder,
    cacheLimit,
    timeout,
    log,
    mountpoint: root,
    gateway: () => served?.url,
  })
  if (options.gateway !== undefined) {
    const { volume } = engine
    try {
      // Loading it takes a while.
      const { openGateway } = await import('./gateway.js')
      served = await openGateway({ volume, station: observed.station, settings: options.gateway, timeout, log })
    } catch (error) {
      await mounted.unmount()
      await observed.close()
      await volume.close()
      throw error
    }
    log.info(`serving it at ${served.url} as well`)
  }
  const rehearsal = rehearseSoon(engine, log)
  const end = async (): Promise<void> => {
    await mounted.unmount()
  }
  const onSignal = (): void => {
    end().catch((error: unknown) => log.error('could not unmount', { reason: reasonOf(error) }))
  }
  // A fault of ours must not take everybody's open files with it; what it concerned has failed, or will at its deadline.
  const onFault = (reason: unknown): void =>
    log.error('an error that nobody handled; please report it', { reason: reasonOf(reason) })
  process.on('unhandledRejection', onFault)
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  const ended = mounted.closed.then(async () => {
    rehearsal.cancel()
    for (const signal of signals) process.off(signal, onSignal)
    process.off('unhandledRejection', onFault)
    await served?.close()
    await engine.volume.close()
    // Its end tells whoever unmounted that all is closed.
    await observed.close()
  })
  return { engine, mounted, station: observed.station, ended, end, summary: () => fetchedLine(engine) }
}

function fetchedLine({ fetched }: Engine): string {
  const total = [...fetched.values()].reduce((sum, bytes) => sum + bytes, 0)
  const parts = [...fetched]
    .sort((a, b) => b[1] - a[1])
    .slice(0, 5)
    .map(([source, bytes]) => `${source} ${showSize(bytes)}`)
  return `unmounted; fetched ${showSize(total)}${parts.length > 0 ? `: ${parts.join(', ')}` : ''}`
}

/** What we read from, or keep pieces in, must not lie inside the mount: reading it would wait for ourselves. */
async function refuseInside(mountpoint: string, sources: readonly string[], settings: EngineSettings): Promise<void> {
  const places: (readonly [string, string])[] = [['the cache folder', settings.cacheFolder]]
  for (const source of sources) {
    const kind = await sourceKind(source)
    if ('path' in kind) places.push(['SOURCE', kind.path])
  }
  for (const [what, path] of places) {
    if (await insideMount(path, mountpoint)) {
      throw new AnnexfsError(
        'INVALID',
        `${what} ${path} lies inside the mount point ${mountpoint}: the mount would wait for itself. Choose another place`,
      )
    }
  }
}
