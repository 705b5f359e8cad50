import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Bytes } from '../lib/space/space.js'
import { freePort } from './free-port.js'
import type { Lab } from './lab.js'

const SEEDER = '127.0.0.2'
// Compiled code runs from an output folder; the script stays beside its source.
const SCRIPT = fileURLToPath(import.meta.url).replace(/dist[^/]*\/bench\/[^/]*$/, 'bench/seeder.py')

export interface Seeder {
  readonly torrent: string
  readonly host: string
  readonly port: number
  /** `host:port`. */
  readonly address: string
  /** Bytes of content that it has sent. */
  sent(): Promise<Bytes>
}

/** A libtorrent seeder of one file on loopback that asks nobody (its tracker does not exist). */
export async function startSeeder(
  lab: Lab,
  { file, torrent, pieceLength }: { file: string; torrent: string; pieceLength: Bytes },
): Promise<Seeder> {
  const port = await freePort(SEEDER)
  const tracker = `http://${SEEDER}:${await freePort(SEEDER)}/announce`
  const told = { file, torrent, tracker, listen: `${SEEDER}:${port}`, pieceLength, ownNetwork: false }
  const seeder = lab.start(['/usr/bin/python3', SCRIPT, JSON.stringify(told)], { stdio: ['pipe', 'pipe', 'pipe'] })
  const { stdin, stdout } = seeder.process
  if (stdin === null || stdout === null) throw new Error('the seeder has no pipes')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  const answer = async (): Promise<unknown> => {
    const line = await lines.next()
    if (line.done === true) throw new Error(`the seeder ended: ${seeder.said()}`)
    return JSON.parse(line.value) as unknown
  }
  await answer()
  stdin.write('seed\n')
  await answer()
  return {
    torrent,
    host: SEEDER,
    port,
    address: `${SEEDER}:${port}`,
    sent: async () => {
      stdin.write('sent\n')
      return ((await answer()) as { sent: Bytes }).sent
    },
  }
}
