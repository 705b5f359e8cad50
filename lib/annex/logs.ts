import { isUtf8 } from 'node:buffer'

/**
 * The merge rules of the logs on the git-annex branch (https://git-annex.branchable.com/internals/), as pure functions
 * over text with one character per byte. All take the concatenation of every source of a log (branches, journals); all
 * are linear in its length; lines that do not parse are skipped.
 */

/** A time stamp as an exact decimal: doubles cannot tell 10⁻¹² s apart at today's seconds. */
export interface Stamp {
  /** Whole seconds since the epoch, rounded towards zero. */
  readonly seconds: number
  /** The fraction in units of 10⁻¹² s, with the sign of the stamp. */
  readonly fraction: number
}

/** Older than every stamp: lines of the uuid family may lack one. */
const UNKNOWN: Stamp = { seconds: -Infinity, fraction: 0 }

/** Digits after the point that git-annex keeps. */
const FRACTION_DIGITS = 12

/** Most that one value of a log may be to be taken, in characters. */
const LONGEST_VALUE = 1024 * 1024

/** Distinct fields of one log that are taken; only a hostile one has more. */
const MOST_FIELDS = 100_000

/** Longest time stamp that is looked at, in characters. */
const LONGEST_STAMP = 64

/** `1795205656.861886945s`: whole seconds, an optional fraction, an optional `s`. Read up to `to`, from the start. */
export function parseStamp(text: string, to = text.length): Stamp | undefined {
  let end = to
  if (end > 0 && text.charCodeAt(end - 1) === 0x73) end--
  const negative = text.charCodeAt(0) === 0x2d
  const from = negative ? 1 : 0
  if (end > LONGEST_STAMP || !isDigit(text.charCodeAt(from)) || !isDigit(text.charCodeAt(end - 1))) return undefined
  let seconds = 0
  let at = from
  for (; at < end && isDigit(text.charCodeAt(at)); at++) seconds = seconds * 10 + text.charCodeAt(at) - 0x30
  let fraction = 0
  if (at < end) {
    if (text.charCodeAt(at++) !== 0x2e) return undefined
    let digits = 0
    for (; at < end && isDigit(text.charCodeAt(at)); at++) {
      if (digits++ < FRACTION_DIGITS) fraction = fraction * 10 + text.charCodeAt(at) - 0x30
    }
    if (at < end) return undefined
    if (digits < FRACTION_DIGITS) fraction *= 10 ** (FRACTION_DIGITS - digits)
  }
  const sign = negative ? -1 : 1
  return { seconds: sign * Math.min(seconds, Number.MAX_SAFE_INTEGER), fraction: sign * fraction }
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. */
export function compareStamps(a: Stamp, b: Stamp): number {
  if (a.seconds !== b.seconds) return a.seconds < b.seconds ? -1 : 1
  return a.fraction - b.fraction
}

/** The non-empty lines of a log; CR ends a line too (logs of old Windows versions). */
export function* logLines(text: string): Generator<string, void, undefined> {
  const endOf = text.includes('\r') ? endOfOldLine : endOfLine
  for (let from = 0; from < text.length;) {
    const at = endOf(text, from)
    if (at > from && at - from <= LONGEST_VALUE) yield text.slice(from, at)
    from = at + 1
  }
}

function endOfLine(text: string, from: number): number {
  const at = text.indexOf('\n', from)
  return at < 0 ? text.length : at
}

function endOfOldLine(text: string, from: number): number {
  let at = from
  while (at < text.length && text.charCodeAt(at) !== 0x0a && text.charCodeAt(at) !== 0x0d) at++
  return at
}

/** A line cut at its first space: the stamp and the rest. */
function stamped(line: string): { stamp: Stamp; rest: string } | undefined {
  const space = line.indexOf(' ')
  if (space < 0) return undefined
  const stamp = parseStamp(line, space)
  return stamp === undefined ? undefined : { stamp, rest: line.slice(space + 1) }
}

/**
 * Family P (`.log`, `.log.web`, `.log.ek`): lines `TS STATE INFO`. Per INFO the newest line wins, of equal ones the
 * first.
 * @returns the INFOs whose state is 1, in the order in which they were first met.
 */
export function presentInfos(text: string): string[] {
  const newest = new Map<string, { stamp: Stamp; present: boolean }>()
  for (const line of logLines(text)) {
    // Nobody's places or URLs: what comes after is not looked at.
    if (newest.size >= MOST_FIELDS) break
    const space = line.indexOf(' ')
    if (space < 0 || line.charCodeAt(space + 2) !== 0x20 || !'10X'.includes(line.charAt(space + 1))) continue
    const info = line.slice(space + 3)
    const known = newest.get(info)
    const stamp = parseStamp(line, space)
    if (stamp === undefined || (known !== undefined && compareStamps(stamp, known.stamp) <= 0)) continue
    newest.set(info, { stamp, present: line.charAt(space + 1) === '1' })
  }
  return [...newest].filter(([, { present }]) => present).map(([info]) => info)
}

/**
 * Family O (uuid.log, remote.log, trust.log…): lines `UUID VALUE timestamp=TS`, the last word optional. Per UUID the
 * newest line wins, of equal ones the last.
 */
export function valuesByUuid(text: string): Map<string, string> {
  return newestOf(text, (line) => {
    const space = line.indexOf(' ')
    if (space <= 0) return undefined
    const at = line.lastIndexOf(' timestamp=')
    const stamp = at < space ? undefined : parseStamp(line.slice(at + 11))
    return {
      field: line.slice(0, space),
      value: stamp === undefined ? line.slice(space + 1) : line.slice(space + 1, Math.max(space + 1, at)),
      stamp: stamp ?? UNKNOWN,
    }
  })
}

/**
 * Family N (config.log, export.log, `.log.cnk`, `.log.rmt`, `.log.cid`): lines `TS FIELD VALUE`. Per FIELD the newest
 * line wins, of equal ones the last.
 */
export function valuesByField(text: string): Map<string, string> {
  return newestOf(text, (line) => {
    const parts = stamped(line)
    if (parts === undefined) return undefined
    const space = parts.rest.indexOf(' ')
    const field = space < 0 ? parts.rest : parts.rest.slice(0, space)
    return { field, value: space < 0 ? '' : parts.rest.slice(space + 1), stamp: parts.stamp }
  })
}

function newestOf(
  text: string,
  parse: (line: string) => { field: string; value: string; stamp: Stamp } | undefined,
): Map<string, string> {
  const newest = new Map<string, { stamp: Stamp; value: string }>()
  for (const line of logLines(text)) {
    const parsed = parse(line)
    if (parsed === undefined || parsed.field === '') continue
    const known = newest.get(parsed.field)
    if (known === undefined ? newest.size >= MOST_FIELDS : compareStamps(parsed.stamp, known.stamp) < 0) continue
    newest.set(parsed.field, parsed)
  }
  return new Map([...newest].map(([field, { value }]) => [field, value]))
}

/**
 * Family S (numcopies.log): lines `TS VALUE`. The newest wins, of equal ones the greatest value.
 */
export function newestValue(text: string): string | undefined {
  let best: { stamp: Stamp; rest: string } | undefined
  for (const line of logLines(text)) {
    const parts = stamped(line)
    if (parts === undefined) continue
    const order = best === undefined ? 1 : compareStamps(parts.stamp, best.stamp)
    if (best === undefined || order > 0 || (order === 0 && parts.rest > best.rest)) best = parts
  }
  return best?.rest
}

/**
 * Family M (`.log.met`, `.log.rmet`): lines `TS field +val -val … field …`, folded in the order of their stamps: `+`
 * sets a value, `-` unsets it. Field names are case-insensitive (given in lower case here, but a leading uuid as is);
 * values starting with `!` are base64.
 */
export function metadata(text: string): Map<string, string[]> {
  const lines: { stamp: Stamp; words: string[] }[] = []
  for (const line of logLines(text)) {
    const parts = stamped(line)
    if (parts !== undefined) lines.push({ stamp: parts.stamp, words: parts.rest.split(' ') })
  }
  lines.sort((a, b) => compareStamps(a.stamp, b.stamp))
  const fields = new Map<string, Set<string>>()
  for (const { words } of lines) {
    let values: Set<string> | undefined
    for (const word of words) {
      const sign = word.charAt(0)
      if (sign !== '+' && sign !== '-') {
        if (word === '') continue
        const field = word.replace(/[^:]*$/, (name) => name.toLowerCase())
        values = fields.get(field) ?? new Set()
        fields.set(field, values)
      } else if (sign === '+') values?.add(metadataValue(word.slice(1)))
      else values?.delete(metadataValue(word.slice(1)))
    }
  }
  return new Map([...fields].filter(([, values]) => values.size > 0).map(([field, values]) => [field, [...values]]))
}

function metadataValue(word: string): string {
  return word.startsWith('!') ? Buffer.from(word.slice(1), 'base64').toString('latin1') : word
}

/** The `k=v` words of a remote.log value, with `&NN;` decoded. */
export function remoteSettings(value: string): Map<string, string> {
  const settings = new Map<string, string>()
  for (const word of value.split(' ')) {
    const equals = word.indexOf('=')
    if (equals > 0) settings.set(word.slice(0, equals), textOf(unescapeSetting(word.slice(equals + 1))))
  }
  return settings
}

function unescapeSetting(value: string): string {
  return value.replace(/&(\d{1,7});/g, (escaped, digits: string) => {
    const code = Number(digits)
    // The decimal code of a character, given here as the bytes of its UTF-8.
    return code > 0x10ffff ? escaped : Buffer.from(String.fromCodePoint(code), 'utf8').toString('latin1')
  })
}

/** Bytes as text: UTF-8 where they are that, otherwise one character per byte. */
export function textOf(latin1: string): string {
  const bytes = Buffer.from(latin1, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : latin1
}

/** Bytes of a URL as text: UTF-8 where they are that, otherwise every byte beyond ASCII percent-encoded. */
export function urlText(latin1: string): string {
  const bytes = Buffer.from(latin1, 'latin1')
  if (isUtf8(bytes)) return bytes.toString('utf8')
  return latin1.replace(/[\u0080-\u00ff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`)
}
