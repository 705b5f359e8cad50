import { AnnexfsError } from '../errors.js'
import type { Magnet } from '../torrent/magnet.js'
import { parseMagnet } from '../torrent/magnet.js'
import { LARGEST_METAINFO, metainfoFromInfo, parseMetainfo } from '../torrent/metainfo.js'
import type { Metainfo } from '../torrent/torrent.js'
import type { MetainfoFacts } from '../tree/torrent-magnets.js'
import type { Facts } from '../cache/facts.js'
import type { HttpClient } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import type { Deps } from './deps.js'

/** The torrent behind a URL that a key records: of a `.torrent` file, or a magnet link. Kept, and asked for once. */
export async function torrentAt(url: string, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  if (url.startsWith('magnet:')) return torrentOfMagnet(parseMagnet(url), deps, signal)
  const kept = await deps.facts.getBlob('torrent-url', url)
  if (kept !== undefined) return parseMetainfo(Buffer.from(kept))
  const bytes = await downloadMetainfo(url, deps.client, signal)
  const metainfo = parseMetainfo(bytes)
  await deps.facts.setBlob('torrent-url', url, bytes)
  return metainfo
}

/** The `.torrent` file at a URL. @throws AnnexfsError UNAVAILABLE, INVALID when it is larger than one may be. */
export async function downloadMetainfo(url: string, client: HttpClient, signal: AbortSignal): Promise<Buffer> {
  const body = await client.get(url, { signal })
  if (body.status !== 200) {
    body.cancel()
    throw new AnnexfsError('UNAVAILABLE', `the server of ${shownUrl(new URL(url))} answered ${body.status}`)
  }
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.byteLength
    if (length > LARGEST_METAINFO) {
      throw new AnnexfsError('INVALID', `what ${shownUrl(new URL(url))} gives is too large for a .torrent file`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** Where the metadata of magnets is kept, by infohash, once peers have given it. */
export function metainfoFacts(facts: Facts): MetainfoFacts {
  return {
    loadMetainfo: async (infohash) => {
      const kept = await facts.getBlob('metainfo', infohash)
      return kept === undefined ? undefined : Buffer.from(kept)
    },
    saveMetainfo: async (infohash, bytes) => {
      await facts.setBlob('metainfo', infohash, bytes)
    },
  }
}

/** The torrent of a magnet link, once peers have given its metadata. */
async function torrentOfMagnet(magnet: Magnet, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  const facts = metainfoFacts(deps.facts)
  const kept = await facts.loadMetainfo(magnet.infohash)
  if (kept !== undefined) return parseMetainfo(kept)
  const metainfo = metainfoFromInfo(await deps.swarm.resolveMagnet(magnet, signal), magnet)
  await facts.saveMetainfo(magnet.infohash, metainfo.raw)
  return metainfo
}
