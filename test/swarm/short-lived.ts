/** Starts a swarm, wants a piece that nobody gives, says the process id of the swarm's process, and waits to be killed. */
import { readFileSync } from 'node:fs'
import { silentLog } from '../../lib/log/log.js'
import { startSwarm } from '../../lib/swarm/swarm.js'
import { parseMetainfo } from '../../lib/torrent/metainfo.js'

const [, , file = '', folder = ''] = process.argv
const torrent = parseMetainfo(readFileSync(file))
const swarm = startSwarm(
  {
    cache: { folder, limitBytes: 1024 * 1024, minFreeBytes: 0 },
    peers: [],
    port: 0,
    uploadLimit: undefined,
    downloadLimit: undefined,
    maxConnections: 10,
    dht: false,
    lsd: false,
    pex: false,
    trackers: false,
    webSeeds: false,
    seed: true,
    allowAddress: () => false,
  },
  silentLog,
)
const holding = await swarm.source(torrent).find(torrent.space, AbortSignal.timeout(60_000))
void holding?.piece?.(0, { urgency: 'read', signal: AbortSignal.timeout(60_000) }).catch(() => undefined)
let { port, pid } = await swarm.status()
while (port === undefined) {
  await new Promise((resolve) => setTimeout(resolve, 50))
  ;({ port, pid } = await swarm.status())
}
process.stdout.write(`${pid}\n`)
