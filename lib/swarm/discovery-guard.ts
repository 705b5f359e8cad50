import type { SwarmTorrent } from 'webtorrent'
import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import { guardPackets } from './packet-guard.js'

/**
 * Local discovery (BEP 14) as it should be: bittorrent-lsd throws at a malformed packet of anybody on the network, ends
 * the torrent when there is no route for multicast, and names peers of any torrent that it hears of.
 */
export function guardLocalDiscovery(torrent: SwarmTorrent, log: Log): void {
  const { discovery } = torrent
  const lsd = discovery?.lsd
  if (discovery === null || lsd === null || lsd === undefined) return
  const failed = (error: unknown): void => log.debug('local discovery', { reason: reasonOf(error) })
  guardPackets(lsd.server, failed)
  lsd.removeAllListeners('error')
  lsd.on('error', failed)
  lsd.removeAllListeners('peer')
  lsd.on('peer', (peer: string, infohash: string) => {
    if (infohash.toLowerCase() === torrent.infoHash) discovery.emit('peer', peer, 'lsd')
  })
}
