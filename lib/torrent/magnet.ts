import { AnnexfsError } from '../errors.js'
import { LONGEST_URL, MOST_TRACKERS, MOST_WEB_SEEDS, trackerUrl, webSeedUrl } from './metainfo-sources.js'

/** What a magnet link says (BEP 9). All of it is a stranger's word; addresses are not yet checked against any policy. */
export interface Magnet {
  /** 40 lower-case hexadecimal digits. */
  readonly infohash: string
  readonly displayName: string | undefined
  /** `tr`: announce URLs. */
  readonly trackers: readonly string[]
  /** `ws`: web seeds (BEP 19). */
  readonly webSeeds: readonly string[]
  /** `x.pe`: peers, as `host:port`. */
  readonly peers: readonly string[]
  /** `xs` and `as`: where the metainfo itself may be had (http, https). */
  readonly exactSources: readonly string[]
}

/** Longer than any that people write: a thousand trackers do not fit. */
export const LONGEST_MAGNET = 65_536
const MOST_PEERS = 256
const MOST_EXACT_SOURCES = 16
const LONGEST_NAME = 1024
const PEER = /^(?:\[[\da-f:.]{2,45}\]|\w[\w.-]{0,252}):(\d{1,5})$/i

/**
 * Reads a magnet link. Parameters may be numbered (`tr.1`), of unknown ones and malformed ones nothing is kept.
 * @throws AnnexfsError INVALID; UNSUPPORTED when it names a v2 torrent alone (`urn:btmh:`).
 */
export function parseMagnet(text: string): Magnet {
  const trimmed = text.trim()
  if (trimmed.length > LONGEST_MAGNET) throw invalid(`it is longer than ${LONGEST_MAGNET} characters`)
  if (!/^magnet:\/?\?/i.test(trimmed)) throw invalid('it does not begin with magnet:?')
  const values = parameters(trimmed.slice(trimmed.indexOf('?') + 1))
  const all = (name: string): readonly string[] => values.get(name) ?? []
  return {
    infohash: infohashOf(all('xt')),
    displayName: all('dn')[0]?.slice(0, LONGEST_NAME),
    trackers: distinct(all('tr').map(trackerUrl), MOST_TRACKERS),
    webSeeds: distinct(all('ws').map(webSeedUrl), MOST_WEB_SEEDS),
    peers: distinct(all('x.pe').map(peerAddress), MOST_PEERS),
    exactSources: distinct([...all('xs'), ...all('as')].map(webSeedUrl), MOST_EXACT_SOURCES),
  }
}

function parameters(query: string): Map<string, string[]> {
  const values = new Map<string, string[]>()
  for (const part of query.split('&')) {
    const equals = part.indexOf('=')
    if (equals <= 0) continue
    const name = part
      .slice(0, equals)
      .toLowerCase()
      .replace(/\.\d+$/, '')
    const value = decode(part.slice(equals + 1))
    if (value === undefined) continue
    const list = values.get(name)
    if (list === undefined) values.set(name, [value])
    else list.push(value)
  }
  return values
}

function decode(value: string): string | undefined {
  try {
    return decodeURIComponent(value.replaceAll('+', ' '))
  } catch {
    // A stray percent sign: that parameter means nothing, the others still do.
    return undefined
  }
}

function infohashOf(topics: readonly string[]): string {
  const found = new Set<string>()
  for (const topic of topics) {
    const named = /^urn:btih:(.*)$/i.exec(topic)?.[1]
    if (named === undefined) continue
    const infohash = /^[\da-f]{40}$/i.test(named) ? named.toLowerCase() : fromBase32(named)
    if (infohash === undefined) throw invalid('its infohash is neither 40 hexadecimal nor 32 base32 digits')
    found.add(infohash)
  }
  if (found.size > 1) throw invalid('it names more than one torrent')
  const [infohash] = found
  if (infohash !== undefined) return infohash
  if (topics.some((topic) => /^urn:btmh:/i.test(topic))) {
    throw new AnnexfsError(
      'UNSUPPORTED',
      'this magnet link names a BitTorrent v2 torrent alone (urn:btmh), which annexfs cannot read yet: use one with urn:btih',
    )
  }
  throw invalid('it has no xt=urn:btih:… that names a torrent')
}

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** RFC 4648 base32 of 20 bytes, as hexadecimal. */
function fromBase32(text: string): string | undefined {
  if (!/^[a-z2-7]{32}$/i.test(text)) return undefined
  let bits = 0n
  for (const digit of text.toUpperCase()) bits = (bits << 5n) | BigInt(BASE32.indexOf(digit))
  return bits.toString(16).padStart(40, '0')
}

function peerAddress(text: string): string | undefined {
  const port = Number(PEER.exec(text)?.[1] ?? 0)
  return port >= 1 && port <= 65_535 && text.length <= LONGEST_URL ? text : undefined
}

function distinct(values: readonly (string | undefined)[], most: number): readonly string[] {
  const found = new Set<string>()
  for (const value of values) if (value !== undefined && found.size < most) found.add(value)
  return [...found]
}

function invalid(why: string): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not a usable magnet link: ${why}`)
}
