import { AnnexfsError } from '../errors.js'

/** Those that say how the connection is used: the client's own business. */
const RESERVED: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-length',
  'expect',
  'host',
  'if-range',
  'keep-alive',
  'proxy-authorization',
  'range',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/**
 * Headers by name in lower case, without those that the client sets itself; values are trimmed, of the same name the
 * last counts.
 * @throws AnnexfsError INVALID for a name or value that RFC 9110 (5.1, 5.5) does not allow; values are not shown.
 */
export function plainHeaders(headers: Iterable<readonly [string, string]>): Record<string, string> {
  const plain: Record<string, string> = {}
  for (const [name, value] of headers) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$/.test(name)) {
      throw new AnnexfsError('INVALID', `${JSON.stringify(name.slice(0, 100))} is not the name of an HTTP header`)
    }
    if (value.length > 16_384 || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      throw new AnnexfsError('INVALID', `the value of the HTTP header ${name} has characters that cannot be sent`)
    }
    const lower = name.toLowerCase()
    if (!RESERVED.has(lower)) plain[lower] = value.trim()
  }
  return plain
}
