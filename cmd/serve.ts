import { openEngine } from '../lib/engine/engine.js'
import { AnnexfsError, reasonOf } from '../lib/errors.js'
import type { Gateway } from '../lib/gateway/gateway.js'
import { boundYoungGeneration } from '../lib/young-generation.js'
import { startDaemon, tellReady } from './daemon.js'
import { EXIT } from './exit-codes.js'
import { GATEWAY_OPTIONS, gatewaySettings, LISTEN_OPTION } from './gateway-options.js'
import type { Command } from './help.js'
import { observe } from './observe.js'
import { commandLog } from './open.js'
import { engineSettings, readTimeout, SOURCE_OPTIONS, type Given } from './options.js'
import { rehearseSoon } from './rehearse.js'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** `annexfs serve SOURCE...` */
export const serveCommand: Command = {
  name: 'serve',
  summary: 'serve one or more SOURCEs over HTTP and WebDAV, without FUSE',
  usage: ['SOURCE... [--listen 127.0.0.1:8080] [options]'],
  description:
    'Serves the same files as a mount, read-only: to browsers, players and download programs over HTTP, and to ' +
    'programs that mount WebDAV. Runs in the foreground until Ctrl-C, SIGTERM or annexfs stop; with --daemon the ' +
    'command prints the URL and returns once it answers. Only this machine can connect unless --listen says otherwise, ' +
    'and then only who knows the secret of --token or --basic-auth. What it is doing shows at /-/.',
  options: [
    { ...LISTEN_OPTION, help: 'where to listen; port 0 takes any', fallback: '127.0.0.1:8080' },
    { name: 'daemon', help: 'print the URL and return once it answers; it goes on in the background' },
    ...GATEWAY_OPTIONS,
    ...SOURCE_OPTIONS,
  ],
  run(given, argv) {
    if (given.positional.length === 0) throw new AnnexfsError('USAGE', 'serve wants at least one SOURCE')
    if (!given.has('daemon')) return serve(given)
    const log = ['serve', given.get('listen') ?? '', ...given.positional].join('\0')
    return startDaemon({ command: 'serve', argv, log, shown: given.positional.join(' ') })
  },
}

/** Serves until it is told to stop; `ready` learns the base URL once it can be asked. @returns the exit code. */
export async function serve(given: Given, ready: (url: string) => void = () => undefined): Promise<number> {
  const sources = given.positional
  if (sources.length === 0) throw new AnnexfsError('USAGE', 'serve wants at least one SOURCE')
  const log = commandLog(given)
  const settings = engineSettings(given)
  const timeout = readTimeout(given)
  const listening = await gatewaySettings(given, log)
  if (listening === undefined) throw new AnnexfsError('USAGE', 'serve wants --listen')
  boundYoungGeneration()
  const engine = await openEngine(sources, { ...settings, log, forbid: () => false })
  const { volume } = engine
  const { cacheFolder, cacheLimit } = settings
  let serving: Gateway | undefined
  const url = (): string | undefined => serving?.url
  let stop = (): void => undefined
  const asked = new Promise<void>((resolve) => {
    stop = resolve
  })
  for (const signal of SIGNALS) process.once(signal, stop)
  const observed = await observe({ engine, sources, cacheFolder, cacheLimit, timeout, log, gateway: url, stop })
  try {
    // Loading it takes a while.
    const { openGateway } = await import('./gateway.js')
    serving = await openGateway({ volume, station: observed.station, settings: listening, timeout, log })
  } catch (error) {
    await observed.close()
    await volume.close()
    throw error
  }
  log.info(`serving ${sources.join(', ')} at ${serving.url}`)
  ready(serving.url)
  // A fault of ours must not end everybody's downloads; what it concerned has failed, or will at its deadline.
  const onFault = (reason: unknown): void =>
    log.error('an error that nobody handled; please report it', { reason: reasonOf(reason) })
  process.on('unhandledRejection', onFault)
  await tellReady(serving.url)
  const rehearsal = rehearseSoon(engine, log)
  await asked
  rehearsal.cancel()
  await serving.close()
  await observed.close()
  await volume.close()
  process.off('unhandledRejection', onFault)
  for (const signal of SIGNALS) process.off(signal, stop)
  log.info('stopped serving')
  return EXIT.ok
}
