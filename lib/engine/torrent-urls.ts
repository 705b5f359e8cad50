import { AnnexfsError } from '../errors.js'
import type { Magnet } from '../torrent/magnet.js'
import { parseMagnet } from '../torrent/magnet.js'
import { metainfoFromInfo, parseMetainfo } from '../torrent/metainfo.js'
import type { Metainfo } from '../torrent/torrent.js'
import type { Deps } from './deps.js'

const MOST_METAINFO = 32 * 1024 * 1024

/** The torrent behind a URL that a key records: of a `.torrent` file, or a magnet link. Kept, and asked for once. */
export async function torrentAt(url: string, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  if (url.startsWith('magnet:')) return torrentOfMagnet(parseMagnet(url), deps, signal)
  const kept = await deps.facts.getBlob('torrent-url', url)
  if (kept !== undefined) return parseMetainfo(Buffer.from(kept))
  const body = await deps.client.get(url, { signal })
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body.chunks()) {
    length += chunk.byteLength
    if (length > MOST_METAINFO) {
      throw new AnnexfsError('INVALID', `what ${url} gives is too large for a .torrent file (over 32 MiB)`)
    }
    chunks.push(chunk)
  }
  const bytes = Buffer.concat(chunks)
  const metainfo = parseMetainfo(bytes)
  await deps.facts.setBlob('torrent-url', url, bytes)
  return metainfo
}

/** The torrent of a magnet link, once peers have given its metadata; kept on disk by infohash. */
export async function torrentOfMagnet(magnet: Magnet, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  const kept = await deps.facts.getBlob('metainfo', magnet.infohash)
  if (kept !== undefined) return parseMetainfo(Buffer.from(kept))
  const info = await deps.swarm.resolveMagnet(magnet, signal)
  const metainfo = metainfoFromInfo(info, magnet)
  await deps.facts.setBlob('metainfo', magnet.infohash, metainfo.raw)
  return metainfo
}
