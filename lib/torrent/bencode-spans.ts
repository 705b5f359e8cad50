import { BencodeTokens, malformed, type BencodeLimits } from './bencode-tokens.js'

/**
 * Reading parts of bencode where they stand, for metainfo: a file list may have hundreds of thousands of entries, and a
 * tree of objects for it would cost many times the bytes. {@link checkBencode} walks all of it once; after that the
 * functions here step over values without checking them again.
 */
export interface Span {
  /** Where the value begins, with its marker or length. */
  readonly start: number
  readonly end: number
}

/**
 * Checks the value that begins at `start` and says where it ends. Keeps nothing in memory. Doubles among keys are not
 * looked for here: {@link pick} does, for the keys that matter.
 * @throws AnnexfsError INVALID
 */
export function checkBencode(bytes: Buffer, start: number, end: number, limits: BencodeLimits): number {
  const tokens = new BencodeTokens(bytes, start, end, limits)
  while (!tokens.done) tokens.next()
  return tokens.position
}

/** Where the checked value at `position` ends. */
export function skip(bytes: Buffer, position: number): number {
  let at = position
  let depth = 0
  do {
    const mark = bytes[at]
    if (mark === 0x64 || mark === 0x6c) {
      depth += 1
      at += 1
    } else if (mark === 0x65) {
      depth -= 1
      at += 1
    } else if (mark === 0x69) {
      at = bytes.indexOf(0x65, at) + 1
      if (at === 0) throw malformed('an integer has no end', position)
    } else at = payload(bytes, at).end
  } while (depth > 0)
  return at
}

/** The payload of the checked string at `position`. */
export function payload(bytes: Buffer, position: number): Span {
  let at = position
  let length = 0
  for (;;) {
    const digit = (bytes[at] ?? 0) - 0x30
    if (digit < 0 || digit > 9) break
    length = length * 10 + digit
    at += 1
  }
  return { start: at + 1, end: at + 1 + length }
}

/**
 * The values of the keys `wanted` in the checked dictionary at `position`; of others nothing is kept.
 * @throws AnnexfsError INVALID when one of them is there twice: clients differ in which they heed.
 */
export function pick(bytes: Buffer, position: number, wanted: ReadonlySet<string>): Map<string, Span> {
  const found = new Map<string, Span>()
  for (const [key, value] of entries(bytes, position)) {
    if (!wanted.has(key)) continue
    if (found.has(key)) throw malformed(`the key “${key}” is there twice`, value.start)
    found.set(key, value)
  }
  return found
}

/** The keys (latin1) and values of the checked dictionary at `position`. */
export function* entries(bytes: Buffer, position: number): Generator<readonly [string, Span]> {
  let at = position + 1
  while (bytes[at] !== 0x65) {
    const key = payload(bytes, at)
    const end = skip(bytes, key.end)
    yield [bytes.toString('latin1', key.start, key.end), { start: key.end, end }]
    at = end
  }
}

/** The values of the checked list at `position`. */
export function* items(bytes: Buffer, position: number): Generator<Span> {
  let at = position + 1
  while (bytes[at] !== 0x65) {
    const end = skip(bytes, at)
    yield { start: at, end }
    at = end
  }
}

export function isString(bytes: Buffer, value: Span): boolean {
  const mark = bytes[value.start] ?? 0
  return mark >= 0x30 && mark <= 0x39
}

export function isList(bytes: Buffer, value: Span): boolean {
  return bytes[value.start] === 0x6c
}

export function isDictionary(bytes: Buffer, value: Span): boolean {
  return bytes[value.start] === 0x64
}

/** The checked string `value` as a view, or undefined when it is something else. */
export function stringAt(bytes: Buffer, value: Span | undefined): Buffer | undefined {
  if (value === undefined || !isString(bytes, value)) return undefined
  const { start, end } = payload(bytes, value.start)
  return bytes.subarray(start, end)
}

/** The checked integer `value`, or undefined when it is something else or beyond 2^53 - 1. */
export function integerAt(bytes: Buffer, value: Span | undefined): number | undefined {
  if (value === undefined || bytes[value.start] !== 0x69) return undefined
  const integer = Number(bytes.toString('latin1', value.start + 1, value.end - 1))
  return Number.isSafeInteger(integer) ? integer + 0 : undefined
}
