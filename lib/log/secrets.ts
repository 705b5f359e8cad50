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
/** In what external programs and servers say. Digest and Amazon's scheme go on to the end of the line. */
const HEADER =
  /((?:proxy-)?authorization["']?\s{0,4}[:=]\s{0,4}["']?(?:(?:digest|aws4-[\w-]{1,32})[^\n]*|(?:(?:basic|bearer|negotiate)\s{1,4})?([^\s"',;]+)))|(\b(?:set-)?cookie\s{0,4}:[^\n]*)/gi

/** What programs call secrets; `pass` alone is a word like others. */
const NAME =
  '(?:pass(?:word|phrase|wd|key)|(?<![a-z])pass|(?:auth|access|api|session|refresh|security)[-_ ]?(?:token|key)|' +
  '(?:private|secret)[-_ ]?(?:access[-_ ]?)?key|secret|token)'
/** In quotes all of it; else up to what ends a value in an address, a list or a sentence. */
const VALUE = String.raw`(?:"[^"\n]{0,512}"|'[^'\n]{0,512}'|(?:(?:bearer|basic)\s{1,4})?[^\s&"',;)]+)`
/** `password=…`, `AWS_SECRET_ACCESS_KEY='…'`. */
const ASSIGNED = new RegExp(String.raw`(${NAME}["']?\s{0,4}=\s{0,4})(${VALUE})`, 'gi')
/** `password: …`, `"token": "…"`; also `secret: …` in a sentence. */
const TOLD = new RegExp(String.raw`(?<![a-z])(${NAME}["']?\s{0,4}:\s{0,4})(?!//)(${VALUE})`, 'gi')

/** How sentences go on after a colon. A secret that is just one of these words is none. */
const ORDINARY = new Set(
  (
    'a an and are as at be but by can cannot could did do does for from give got had has have http https if in is it its ' +
    'may must never no none not nothing of on or please see set should so that the there this to too try use wants was ' +
    'were what where which who will with you your access authentication authorization bad command could denied does ' +
    'empty error exit expired failed failure file forbidden found gone illegal incorrect invalid key malformed missing ' +
    'permission refused rejected required revoked server timeout unauthorized unexpected unknown unset unsupported wrong'
  ).split(' '),
)
/** Names that titles and sentences have as well: what follows must look like a secret, unless they stand like a key. */
const COMMON = /^(?:pass|secret|token)\b/i
/** What a key of a list or an object follows. */
const BEFORE_KEY = /(?:^|[\n{[(,;:"'])\s{0,4}$/

/** `text` with URLs without user, password and query, magnet links by their infohash alone, and what is named a secret left out. */
export function withoutSecrets(text: string): string {
  if (!/:\/\/|magnet:|authorization|cookie|pass|secret|token|key/i.test(text)) return text
  return text
    .replace(MAGNET, (magnet) => `magnet:?xt=${INFOHASH.exec(magnet)?.[0] ?? ''}…`)
    .replace(URL_IN_TEXT, plainUrl)
    .replace(HEADER, (header: string, _authorization: string | undefined, value: string | undefined) =>
      value !== undefined && isOrdinary(value) ? header : `${header.slice(0, header.search(/[:=]/) + 1)} …`,
    )
    .replace(ASSIGNED, '$1…')
    .replace(TOLD, (told: string, name: string, value: string, at: number, all: string) => {
      const prose = COMMON.test(name) && !BEFORE_KEY.test(all.slice(Math.max(0, at - 5), at))
      return isOrdinary(value) || (prose && !looksSecret(value)) ? told : `${name}…`
    })
}

function isOrdinary(value: string): boolean {
  const word = value.replace(/[.:!?…]+$/, '').toLowerCase()
  return !/[\p{L}\p{N}]/u.test(word) || ORDINARY.has(word)
}

/** It is not written as the words of a sentence are. */
function looksSecret(value: string): boolean {
  return !/^\p{Lu}?\p{Ll}{1,19}[.:!?…]*$/u.test(value)
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
