import { isIP } from 'node:net'
import { AnnexfsError } from '../errors.js'
import { printable, silentLog } from '../log/log.js'
import { shownUrl, webUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import { decodeBencode, type BencodeDictionary, type BencodeValue } from '../torrent/bencode.js'
import {
  compactPeers,
  MOST_PEERS_AN_ANSWER,
  type AllowedAddresses,
  type AnnounceAnswer,
  type Announcement,
} from './announce.js'

/** 200 peers with names and ids of their own fit many times. */
const LONGEST_ANSWER: Bytes = 512 * 1024
const USUAL_INTERVAL = 30 * 60
const MOST_VALUES = 10_000

/**
 * Announces to an HTTP tracker (BEP 3, 7, 23). Every host on the way is checked against the policy, also after redirects.
 * @throws AnnexfsError as the HTTP client's, or UNAVAILABLE with what the tracker said, INVALID for a malformed answer.
 */
export async function announceHttp(
  tracker: string,
  announcement: Announcement,
  allowed: AllowedAddresses,
  signal: AbortSignal,
): Promise<AnnounceAnswer> {
  // Loaded when the first tracker needs it: most starts of the process wait for a peer, not for a tracker.
  const { HttpClient } = await import('../net/http-client.js')
  const approved = new Set<string>()
  const resolve = async (host: string): Promise<readonly string[]> => {
    const addresses = await allowed(host)
    for (const address of addresses) approved.add(address)
    return addresses
  }
  const url = webUrl(tracker)
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (isIP(host) !== 0) await resolve(host)
  url.search += (url.search === '' ? '?' : '&') + query(announcement)
  const client = new HttpClient({ policy: { allows: (address) => approved.has(address) }, resolve, log: silentLog })
  try {
    const answer = await client.get(url, { signal })
    const body = await readAll(answer, url)
    if (answer.status !== 200) {
      throw new AnnexfsError('UNAVAILABLE', `the tracker ${shownUrl(url)} answered with status ${answer.status}`)
    }
    return parseAnswer(body, shownUrl(url))
  } finally {
    await client.close()
  }
}

function query(announcement: Announcement): string {
  const fields = [
    `info_hash=${percent(announcement.infohash)}`,
    `peer_id=${percent(announcement.peerId)}`,
    `port=${announcement.port}`,
    `uploaded=${announcement.uploaded}`,
    `downloaded=${announcement.downloaded}`,
    `left=${announcement.left}`,
    'compact=1',
    'numwant=50',
  ]
  if (announcement.event !== undefined) fields.push(`event=${announcement.event}`)
  return fields.join('&')
}

/** Bytes as BEP 3 wants them in the query: each of them escaped. */
function percent(hex: string): string {
  return hex.replace(/../g, '%$&')
}

async function readAll(body: AsyncIterable<Uint8Array>, url: URL): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.byteLength
    if (length > LONGEST_ANSWER) {
      throw new AnnexfsError('INVALID', `the tracker ${shownUrl(url)} answered with more than ${LONGEST_ANSWER} bytes`)
    }
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseAnswer(body: Buffer, shown: string): AnnounceAnswer {
  const answer = decodeBencode(body, { values: MOST_VALUES })
  if (answer.kind !== 'dictionary')
    throw new AnnexfsError('INVALID', `the tracker ${shown} answered with no dictionary`)
  const failure = answer.entries.get('failure reason')
  if (failure?.kind === 'bytes') {
    const said = printable(failure.value.toString('utf8').slice(0, 200))
    throw new AnnexfsError('UNAVAILABLE', `the tracker ${shown} refused: ${said}`)
  }
  const peers6 = answer.entries.get('peers6')
  const peers = [
    ...peersOf(answer.entries.get('peers')),
    ...(peers6?.kind === 'bytes' ? compactPeers(peers6.value, 18) : []),
  ]
  return { interval: seconds(answer) * 1000, peers: peers.slice(0, MOST_PEERS_AN_ANSWER) }
}

function seconds(answer: BencodeDictionary): number {
  const interval = answer.entries.get('interval')
  return interval?.kind === 'integer' ? interval.value : USUAL_INTERVAL
}

function peersOf(value: BencodeValue | undefined): string[] {
  if (value?.kind === 'bytes') return compactPeers(value.value, 6)
  if (value?.kind !== 'list') return []
  const peers: string[] = []
  for (const item of value.items.slice(0, MOST_PEERS_AN_ANSWER)) {
    if (item.kind !== 'dictionary') continue
    const ip = item.entries.get('ip')
    const port = item.entries.get('port')
    if (ip?.kind !== 'bytes' || port?.kind !== 'integer') continue
    const host = ip.value.toString('latin1')
    const family = isIP(host)
    if (family !== 0) peers.push(family === 6 ? `[${host}]:${port.value}` : `${host}:${port.value}`)
  }
  return peers
}
