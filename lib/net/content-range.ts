import type { Bytes, ByteRange, Milliseconds } from '../space/space.js'
import type { HttpBody } from './http-body.js'

export interface ContentRange {
  /** Undefined in the answer 416. */
  readonly range: ByteRange | undefined
  /** Of the whole content; undefined when the server says `*`. */
  readonly total: Bytes | undefined
}

/** `Content-Range` (RFC 9110, 14.4), or undefined when it is missing or malformed. */
export function contentRange(answer: HttpBody): ContentRange | undefined {
  const match = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/.exec(
    answer.header('content-range')?.trim() ?? '',
  )
  if (match === null) return undefined
  const [, first, last, whole] = match
  const total = whole === undefined ? undefined : Number(whole)
  if (first === undefined || last === undefined) return { range: undefined, total }
  const range = { start: Number(first), end: Number(last) + 1 }
  return range.end <= range.start || (total !== undefined && range.end > total) ? undefined : { range, total }
}

/** `Content-Length`, or undefined when it is missing or malformed. */
export function contentLength(answer: HttpBody): Bytes | undefined {
  const text = answer.header('content-length') ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** The content came as it is, not compressed. */
export function isIdentity(answer: HttpBody): boolean {
  const encoding = answer.header('content-encoding')?.trim().toLowerCase() ?? ''
  return encoding === '' || encoding === 'identity'
}

/**
 * What tells this content from a later one (RFC 9110, 8.8): its strong entity tag, else its date, else empty. A weak
 * tag does not promise equal bytes.
 */
export function validatorOf(answer: HttpBody): string {
  const tag = strongTag(answer)
  if (tag !== undefined) return `etag:${tag}`
  const modified = answer.header('last-modified')
  return modified === undefined ? '' : `mtime:${modified.slice(0, 100)}`
}

/** The strong entity tag, or undefined. */
export function strongTag(answer: HttpBody): string | undefined {
  const tag = answer.header('etag')?.trim() ?? ''
  return /^"[\x21\x23-\x7e\x80-\xff]{0,500}"$/.test(tag) ? tag : undefined
}

/** How long the server asks to wait (RFC 9110, 10.2.3: seconds or a date), or undefined. */
export function retryAfter(answer: HttpBody): Milliseconds | undefined {
  const text = answer.header('retry-after')?.trim() ?? ''
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000
  const until = Date.parse(text)
  // By the server's own clock when it tells: ours may be years off.
  const now = Date.parse(answer.header('date') ?? '')
  return Number.isNaN(until) ? undefined : Math.max(0, until - (Number.isNaN(now) ? Date.now() : now))
}
