import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openEngine, type Engine } from '../lib/engine/engine.js'
import { sourceKind } from '../lib/engine/source-kind.js'
import { AnnexfsError, throwIfAborted } from '../lib/errors.js'
import { printable, rateLimited } from '../lib/log/log.js'
import type { Milliseconds } from '../lib/space/space.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { commandLog } from './open.js'
import { engineSettings, readTimeout, SOURCE_OPTIONS, type Given } from './options.js'
import { selector } from './torrent-glob.js'
import { planDownload, type Plan } from './torrent-plan.js'
import { openProgress, type Progress } from './torrent-progress.js'
import { saveTorrent } from './torrent-save.js'
import { countOf, parseTime, showSize } from './units.js'

/** Options that say how git-annex repositories are read. */
const UNUSED = new Set([
  'ref',
  'verify',
  'manifest-signatures',
  'manifest-swarm',
  'no-manifests',
  'recursive',
  'learn-sizes',
])
const LOOK_EVERY: Milliseconds = 500
const PEERS_EVERY: Milliseconds = 1_000
const SAY_EVERY: Milliseconds = 30_000
/** Seeds do not get tired; the swarm looks for idle torrents four times in this. */
const SEED_FOR: Milliseconds = 7 * 24 * 3_600_000

/** `annexfs torrent download FILE|MAGNET` */
export const torrentDownloadCommand: Command = {
  name: 'torrent download',
  summary: 'fetch a torrent, or chosen files of it, into a folder',
  usage: ['FILE|URL|MAGNET [--to DIR] [options]'],
  description:
    'Fetches a torrent, every piece checked, into DIR. Files are complete when they are there: until then they lie in ' +
    'DIR/.annexfs-INFOHASH. Start it again to go on: what is there and has the right hash is not fetched again, ' +
    'whoever fetched it. Files that are something else are never written over without --force. Names are made safe ' +
    'as in a mount. What is fetched goes through the cache, and peers get from it what they ask for meanwhile, unless ' +
    '--no-seed is given. Ends when all is there; with --seed it goes on serving what the cache holds. Exit code 4 ' +
    'when no byte came for as long as --patience says.',
  options: [
    { name: 'to', value: 'DIR', help: 'folder to write to; made if it is not there', fallback: '.' },
    {
      name: 'select',
      value: 'GLOB',
      help: 'only files that match: *.mkv, season1/**, a folder; "*" stays within a name, "**" does not',
      several: true,
    },
    { name: 'force', help: 'write over files that are something else' },
    { name: 'patience', value: 'TIME', help: 'give up when no byte came for so long', fallback: '10m' },
    { name: 'seed', help: 'go on serving peers until Ctrl-C' },
    ...SOURCE_OPTIONS.filter((option) => !UNUSED.has(option.name)),
  ],
  async run(given) {
    const [source, ...rest] = given.positional
    if (source === undefined || rest.length > 0) {
      throw new AnnexfsError('USAGE', 'torrent download wants one FILE, URL or MAGNET')
    }
    if (given.has('seed') && given.has('no-seed') && given.origin?.('no-seed') === 'command line') {
      throw new AnnexfsError('USAGE', '--seed and --no-seed say the opposite of each other; give one')
    }
    const { kind } = await sourceKind(source)
    if (!['torrent-file', 'torrent-url', 'magnet'].includes(kind)) {
      throw new AnnexfsError('INVALID', `${source} is no torrent: give a .torrent file, its URL or a magnet link`)
    }
    const selects = selector(given.all('select'))
    const settings = { ...engineSettings(withDefaults(given)), verify: 'normal' as const }
    const patience = parseTime('--patience', given.get('patience') ?? '')
    const timeout = readTimeout(given)
    const log = commandLog(given)
    const controller = new AbortController()
    const stop = (): void => controller.abort(new AnnexfsError('ABORTED', 'stopped; start it again to go on'))
    // Once: a second Ctrl-C ends the program as ever.
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, stop)
    const { signal } = controller
    const swarm = { ...settings.swarm, ...(given.has('seed') && { seed: true, idleTimeout: SEED_FOR }) }
    const engine = await openEngine([source], { ...settings, swarm, log, forbid: () => false })
    const progress = openProgress('fetching', (line) => log.info(line))
    let peers: NodeJS.Timeout | undefined
    try {
      const plan = await planned(engine, selects, patience, signal)
      const to = resolve(given.get('to') ?? '.')
      const total = plan.files.reduce((sum, file) => sum + file.length, 0)
      peers = watchPeers(engine, progress)
      await saveTorrent({
        volume: engine.volume,
        plan,
        to,
        force: given.has('force'),
        readTimeout: timeout,
        patience,
        log: rateLimited(log, SAY_EVERY),
        signal,
        onFound: (found) => {
          if (found > 0) log.info(`${showSize(found)} of ${showSize(total)} are there already`)
          progress.start(total, found)
        },
        onBytes: (bytes) => progress.add(bytes),
      })
      progress.end()
      process.stdout.write(
        `${printable(to)}: ${countOf(plan.files.length, 'file')}, ${showSize(total)} of ${printable(plan.metainfo.name)}\n`,
      )
      if (given.has('seed')) await seed(engine, signal, (line) => log.info(line))
      return EXIT.ok
    } finally {
      clearInterval(peers)
      progress.end()
      await engine.volume.close()
    }
  },
}

/** The options of git-annex repositories, which are not offered here, have their defaults. */
function withDefaults(given: Given): Given {
  return { ...given, get: (name) => given.get(name) ?? DEFAULTS.get(name) }
}

const DEFAULTS = new Map(
  SOURCE_OPTIONS.flatMap((one) => (one.fallback === undefined ? [] : [[one.name, one.fallback]])),
)

async function planned(
  engine: Engine,
  selects: (path: readonly string[]) => boolean,
  patience: Milliseconds,
  signal: AbortSignal,
): Promise<Plan> {
  const until = Date.now() + patience
  for (;;) {
    throwIfAborted(signal)
    const plan = await planDownload(engine.volume, selects)
    if (plan !== undefined) return plan
    if (Date.now() > until) {
      throw new AnnexfsError('UNAVAILABLE', 'no peer has given the metadata of the magnet link; try again later')
    }
    await sleep(LOOK_EVERY, undefined, { signal }).catch(() => throwIfAborted(signal))
  }
}

function watchPeers(engine: Engine, progress: Progress): NodeJS.Timeout {
  const timer = setInterval(() => {
    engine.swarm.status().then(
      ({ torrents }) => {
        const count = torrents.reduce((sum, torrent) => sum + torrent.peers.length, 0)
        progress.note(`${count} peer${count === 1 ? '' : 's'}`)
      },
      // It is being restarted, or has ended with us; the next second tells.
      () => progress.note('no peers'),
    )
  }, PEERS_EVERY)
  timer.unref()
  return timer
}

async function seed(engine: Engine, signal: AbortSignal, say: (line: string) => void): Promise<void> {
  say('serving peers; Ctrl-C ends')
  const before = (await engine.swarm.status()).uploaded
  await new Promise<void>((done) => {
    const alive = setInterval(() => undefined, SAY_EVERY)
    const end = (): void => {
      clearInterval(alive)
      done()
    }
    if (signal.aborted) end()
    else signal.addEventListener('abort', end, { once: true })
  })
  say(`served ${showSize((await engine.swarm.status()).uploaded - before)} to peers after the end`)
}
