/**
 * A webtorrent client for tests that seeds a torrent and is found by its ws trackers alone. Told what to do by one JSON
 * argument; says a line when it has the content; ends when standard input does.
 */
import { readFileSync } from 'node:fs'
import WebTorrent, { type TorrentOptions } from 'webtorrent'

const told = JSON.parse(process.argv[2] ?? '{}') as {
  readonly torrent: string
  readonly folder: string
  readonly host: string
  readonly trackers: readonly string[]
}

const client = new WebTorrent({
  dht: false,
  lsd: false,
  utPex: false,
  utp: false,
  natUpnp: false,
  natPmp: false,
  webSeeds: false,
  // Not webtorrent's own STUN servers, and on this address alone.
  tracker: { rtcConfig: { iceServers: [], bindAddress: told.host } },
})
client.on('error', (error: unknown) => {
  process.stderr.write(`${String(error)}\n`)
  process.exit(1)
})
const options: Record<string, unknown> = { path: told.folder, announce: told.trackers }
const torrent = client.add(readFileSync(told.torrent), options as unknown as TorrentOptions)
torrent.on('warning', (warning: unknown) => process.stderr.write(`${String(warning)}\n`))
// Its first offers take 5 s, and are made before anybody else is there.
torrent.once('done', () => setTimeout(() => process.stdout.write('seeding\n'), 6000))
process.stdin.resume()
process.stdin.once('end', () => process.exit(0))
