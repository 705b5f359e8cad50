import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'

/**
 * How names that are not fit for a mount are shown. Names in git trees and torrents are byte strings; here each is given
 * as one character per byte (latin1). The rule, in this order:
 *
 * 1. A name that is valid UTF-8, not empty, not `.`, `..` or `.git` in any case, without `/` and NUL, and of at most 255
 *    bytes is shown as it is.
 * 2. Otherwise the empty name becomes `\empty`; of `.`, `..` and `.git` the first dot becomes `\x2e`; `/` becomes `\x2f`,
 *    NUL `\x00`, and each byte that is not part of valid UTF-8 `\xHH` (lower-case hexadecimal).
 * 3. What is then longer than 255 bytes of UTF-8 is cut at a character border to make room for `~` and 8 hexadecimal
 *    digits of the SHA-256 of the raw name.
 * 4. Distinct within a folder (by exact comparison): names that are shown as they are come first, in the order of the
 *    folder; whoever comes to a name that is taken gets `~` and 8 hexadecimal digits at its end (before which it is cut
 *    if need be): those of its disambiguator first (of a git entry: its object id), then of further hashes.
 */
const LONGEST = 255

/** How many names are handled between two turns of the event loop. */
const BATCH = 8192

// oxlint-disable-next-line no-control-regex -- plain ASCII but NUL: such names need no closer look
const PLAIN = /^[\u0001-.0-\u007f]*$/

/** True when the raw name is shown as it is (rule 1). */
function isFit(raw: string): boolean {
  if (raw === '' || raw.length > LONGEST) return false
  if (raw.charCodeAt(0) === 0x2e && isReserved(raw)) return false
  if (PLAIN.test(raw)) return true
  return !raw.includes('/') && !raw.includes('\0') && isUtf8(Buffer.from(raw, 'latin1'))
}

function isReserved(raw: string): boolean {
  return raw === '.' || raw === '..' || (raw.length === 4 && raw.toLowerCase() === '.git')
}

/**
 * One raw name (bytes as latin1) made fit, without regard to its neighbours (rules 1 to 3).
 */
export function safeName(raw: string): string {
  if (isFit(raw)) return textOf(raw)
  if (raw === '') return '\\empty'
  const bytes = Buffer.from(isReserved(raw) ? raw.slice(1) : raw, 'latin1')
  const escaped = (isReserved(raw) ? '\\x2e' : '') + escapeInvalid(bytes)
  return Buffer.byteLength(escaped) <= LONGEST ? escaped : withSuffix(escaped, digest(raw))
}

/**
 * The names to show for the raw names of one folder (bytes as latin1); all distinct. `disambiguators[i]` is what tells
 * entry i from another of the same name, in hexadecimal where possible (an object id).
 */
export function displayNames(rawLatin1Names: readonly string[], disambiguators: readonly string[]): string[] {
  const steps = assignNames(rawLatin1Names, (index) => disambiguators[index] ?? '')
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** As {@link displayNames}, giving way to the event loop in huge folders. */
export async function displayNamesGently(
  raw: readonly string[],
  disambiguator: (index: number) => string,
): Promise<string[]> {
  const steps = assignNames(raw, disambiguator)
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
    await new Promise((resolve) => setImmediate(resolve))
  }
}

function* assignNames(
  raw: readonly string[],
  disambiguator: (index: number) => string,
): Generator<undefined, string[], undefined> {
  const shown: string[] = []
  const taken = new Set<string>()
  const waiting: number[] = []
  for (const [index, name] of raw.entries()) {
    if (index % BATCH === BATCH - 1) yield undefined
    const text = isFit(name) ? textOf(name) : undefined
    if (text === undefined || taken.has(text)) {
      waiting.push(index)
      shown.push('')
    } else {
      taken.add(text)
      shown.push(text)
    }
  }
  for (const [turn, index] of waiting.entries()) {
    if (turn % 1024 === 1023) yield undefined
    const wanted = safeName(raw[index] ?? '')
    let name = wanted
    for (let attempt = 0; taken.has(name); attempt++) {
      const own = disambiguator(index)
      // After the first attempt the position too goes in, so that even equal entries end up distinct.
      const suffix =
        attempt === 0 && /^[0-9a-f]{8}/.test(own) ? own.slice(0, 8) : digest(`${own}\n${index}\n${attempt}`)
      name = withSuffix(wanted, suffix)
    }
    taken.add(name)
    shown[index] = name
  }
  return shown
}

/** `~` and `suffix` at the end of `name`, which is cut at a character border to fit. */
function withSuffix(name: string, suffix: string): string {
  const room = LONGEST - 1 - suffix.length
  const bytes = Buffer.from(name)
  if (bytes.length <= room) return `${name}~${suffix}`
  let end = room
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return `${bytes.toString('utf8', 0, end)}~${suffix}`
}

function digest(latin1: string): string {
  return createHash('sha256').update(latin1, 'latin1').digest('hex').slice(0, 8)
}

/** Valid UTF-8 kept, `/`, NUL and every byte that is not part of valid UTF-8 as `\xHH`. */
function escapeInvalid(bytes: Buffer): string {
  let text = ''
  let at = 0
  while (at < bytes.length) {
    const lead = bytes[at] ?? 0
    const length = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 0
    const character = bytes.subarray(at, at + length)
    if (length > 0 && character.length === length && isUtf8(character) && lead !== 0x2f && lead !== 0) {
      text += character.toString('utf8')
      at += length
    } else {
      text += `\\x${lead.toString(16).padStart(2, '0')}`
      at += 1
    }
  }
  return text
}

/** Bytes that are known to be UTF-8 as text. */
function textOf(latin1: string): string {
  return PLAIN.test(latin1) ? latin1 : Buffer.from(latin1, 'latin1').toString('utf8')
}

/**
 * The target of a symbolic link as text: components that are not UTF-8 as their names are shown (rule 2), so that a link
 * to such a name still meets it.
 */
export function displayTarget(latin1: string): string {
  if (isUtf8(Buffer.from(latin1, 'latin1'))) return Buffer.from(latin1, 'latin1').toString('utf8')
  const parts = latin1.split('/').map((part) => (part === '' || part === '.' || part === '..' ? part : safeName(part)))
  return parts.join('/')
}
