import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'
import { plainHeaders } from '../net/http-headers.js'
import type { Bytes, Milliseconds } from '../space/space.js'

/** What names an object of an LFS server. */
export interface LfsObject {
  /** SHA-256 of its bytes, lower-case hexadecimal. */
  readonly oid: string
  readonly size: Bytes
}

/** Where an object can be downloaded now. */
export interface LfsAction {
  readonly href: string
  readonly headers: Readonly<Record<string, string>>
  /** When it must be asked for again (`performance.now()`); undefined: when it is refused. */
  readonly expires: Milliseconds | undefined
}

/** Before it expires, so that a request on its way still arrives. */
const MARGIN: Milliseconds = 10_000
/** What a server says beyond it is no promise. */
const LONGEST: Milliseconds = 24 * 60 * 60 * 1000
const MOST_HEADERS = 32

/** The body of a batch request (Git LFS, "batch API"). */
export function batchRequest(object: LfsObject): string {
  return JSON.stringify({ operation: 'download', transfers: ['basic'], hash_algo: 'sha256', objects: [object] })
}

/**
 * What a batch answer says of `object`; undefined when the server does not have it.
 * @throws AnnexfsError UNAVAILABLE (not an answer of the API, another error of the object), FORBIDDEN.
 */
export function batchAnswer(text: string, object: LfsObject, name: string): LfsAction | undefined {
  const answer = record(parsed(text, name))
  const transfer = answer?.['transfer'] ?? 'basic'
  if (transfer !== 'basic') throw wrong(name, `offers the transfer ${shown(transfer)} only, which is not supported`)
  const objects = answer?.['objects']
  const entry = record(Array.isArray(objects) ? (objects as unknown[])[0] : undefined)
  if (entry === undefined) throw wrong(name, 'answered without the object')
  if (entry['oid'] !== object.oid) throw wrong(name, 'answered with another object than the one that was asked for')
  const failure = record(entry['error'])
  if (failure !== undefined) {
    const code = failure['code']
    if (code === 404 || code === 410) return undefined
    const what = `${name}: the server says of the object: ${shown(failure['message'])} (${shown(code)})`
    throw new AnnexfsError(code === 401 || code === 403 ? 'FORBIDDEN' : 'UNAVAILABLE', what)
  }
  if (entry['size'] !== object.size) throw wrong(name, `has the object with ${shown(entry['size'])} bytes`)
  const download = record(record(entry['actions'])?.['download'] ?? record(entry['_links'])?.['download'])
  // A server that has nothing to offer for it does not have it.
  if (download === undefined) return undefined
  const href = download['href']
  if (typeof href !== 'string' || !URL.canParse(href)) throw wrong(name, 'gave no URL to download the object from')
  return { href, headers: plainHeaderMap(download['header']), expires: expiryOf(download) }
}

/** `header` of an answer: names to values. @throws AnnexfsError INVALID for what cannot be a header. */
export function plainHeaderMap(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(record(value) ?? {})
  if (entries.length > MOST_HEADERS) {
    throw new AnnexfsError('INVALID', `an LFS server wants ${entries.length} headers sent, more than ${MOST_HEADERS}`)
  }
  return plainHeaders(entries.filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
}

/** From `expires_in` (seconds) or `expires_at` (RFC 3339); undefined when neither is of use. */
export function expiryOf(value: object): Milliseconds | undefined {
  const fields = value as Readonly<Record<string, unknown>>
  const seconds = fields['expires_in']
  const at = fields['expires_at']
  let left: Milliseconds | undefined
  if (typeof seconds === 'number' && seconds > 0) left = seconds * 1000
  // A clock that differs makes it look long gone, or far: a refusal will tell, then.
  else if (typeof at === 'string' && Date.parse(at) > Date.now()) left = Date.parse(at) - Date.now()
  if (left === undefined) return undefined
  return performance.now() + Math.min(Math.max(left - MARGIN, left / 2), LONGEST)
}

function parsed(text: string, name: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new AnnexfsError('UNAVAILABLE', `${name}: the answer is not JSON; is it an LFS server?`, { cause: error })
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined
}

function wrong(name: string, what: string): AnnexfsError {
  return new AnnexfsError('UNAVAILABLE', `${name}: the LFS server ${what}`)
}

function shown(value: unknown): string {
  return printable((JSON.stringify(value) ?? 'nothing').slice(0, 200))
}
