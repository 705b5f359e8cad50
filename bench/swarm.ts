import { createInterface } from 'node:readline'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexfs, onlyPeer } from './contestants.js'
import type { Bytes } from '../lib/space/space.js'
import type { ContentSetting } from './content-rows.js'
import { freePort } from './free-port.js'
import { makeFolder, type Lab, type Started } from './lab.js'
import { type Contestant } from './mounts.js'
import { makeServedFile } from './served-file.js'

const MIB = 1024 * 1024
const PIECE: Bytes = MIB
const FILE = 'large.bin'
/** Clients take one address for one peer, so each has its own. */
const SEEDER = '127.0.0.2'
const TRACKER = '127.0.0.1'

// Compiled code runs from an output folder; the script stays beside its source.
const SCRIPT = fileURLToPath(import.meta.url).replace(/dist[^/]*\/bench\/[^/]*$/, 'bench/seeder.py')
const TRACKER_PROGRAM = fileURLToPath(
  new URL('cmd.js', import.meta.resolve('bittorrent-tracker').replace(/index\.js$/, 'bin/')),
)

/**
 * One libtorrent seeder and a tracker on loopback. As root, all that speaks BitTorrent runs in a network namespace of its
 * own, so that no client can look for peers elsewhere. annexfs is given the peer; btfs, which knows no such option,
 * asks the tracker.
 */
export async function swarmSetting(
  lab: Lab,
  length: Bytes,
  installed: (program: string) => boolean,
): Promise<Pick<ContentSetting, 'contestants' | 'source' | 'sent'>> {
  const ownNetwork = process.getuid?.() === 0
  const { file } = await makeServedFile(lab, FILE, length)
  const torrents = await makeFolder(lab.folder, 'torrents')
  const torrent = join(torrents, 'large.torrent')
  const [seederPort, trackerPort] = [await freePort(SEEDER), await freePort(TRACKER)]
  const tracker = `http://${TRACKER}:${trackerPort}/announce`
  const listen = `${SEEDER}:${seederPort}`
  const told = JSON.stringify({ file, torrent, tracker, listen, pieceLength: PIECE, ownNetwork })
  const seeder = lab.start([...(ownNetwork ? ['unshare', '-n'] : []), '/usr/bin/python3', SCRIPT, told], {
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const ask = asker(seeder)
  await ask(undefined)
  const within = ownNetwork ? ['nsenter', '-n', '-t', String(seeder.pid)] : []
  const trackerArguments = ['--http', '--http-hostname', TRACKER, '--port', String(trackerPort), '--silent']
  lab.start([...within, process.execPath, TRACKER_PROGRAM, ...trackerArguments])
  await listening(lab, within, TRACKER, trackerPort)
  const { seeding } = (await ask('seed')) as { seeding: boolean }
  if (!seeding) throw new Error('the seeder could not announce itself to the tracker')

  const mine = annexfs({
    settings: '--peer, --no-dht --no-lsd --no-pex --no-trackers, all else as it comes',
    file: basename(file),
    source: torrent,
    options: onlyPeer(listen),
    within,
  })
  const btfs: Contestant = {
    name: 'btfs',
    settings: 'peers by tracker, all else as it comes',
    file: basename(file),
    command: ({ mountpoint, cache }) => [...within, 'btfs', '-f', `--data-directory=${cache}`, torrent, mountpoint],
  }
  const sent = async (): Promise<Bytes> => ((await ask('sent')) as { sent: Bytes }).sent
  return { contestants: installed('btfs') ? [mine, btfs] : [mine], source: file, sent }
}

/** Sends a line and gives the answer; the first answer comes unasked. */
function asker(program: Started): (line: string | undefined) => Promise<unknown> {
  const { stdin, stdout } = program.process
  if (stdin === null || stdout === null) throw new Error('the seeder has no pipes')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  return async (line) => {
    if (line !== undefined) stdin.write(`${line}\n`)
    const answer = await lines.next()
    if (answer.done === true) throw new Error(`the seeder ended: ${program.said()}`)
    return JSON.parse(answer.value) as unknown
  }
}

/** Waits for a port that may lie in another network namespace, where only a program started there can look. */
async function listening(lab: Lab, within: readonly string[], host: string, port: number): Promise<void> {
  const program = lab.start([...within, process.execPath, '-e', PROBE, host, String(port)])
  while (!program.ended()) await sleep(20)
  if (program.process.exitCode !== 0) throw new Error(`nothing listens at ${host}:${port}: ${program.said()}`)
}

const PROBE = `
const [host, port] = process.argv.slice(1)
const look = () => require('node:net').connect(port, host, () => process.exit(0)).on('error', () => setTimeout(look, 20))
setTimeout(() => process.exit(1), 10_000)
look()`
