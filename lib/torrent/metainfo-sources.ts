import { isUtf8 } from 'node:buffer'
import { encodeBencode } from './bencode.js'
import { integerAt, isList, isString, items, stringAt, type Span } from './bencode-spans.js'
import type { TorrentNode } from './torrent.js'

/** Torrents that list every public tracker have some hundreds. */
export const MOST_TRACKERS = 512
export const MOST_WEB_SEEDS = 256
const MOST_NODES = 256
export const LONGEST_URL = 2048

const TRACKER = /^(?:https?|udp|wss?):\/\//i
const WEB_SEED = /^https?:\/\//i
// oxlint-disable-next-line no-control-regex -- control characters and spaces are just what a URL must not have
const UNSAFE = /[\u0000-\u0020\u007f]/

/** The announce URL of a tracker as it may be used, or undefined. */
export function trackerUrl(text: string): string | undefined {
  return cleanUrl(text, TRACKER)
}

/** The URL of a web seed as it may be used, or undefined. */
export function webSeedUrl(text: string): string | undefined {
  return cleanUrl(text, WEB_SEED)
}

/**
 * Tiers of announce URLs (BEP 12; `announce` counts where there is no list). What is no URL of a known scheme is left
 * out, and so are doubles.
 */
export function parseTrackers(bytes: Buffer, announce: Span | undefined, list: Span | undefined): string[][] {
  const tiers: string[][] = []
  const seen = new Set<string>()
  const add = (tier: string[], value: Span): void => {
    const url = urlAt(bytes, value, trackerUrl)
    if (url === undefined || seen.has(url) || seen.size >= MOST_TRACKERS) return
    seen.add(url)
    tier.push(url)
  }
  if (list !== undefined && isList(bytes, list)) {
    for (const item of items(bytes, list.start)) {
      const tier: string[] = []
      if (isList(bytes, item)) for (const url of items(bytes, item.start)) add(tier, url)
      // Some programs write a plain list of URLs.
      else add(tier, item)
      if (tier.length > 0) tiers.push(tier)
      if (seen.size >= MOST_TRACKERS) break
    }
  }
  if (tiers.length === 0 && announce !== undefined) {
    const tier: string[] = []
    add(tier, announce)
    if (tier.length > 0) tiers.push(tier)
  }
  return tiers
}

/** BEP 19: `url-list`, a string or a list of them. */
export function parseWebSeeds(bytes: Buffer, value: Span | undefined): string[] {
  if (value === undefined) return []
  const seeds = new Set<string>()
  const spans = isList(bytes, value) ? items(bytes, value.start) : [value]
  for (const span of spans) {
    const url = urlAt(bytes, span, webSeedUrl)
    if (url !== undefined) seeds.add(url)
    if (seeds.size >= MOST_WEB_SEEDS) break
  }
  return [...seeds]
}

/** BEP 5: `nodes`, a list of `[host, port]`. */
export function parseNodes(bytes: Buffer, value: Span | undefined): TorrentNode[] {
  if (value === undefined || !isList(bytes, value)) return []
  const nodes: TorrentNode[] = []
  for (const item of items(bytes, value.start)) {
    if (nodes.length >= MOST_NODES) break
    if (!isList(bytes, item)) continue
    const [first, second] = firstTwo(bytes, item)
    const host = stringAt(bytes, first)?.toString('latin1') ?? ''
    const port = integerAt(bytes, second) ?? 0
    if (!/^[\w:][\w.:-]{0,254}$/.test(host) || port < 1 || port > 65_535) continue
    nodes.push({ host, port })
  }
  return nodes
}

/** A metainfo around the raw info dictionary of a magnet, with where to look for peers. */
export function wrapInfo(
  infoBytes: Buffer,
  sources: { trackers: readonly (readonly string[])[]; webSeeds: readonly string[] },
): Buffer {
  const parts: Buffer[] = [Buffer.from('d')]
  const add = (key: string, value: Buffer): void => void parts.push(encodeBencode(key), value)
  if (sources.trackers.length > 0) add('announce-list', encodeBencode(sources.trackers))
  add('info', infoBytes)
  if (sources.webSeeds.length > 0) add('url-list', encodeBencode(sources.webSeeds))
  return Buffer.concat([...parts, Buffer.from('e')])
}

function firstTwo(bytes: Buffer, list: Span): Span[] {
  const found: Span[] = []
  for (const item of items(bytes, list.start)) if (found.push(item) === 2) break
  return found
}

function urlAt(bytes: Buffer, value: Span, clean: (text: string) => string | undefined): string | undefined {
  if (!isString(bytes, value)) return undefined
  const raw = stringAt(bytes, value)
  if (raw === undefined || raw.length > LONGEST_URL || !isUtf8(raw)) return undefined
  return clean(raw.toString('utf8'))
}

function cleanUrl(text: string, scheme: RegExp): string | undefined {
  const trimmed = text.trim()
  if (trimmed.length > LONGEST_URL || !scheme.test(trimmed) || UNSAFE.test(trimmed)) return undefined
  return URL.canParse(trimmed) ? trimmed : undefined
}
