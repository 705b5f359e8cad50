import { AnnexfsError } from '../errors.js'

/** Bounds for hostile bencode (BEP 3). Each has a default; none can be turned off. */
export interface BencodeLimits {
  /** How deep lists and dictionaries may nest; 100 by default, as libtorrent has it. */
  readonly depth?: number
  /** How many values (keys not counted) there may be; a million by default. */
  readonly values?: number
  /** Bytes after the value; refused by default. */
  readonly trailing?: 'refuse' | 'allow'
  /**
   * `canonical` (the default) refuses leading zeros and `-0`. `any` takes them, because clients do, and the infohash is
   * over the raw bytes whatever they say.
   */
  readonly integers?: 'canonical' | 'any'
  /**
   * What a dictionary's keys must be: `unique` (the default) takes them in any order, because torrents with unsorted
   * keys are common, and refuses doubles, because clients differ in which one they heed; `sorted` follows BEP 3.
   */
  readonly keys?: 'unique' | 'sorted'
}

export type Token = 'integer' | 'bytes' | 'key' | 'list' | 'dictionary' | 'end'

export const DEFAULT_DEPTH = 100
export const DEFAULT_VALUES = 1_000_000
/** Longer runs of digits than any client writes; leading zeros count. */
const MOST_DIGITS = 32

const IN_LIST = 0
const WANTS_KEY = 1
const WANTS_VALUE = 2

/**
 * Reads bencode token by token: one pass, no recursion, no memory beyond a byte per level. After {@link next} the
 * fields describe the token: bytes and keys have their payload at `[from, to)`, integers their digits.
 */
export class BencodeTokens {
  readonly #bytes: Uint8Array
  readonly #limit: number
  readonly #levels: Uint8Array
  readonly #depth: number
  readonly #values: number
  readonly #canonical: boolean
  #level = 0
  #count = 0
  #done = false
  #integer = 0
  /** Where the next token begins. */
  position: number
  /** Where the token began, with its marker or length. */
  start = 0
  from = 0
  to = 0

  /** Reads the value that begins at `start` and may reach up to `end`. */
  constructor(bytes: Uint8Array, start: number, end: number, limits: BencodeLimits = {}) {
    this.#bytes = bytes
    this.#limit = end
    this.position = start
    this.#depth = limits.depth ?? DEFAULT_DEPTH
    this.#values = limits.values ?? DEFAULT_VALUES
    this.#canonical = limits.integers !== 'any'
    this.#levels = new Uint8Array(this.#depth + 1)
  }

  /** True when the outermost value is complete. */
  get done(): boolean {
    return this.#done
  }

  /** The integer just read. @throws AnnexfsError INVALID beyond 2^53 - 1, where numbers are no longer exact. */
  get integer(): number {
    if (!Number.isSafeInteger(this.#integer)) throw malformed('an integer is beyond 2^53 - 1', this.start)
    return this.#integer
  }

  /** @throws AnnexfsError INVALID when what follows is not bencode or exceeds a limit. */
  next(): Token {
    const at = this.position
    if (this.#done) throw malformed('reading on after the end', at)
    if (at >= this.#limit) throw malformed('it is cut off', at)
    this.start = at
    const mark = this.#bytes[at] ?? 0
    const state = this.#levels[this.#level] ?? IN_LIST

    if (mark === 0x65 && this.#level > 0) {
      if (state === WANTS_VALUE) throw malformed('a key has no value', at)
      this.position = at + 1
      this.#level -= 1
      if (this.#level === 0) this.#done = true
      return 'end'
    }
    if (state === WANTS_KEY) {
      if (mark < 0x30 || mark > 0x39) throw malformed('a key is not a string', at)
      this.#readBytes(at)
      this.#levels[this.#level] = WANTS_VALUE
      return 'key'
    }
    this.#count += 1
    if (this.#count > this.#values) throw malformed(`it has more than ${this.#values} values`, at)
    if (state === WANTS_VALUE) this.#levels[this.#level] = WANTS_KEY
    if (mark === 0x64) return this.#enter(WANTS_KEY, 'dictionary')
    if (mark === 0x6c) return this.#enter(IN_LIST, 'list')
    if (mark === 0x69) this.#readInteger(at)
    else if (mark >= 0x30 && mark <= 0x39) this.#readBytes(at)
    else throw malformed(`byte 0x${mark.toString(16).padStart(2, '0')} begins no value`, at)
    if (this.#level === 0) this.#done = true
    return mark === 0x69 ? 'integer' : 'bytes'
  }

  #enter(state: number, token: Token): Token {
    if (this.#level >= this.#depth) throw malformed(`it nests deeper than ${this.#depth}`, this.start)
    this.#level += 1
    this.#levels[this.#level] = state
    this.position += 1
    return token
  }

  #readBytes(at: number): void {
    let position = at
    let length = 0
    for (; position < this.#limit; position += 1) {
      const digit = (this.#bytes[position] ?? 0) - 0x30
      if (digit < 0 || digit > 9) break
      length = length * 10 + digit
      if (length > this.#limit) throw malformed('a string is longer than the data', at)
    }
    if (this.#bytes[at] === 0x30 && position > at + 1) throw malformed('a length has leading zeros', at)
    if (position >= this.#limit || this.#bytes[position] !== 0x3a) throw malformed('a length lacks its colon', at)
    this.from = position + 1
    this.to = this.from + length
    if (this.to > this.#limit) throw malformed('a string is longer than the data', at)
    this.position = this.to
  }

  #readInteger(at: number): void {
    let position = at + 1
    const negative = this.#bytes[position] === 0x2d
    if (negative) position += 1
    const first = position
    let value = 0
    for (; position < this.#limit; position += 1) {
      const digit = (this.#bytes[position] ?? 0) - 0x30
      if (digit < 0 || digit > 9) break
      value = value * 10 + digit
      if (position - first >= MOST_DIGITS) throw malformed('an integer has too many digits', at)
    }
    if (position === first || position >= this.#limit || this.#bytes[position] !== 0x65) {
      throw malformed('an integer is malformed', at)
    }
    if (this.#canonical && this.#bytes[first] === 0x30 && (negative || position > first + 1)) {
      throw malformed('an integer has leading zeros or is -0', at)
    }
    this.from = at + 1
    this.to = position
    this.position = position + 1
    // -0 is no integer anyone means.
    this.#integer = negative && value !== 0 ? -value : value
  }
}

export function malformed(what: string, at: number): AnnexfsError {
  return new AnnexfsError('INVALID', `this is not valid bencode: ${what}, at byte ${at}`)
}
