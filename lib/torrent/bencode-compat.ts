import { BencodeTokens, malformed } from './bencode-tokens.js'

/**
 * A replacement for the decoder of npm `bencode`, which loops for ever on `l-3:e`. It has that one's calling convention
 * and results, so that packages which use it need not know; it is strict, takes one pass and refuses what would make
 * them throw where they do not expect it.
 */
export interface CompatibleDecode {
  (data: unknown, start?: number | string, end?: number | string, encoding?: string): unknown
  /** Length in bytes of what was last decoded. */
  bytes: number
  /** Where the last decoded value ended. */
  position: number
}

/** `copies`: byte strings are `Uint8Array` copies, keys that are not UTF-8 are hexadecimal (4.x). `views`: `Buffer` views (2.x). */
export type CompatibleStyle = 'copies' | 'views'

/** A peer, tracker or DHT node never needs more; a metainfo file of a webtorrent program may. */
const MOST_VALUES = 1_000_000

/**
 * As a key these would stand in for what the packages call on any value (`message.y.toString()`), or for its prototype.
 * No protocol message has them.
 */
const REFUSED_KEYS = new Set(['__proto__', 'toString', 'toLocaleString', 'valueOf', 'hasOwnProperty'])

type Open =
  { readonly list: unknown[]; key: string } | { readonly list: undefined; dict: Record<string, unknown>; key: string }

/** The decoder in the style of one of the two generations of `bencode`. */
export function compatibleDecode(style: CompatibleStyle): CompatibleDecode {
  const decode: CompatibleDecode = Object.assign(
    (data: unknown, start?: number | string, end?: number | string, encoding?: string): unknown => {
      if (data === null || data === undefined) return null
      let [first, last, text] = [start, end, encoding]
      if (typeof first !== 'number' && text === undefined) [text, first] = [first, undefined]
      if (typeof last !== 'number' && text === undefined) [text, last] = [last, undefined]
      const bytes = bytesOf(
        data,
        typeof first === 'number' ? first : undefined,
        typeof last === 'number' ? last : undefined,
      )
      if (bytes.length === 0) return null
      decode.bytes = bytes.length
      const tokens = new BencodeTokens(bytes, 0, bytes.length, { values: MOST_VALUES })
      const value = decodeValue(bytes, tokens, style, text)
      decode.position = tokens.position
      return value
    },
    { bytes: 0, position: 0 },
  )
  return decode
}

/** In the style of `bencode` 4.x. */
export const decode: CompatibleDecode = compatibleDecode('copies')

function bytesOf(data: unknown, start: number | undefined, end: number | undefined): Buffer {
  // Both generations ignore `start` and `end` for a string.
  if (typeof data === 'string') return Buffer.from(data)
  if (ArrayBuffer.isView(data)) {
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength).subarray(start, end)
  }
  if (data instanceof ArrayBuffer) return Buffer.from(data)
  throw new TypeError('only bytes and strings can be decoded')
}

function decodeValue(
  bytes: Buffer,
  tokens: BencodeTokens,
  style: CompatibleStyle,
  encoding: string | undefined,
): unknown {
  const stack: Open[] = []
  let outermost: unknown
  const place = (value: unknown): void => {
    const parent = stack.at(-1)
    if (parent === undefined) outermost = value
    else if (parent.list === undefined) parent.dict[parent.key] = value
    else parent.list.push(value)
  }
  while (!tokens.done) {
    const token = tokens.next()
    if (token === 'integer') place(tokens.integer)
    else if (token === 'bytes') place(bytesFrom(bytes.subarray(tokens.from, tokens.to), style, encoding))
    else if (token === 'key') {
      const key = keyFrom(bytes.subarray(tokens.from, tokens.to), style)
      if (REFUSED_KEYS.has(key)) throw malformed(`the key “${key}” is refused`, tokens.start)
      const parent = stack.at(-1)
      if (parent !== undefined) parent.key = key
    } else if (token === 'end') stack.pop()
    else {
      const opened: Open = token === 'list' ? { list: [], key: '' } : { list: undefined, dict: {}, key: '' }
      place(opened.list ?? ('dict' in opened ? opened.dict : undefined))
      stack.push(opened)
    }
  }
  return outermost
}

function bytesFrom(view: Buffer, style: CompatibleStyle, encoding: string | undefined): Uint8Array | string {
  if (encoding !== undefined) {
    return view.toString(style === 'views' && Buffer.isEncoding(encoding) ? encoding : 'utf8')
  }
  return style === 'views' ? view : new Uint8Array(view)
}

function keyFrom(view: Buffer, style: CompatibleStyle): string {
  const text = view.toString('utf8')
  return style === 'copies' && text.includes('\uFFFD') ? view.toString('hex') : text
}
