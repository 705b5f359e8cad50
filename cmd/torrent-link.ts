import type { Bytes } from '../lib/space/space.js'
import type { TorrentFacts } from './torrent-facts.js'

/** What a magnet link says of a torrent. */
export type Linked = Pick<TorrentFacts, 'infohash' | 'infohashV2' | 'name' | 'trackers' | 'webSeeds'> & {
  readonly length: Bytes
}

/** The magnet link of a torrent (BEP 9; `urn:btmh` as BEP 52 has it): `xt`, `dn`, `xl`, `tr`, `ws`. */
export function magnetLink(torrent: Linked, options: { trackers: boolean; webSeeds: boolean }): string {
  const parts = [
    ...(torrent.infohash === undefined ? [] : [`xt=urn:btih:${torrent.infohash}`]),
    // 0x12 0x20: a multihash of SHA-256, 32 bytes.
    ...(torrent.infohashV2 === undefined ? [] : [`xt=urn:btmh:1220${torrent.infohashV2}`]),
    `dn=${encodeURIComponent(torrent.name)}`,
    `xl=${torrent.length}`,
    ...(options.trackers ? torrent.trackers.flat().map((url) => `tr=${encodeURIComponent(url)}`) : []),
    ...(options.webSeeds ? torrent.webSeeds.map((url) => `ws=${encodeURIComponent(url)}`) : []),
  ]
  return `magnet:?${parts.join('&')}`
}
