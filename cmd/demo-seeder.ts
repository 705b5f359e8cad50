import WebTorrent from 'webtorrent'
import type { EventEmitter } from 'node:events'

/*
 * The demonstration's BitTorrent peer: seeds the folder named on its command line on 127.0.0.1, tells its parent the
 * port and the metainfo, and ends with its parent.
 */

/** What seeding needs of webtorrent beyond what the mount uses. */
interface SeedingClient extends EventEmitter {
  readonly torrentPort: number
  seed(path: string, options: object, onSeed: (torrent: { readonly torrentFile: Uint8Array }) => void): void
}

const folder = process.argv[2]
if (folder === undefined || process.send === undefined) process.exit(2)
process.on('disconnect', () => process.exit(0))

const Client = WebTorrent as unknown as new (options: object) => SeedingClient
const client = new Client({
  dht: false,
  lsd: false,
  utPex: false,
  utp: false,
  natUpnp: false,
  natPmp: false,
  tracker: false,
})
client.on('error', (error: Error) => {
  process.stderr.write(`demo seeder: ${error.message}\n`)
  process.exit(1)
})
client.seed(folder, { announceList: [], private: true }, (torrent) => {
  process.send?.({ port: client.torrentPort, metainfo: Buffer.from(torrent.torrentFile).toString('base64') })
})
