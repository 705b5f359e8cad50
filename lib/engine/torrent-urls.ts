import { LRUCache } from 'lru-cache'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Magnet } from '../torrent/magnet.js'
import { parseMagnet } from '../torrent/magnet.js'
import { LARGEST_METAINFO, metainfoFromInfo, parseMetainfo } from '../torrent/metainfo.js'
import type { Metainfo } from '../torrent/torrent.js'
import type { MetainfoFacts } from '../tree/torrent-magnets.js'
import type { Facts } from '../cache/facts.js'
import type { HttpClient } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import type { Deps } from './deps.js'

/** The torrent behind a URL that a key records: of a `.torrent` file, or a magnet link. Kept, and asked for once. */
export async function torrentAt(url: string, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  const kept = await keptAt(url, deps.facts)
  if (kept !== undefined) {
    if (!(await mayKnowTorrents(deps))) await noteKept(deps.facts)
    return kept
  }
  if (isMagnet(url)) return torrentOfMagnet(parseMagnet(url), deps, signal)
  const bytes = await downloadMetainfo(url, deps.client, signal)
  const metainfo = parseMetainfo(bytes)
  await deps.facts.setBlob('torrent-url', url, bytes)
  await noteKept(deps.facts)
  return metainfo
}

/** The same when it is known already; nobody is asked. */
export async function knownTorrentAt(
  url: string,
  { facts, log }: Pick<Deps, 'facts' | 'log'>,
): Promise<Metainfo | undefined> {
  try {
    return await keptAt(url, facts)
  } catch (error) {
    // Whoever reads it is told.
    log.debug('a recorded torrent cannot be used', { url: shownUrl(url), reason: reasonOf(error) })
    return undefined
  }
}

/** Whether any metainfo may be kept. What asks for that of a key need not look at the key's records where there is none. */
export async function mayKnowTorrents({ facts }: Pick<Deps, 'facts'>): Promise<boolean> {
  return (await facts.get('metainfo-kept', '', (value) => (value === true ? true : undefined))) === true
}

/** Written with each one, so that it is not the first to be forgotten. */
async function noteKept(facts: Facts): Promise<void> {
  await facts.set('metainfo-kept', '', true)
}

/** Parsed metainfo of a few torrents: all files of an album are often looked at one after the other. */
const parsed = new WeakMap<Facts, LRUCache<string, Metainfo>>()
const PARSED_KEPT: Bytes = 32 * 1024 * 1024
const BYTES_A_FILE: Bytes = 300

/** @throws AnnexfsError INVALID when it is none. */
async function keptAt(url: string, facts: Facts): Promise<Metainfo | undefined> {
  const memory =
    parsed.get(facts) ??
    new LRUCache<string, Metainfo>({
      maxSize: PARSED_KEPT,
      sizeCalculation: ({ raw, files }) => raw.length + files.length * BYTES_A_FILE,
    })
  parsed.set(facts, memory)
  const known = memory.get(url)
  if (known !== undefined) return known
  const bytes = isMagnet(url)
    ? await metainfoFacts(facts).loadMetainfo(parseMagnet(url).infohash)
    : await facts.getBlob('torrent-url', url)
  if (bytes === undefined) return undefined
  const metainfo = parseMetainfo(Buffer.from(bytes))
  memory.set(url, metainfo)
  return metainfo
}

function isMagnet(url: string): boolean {
  return /^magnet:/i.test(url)
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
      await noteKept(facts)
    },
  }
}

/** The torrent of a magnet link, once peers have given its metadata. */
async function torrentOfMagnet(magnet: Magnet, deps: Deps, signal: AbortSignal): Promise<Metainfo> {
  const metainfo = metainfoFromInfo(await deps.swarm.resolveMagnet(magnet, signal), magnet)
  await metainfoFacts(deps.facts).saveMetainfo(magnet.infohash, metainfo.raw)
  return metainfo
}
