import { AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'

const LONGEST_URL = 8192
const LONGEST_SHOWN = 300

/**
 * Parses a URL that will be fetched. Host forms such as `0x7f.1` or `017700000001` come out as plain addresses.
 * @throws AnnexfsError FORBIDDEN for another scheme than http and https, INVALID for what is no URL.
 */
export function webUrl(text: string, base?: URL): URL {
  if (text.length > LONGEST_URL) {
    throw new AnnexfsError('INVALID', `the URL ${shownUrl(text)} is longer than ${LONGEST_URL} characters`)
  }
  // The URL parser drops tabs and newlines silently; a URL that has them was not meant to be one.
  // oxlint-disable-next-line no-control-regex -- just these are refused
  if (/[\u0000-\u001f\u007f]/.test(text)) {
    throw new AnnexfsError('INVALID', `the URL ${shownUrl(text)} has control characters in it`)
  }
  const url = parse(text, base)
  if (url === undefined) throw new AnnexfsError('INVALID', `${JSON.stringify(shownUrl(text))} is not a URL`)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new AnnexfsError('FORBIDDEN', `${shownUrl(text)}: only http and https URLs are fetched`)
  }
  return url
}

/** `url` as it may be shown in a log or a message: without user, password, fragment and the query's text. */
export function shownUrl(url: string | URL): string {
  const parsed = typeof url === 'string' ? parse(url) : url
  const shown =
    parsed === undefined || !/^https?:$/.test(parsed.protocol)
      ? // Not a web URL (magnet:, a path, nonsense): its start is enough to find it.
        String(url)
          .replace(/[?#].*$/s, '?…')
          .replace(/\/\/[^/]*@/, '//')
      : `${parsed.protocol}//${parsed.host}${parsed.pathname}${parsed.search === '' ? '' : '?…'}`
  const short = shown.length > LONGEST_SHOWN ? `${shown.slice(0, LONGEST_SHOWN)}…` : shown
  return printable(short)
}

/**
 * One name of a URL's path (RFC 3986), from bytes that need not be UTF-8. Nothing can encode `.` and `..`: URLs walk
 * `%2E%2E` too.
 */
export function percentEncoded(name: Buffer): string {
  return Array.from(name, (byte) => {
    const character = String.fromCharCode(byte)
    return /[A-Za-z0-9._~-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }).join('')
}

function parse(text: string, base?: URL): URL | undefined {
  return URL.canParse(text, base?.href) ? new URL(text, base?.href) : undefined
}
