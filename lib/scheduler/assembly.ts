import type { ByteRange, Bytes } from '../space/space.js'
import type { Supplier } from './candidates.js'

/** The parts of a piece, and who brought each. */
export interface Suspects {
  readonly bytes: Uint8Array
  readonly parts: readonly { readonly range: ByteRange; readonly supplier: Supplier }[]
}

/** A piece that several sources bring together, in parts. */
export class Assembly implements Suspects {
  readonly bytes: Uint8Array
  readonly parts: { readonly range: ByteRange; readonly supplier: Supplier }[] = []
  readonly #start: Bytes
  #left: Bytes

  /** @param range of the piece in its space. */
  constructor(range: ByteRange) {
    this.#start = range.start
    this.#left = range.end - range.start
    this.bytes = Buffer.allocUnsafeSlow(this.#left)
  }

  /** Takes a whole part; true when it was the last one. */
  fill(range: ByteRange, bytes: Uint8Array, supplier: Supplier): boolean {
    this.bytes.set(bytes, range.start - this.#start)
    this.parts.push({ range: { start: range.start - this.#start, end: range.end - this.#start }, supplier })
    this.#left -= range.end - range.start
    return this.#left === 0
  }
}

/** Those whose parts differ from `right`, the piece as it should be. */
export function liarsAmong({ bytes, parts }: Suspects, right: Uint8Array): Supplier[] {
  const given = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return parts
    .filter(({ range: { start, end } }) => given.compare(right, start, end, start, end) !== 0)
    .map(({ supplier }) => supplier)
}
