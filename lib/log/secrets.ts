/*
 * The last guard against secrets in logs and messages: whoever logs leaves them out already (lib/net/url.ts), but a SOURCE
 * on the command line, a URL in an error of a library or of git, or a tracker's announce URL with a passkey reach us whole.
 */

/** A URL in running text; quotes and brackets end it. */
const URL_IN_TEXT = /\b[a-z][a-z0-9+.-]{0,31}:\/\/[^\s"'`<>|\\^{}]+/gi
const MAGNET = /\bmagnet:\/?\?[^\s"'`<>|\\^{}]+/gi
const INFOHASH = /\burn:bt(?:ih|mh):[a-z0-9]{1,128}/i
/** Trackers put a user's key as a path component before `announce` or `scrape`. */
const PASSKEY = /\/(?=[\w-]*\d)[\w-]{16,}(?=\/(?:announce|scrape)\b)/gi
/** `Authorization: Bearer …`, `password=…`: in what external programs and servers say. */
const HEADER = /\b((?:proxy-)?authorization\s*[:=]\s*(?:basic|bearer|digest|aws4-\S+)?)\s*\S+/gi
const ASSIGNED =
  /\b((?:pass(?:word|phrase|wd|key)?|secret(?:[-_]?(?:access[-_]?)?key)?|(?:auth|access|api)[-_]?(?:token|key)|token)\s*[=:]\s*)(?!\/\/)[^\s&"',;)]+/gi

/** `text` with URLs without user, password and query, magnet links by their infohash alone, and what is named a secret left out. */
export function withoutSecrets(text: string): string {
  if (!/:\/\/|magnet:|authorization|pass|secret|token|key/i.test(text)) return text
  return text
    .replace(MAGNET, (magnet) => `magnet:?xt=${INFOHASH.exec(magnet)?.[0] ?? ''}…`)
    .replace(URL_IN_TEXT, plainUrl)
    .replace(HEADER, '$1 …')
    .replace(ASSIGNED, '$1…')
}

function plainUrl(url: string): string {
  const scheme = url.indexOf('://') + 3
  const rest = url.slice(scheme)
  const end = rest.search(/[/?#]/)
  const authority = end < 0 ? rest : rest.slice(0, end)
  // What is before the last @ is user and password, whatever it contains.
  const host = authority.slice(authority.lastIndexOf('@') + 1)
  const after = (end < 0 ? '' : rest.slice(end)).replace(PASSKEY, '/…')
  const query = after.search(/[?#]/)
  return `${url.slice(0, scheme)}${host}${query < 0 ? after : `${after.slice(0, query)}?…`}`
}
