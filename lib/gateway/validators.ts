import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import fresh from 'fresh'
import { isStable } from '../annex/key.js'
import type { Content } from '../engine/content.js'
import type { Milliseconds } from '../space/space.js'

/** What tells one content from another at the same path (RFC 9110, section 8.8). */
export interface Validators {
  readonly etag: string
  readonly lastModified: string
}

/** 9999-12-31: what an HTTP date can say. */
const LAST_TIME: Milliseconds = 253_402_300_799_000

/** A time as HTTP writes it; times that it cannot write are moved to the next that it can. */
export function httpDate(time: Milliseconds): string {
  return new Date(Math.min(Math.max(0, Number.isFinite(time) ? time : 0), LAST_TIME)).toUTCString()
}

/**
 * The entity tag of content that was opened as `contentId`. Made of what names the content: a key, the infohash of a
 * torrent and the number of the file, a git blob. Strong when that fixes every byte: for keys without a hash only if
 * the server that has it gave its version a strong tag of its own.
 */
export function etagOf(content: Content, contentId: string): string {
  const tag = `"${createHash('sha256').update(contentId).digest('base64url').slice(0, 32)}"`
  const fixed = content.kind !== 'key' || isStable(content.key) || contentId.startsWith(`${content.id} etag:"`)
  return fixed ? tag : `W/${tag}`
}

/** The tag that a file will have when it is opened, if that is sure without opening it. */
export function expectedEtag(content: Content): string | undefined {
  return content.kind !== 'key' || isStable(content.key) ? etagOf(content, content.id) : undefined
}

export type Outcome = 'proceed' | 'not-modified' | 'failed'

/** What the conditions of a GET or HEAD come to, in the order of RFC 9110, section 13.2.2 (but If-Range). */
export function evaluate(headers: IncomingHttpHeaders, { etag, lastModified }: Validators): Outcome {
  const match = headers['if-match']
  if (match !== undefined) {
    if (match.trim() !== '*' && !listed(match, etag)) return 'failed'
  } else {
    const since = Date.parse(headers['if-unmodified-since'] ?? '')
    if (Date.parse(lastModified) > since) return 'failed'
  }
  // Tags say more than times: where both are given, times do not count.
  const conditions = headers['if-none-match'] === undefined ? headers : { 'if-none-match': headers['if-none-match'] }
  return fresh(conditions, { etag, 'last-modified': lastModified }) ? 'not-modified' : 'proceed'
}

/**
 * Whether a Range counts. A date in If-Range never matches: it is that of a commit, and two contents may have the same.
 */
export function rangeCounts(headers: IncomingHttpHeaders, { etag }: Validators): boolean {
  const condition = headers['if-range']
  return condition === undefined || listed(String(condition), etag)
}

/** Strong comparison. */
function listed(list: string, etag: string): boolean {
  return (
    !etag.startsWith('W/') &&
    list
      .split(',')
      .map((one) => one.trim())
      .includes(etag)
  )
}
