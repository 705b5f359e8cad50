import { BencodeTokens, malformed, type BencodeLimits } from './bencode-tokens.js'

export type { BencodeLimits } from './bencode-tokens.js'

/** A decoded value and where it stood: `[start, end)` in the bytes that were decoded, marker and length included. */
export type BencodeValue = BencodeInteger | BencodeBytes | BencodeList | BencodeDictionary

export interface BencodeInteger {
  readonly kind: 'integer'
  readonly value: number
  readonly start: number
  readonly end: number
}

export interface BencodeBytes {
  readonly kind: 'bytes'
  /** A view of the decoded bytes, not a copy. */
  readonly value: Buffer
  readonly start: number
  readonly end: number
}

export interface BencodeList {
  readonly kind: 'list'
  readonly items: readonly BencodeValue[]
  readonly start: number
  readonly end: number
}

export interface BencodeDictionary {
  readonly kind: 'dictionary'
  /** By key; keys are bytes, held as latin1 so that each byte is one character. */
  readonly entries: ReadonlyMap<string, BencodeValue>
  readonly start: number
  readonly end: number
}

type Open =
  | { kind: 'list'; items: BencodeValue[]; start: number; end: number }
  | { kind: 'dictionary'; entries: Map<string, BencodeValue>; start: number; end: number; key: string }

/**
 * Decodes one bencoded value (BEP 3) in one pass, without recursion, within `limits`.
 * @throws AnnexfsError INVALID, saying what is wrong and at which byte.
 */
export function decodeBencode(bytes: Buffer, limits: BencodeLimits = {}): BencodeValue {
  const tokens = new BencodeTokens(bytes, 0, bytes.length, limits)
  const stack: Open[] = []
  let outermost: BencodeValue | undefined
  const place = (value: BencodeValue): void => {
    const parent = stack.at(-1)
    if (parent === undefined) outermost = value
    else if (parent.kind === 'list') parent.items.push(value)
    else parent.entries.set(parent.key, value)
  }
  while (!tokens.done) {
    const token = tokens.next()
    const { start, position } = tokens
    if (token === 'integer') place({ kind: 'integer', value: tokens.integer, start, end: position })
    else if (token === 'bytes') {
      place({ kind: 'bytes', value: bytes.subarray(tokens.from, tokens.to), start, end: position })
    } else if (token === 'key') takeKey(stack.at(-1), bytes.toString('latin1', tokens.from, tokens.to), limits, start)
    else if (token === 'end') {
      const closed = stack.pop()
      if (closed !== undefined) closed.end = position
    } else {
      const opened: Open =
        token === 'list'
          ? { kind: 'list', items: [], start, end: start }
          : { kind: 'dictionary', entries: new Map(), start, end: start, key: '' }
      place(opened)
      stack.push(opened)
    }
  }
  if (limits.trailing !== 'allow' && tokens.position < bytes.length) {
    throw malformed('something follows the value', tokens.position)
  }
  if (outermost === undefined) throw malformed('it is empty', 0)
  return outermost
}

function takeKey(parent: Open | undefined, key: string, limits: BencodeLimits, at: number): void {
  if (parent?.kind !== 'dictionary') throw malformed('a key outside a dictionary', at)
  if (parent.entries.has(key)) throw malformed('a key is there twice', at)
  if (limits.keys === 'sorted' && parent.entries.size > 0 && key < parent.key) {
    throw malformed('keys are not sorted', at)
  }
  parent.key = key
}

/** What {@link encodeBencode} takes. Strings are written as UTF-8; keys of a Map are latin1, those of an object UTF-8. */
export type Encodable =
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Encodable[]
  | ReadonlyMap<string, Encodable>
  | { readonly [key: string]: Encodable | undefined }

/** Encodes a value canonically (BEP 3): keys sorted as raw bytes. @throws TypeError for a number that is no safe integer. */
export function encodeBencode(value: Encodable): Buffer {
  const parts: Uint8Array[] = []
  write(value, parts)
  return Buffer.concat(parts)
}

function write(value: Encodable, parts: Uint8Array[]): void {
  if (typeof value === 'number' || typeof value === 'bigint') {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) throw new TypeError(`${value} is no safe integer`)
    parts.push(Buffer.from(`i${value}e`))
  } else if (typeof value === 'string') writeBytes(Buffer.from(value), parts)
  else if (value instanceof Uint8Array) writeBytes(value, parts)
  else if (isList(value)) {
    parts.push(Buffer.from('l'))
    for (const item of value) write(item, parts)
    parts.push(Buffer.from('e'))
  } else {
    const entries: [Buffer, Encodable][] = []
    if (value instanceof Map) {
      for (const [key, item] of value as ReadonlyMap<string, Encodable>)
        entries.push([Buffer.from(key, 'latin1'), item])
    } else {
      for (const [key, item] of Object.entries(value)) if (item !== undefined) entries.push([Buffer.from(key), item])
    }
    entries.sort(([a], [b]) => Buffer.compare(a, b))
    parts.push(Buffer.from('d'))
    for (const [key, item] of entries) {
      writeBytes(key, parts)
      write(item, parts)
    }
    parts.push(Buffer.from('e'))
  }
}

function writeBytes(bytes: Uint8Array, parts: Uint8Array[]): void {
  parts.push(Buffer.from(`${bytes.length}:`), bytes)
}

function isList(value: Encodable): value is readonly Encodable[] {
  return Array.isArray(value)
}
