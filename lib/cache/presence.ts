import type { Bytes, Milliseconds } from '../space/space.js'
import { RECORD, sizeOf, STATES, type Geometry } from './format.js'
import type { SpaceFiles } from './space-files.js'
import type { CachedSummary } from './store.js'

/** So many records are read at a time. */
const STEP = 65_536
const NONE = Buffer.alloc(0)
/** Where the state byte lies in a record. */
const STATE_AT = 11
/** Reading all records again costs so much that it is done at most once per this many milliseconds per piece. */
const REFRESH_PER_PIECE = 1 / 64

/** Which pieces of a space there are, by its records: a count that others may have made a little old. */
export class Presence {
  #states: Uint8Array | undefined
  #readAt: Milliseconds = -Infinity
  readonly #counts = [0, 0, 0, 0]
  #bytes: Bytes = 0

  constructor(readonly geometry: Geometry) {}

  /** True when it is time to read the records again: others may have written or evicted. */
  get isOld(): boolean {
    return performance.now() - this.#readAt >= this.geometry.pieces * REFRESH_PER_PIECE
  }

  /** Makes the next look read the records again. */
  forget(): void {
    this.#readAt = -Infinity
  }

  /** Takes what is there from the records; nothing when there are no files. */
  read(files: SpaceFiles | undefined): void {
    const { geometry } = this
    const states = new Uint8Array(geometry.pieces)
    for (let from = 0; from < geometry.pieces; from += STEP) {
      const records = files?.recordsSync(from, Math.min(geometry.pieces, from + STEP)) ?? NONE
      for (let at = STATE_AT; at < records.length; at += RECORD)
        states[from + (at - STATE_AT) / RECORD] = records[at] ?? 0
    }
    this.#counts.fill(0)
    this.#bytes = 0
    for (let index = 0; index < states.length; index++) {
      const state = states[index] ?? 0
      if (state === 0) continue
      if (state >= STATES.length) {
        states[index] = 0
        continue
      }
      this.#counts[state] = (this.#counts[state] ?? 0) + 1
      this.#bytes += sizeOf(geometry, index)
    }
    this.#states = states
    this.#readAt = performance.now()
  }

  /** Keeps the count right when we ourselves store or forget a piece. */
  set(index: number, state: number): void {
    const old = this.#states?.[index]
    if (this.#states === undefined || old === undefined || old === state) return
    this.#states[index] = state
    const size = sizeOf(this.geometry, index)
    this.#counts[old] = (this.#counts[old] ?? 0) - 1
    this.#counts[state] = (this.#counts[state] ?? 0) + 1
    if (old === 0) this.#bytes += size
    if (state === 0) this.#bytes -= size
  }

  /** The least sure piece decides how sure we are of all. */
  summary(): CachedSummary {
    const [, pending = 0, piece = 0, whole = 0] = this.#counts
    const complete = pending + piece + whole === this.geometry.pieces
    const assurance = pending > 0 ? 'pending' : piece > 0 ? 'piece' : whole > 0 ? 'whole' : 'none'
    return { cachedBytes: this.#bytes, complete, assurance }
  }

  /** A byte for each of the pieces `[from, to)`: 0 absent, else how sure ({@link STATES}). */
  states(from: number, to: number): Uint8Array {
    return this.#states?.slice(from, to) ?? new Uint8Array(Math.max(0, to - from))
  }

  /** Bytes of `[start, end)` of the space that lie in pieces that are there. */
  bytesIn(start: Bytes, end: Bytes): Bytes {
    const { pieceLength, length, pieces } = this.geometry
    if (this.#states === undefined || this.#bytes === 0) return 0
    const from = Math.max(0, start)
    const to = Math.min(length, end)
    if (from === 0 && to === length) return this.#bytes
    let total = 0
    const last = Math.min(pieces, Math.ceil(to / pieceLength))
    for (let index = Math.floor(from / pieceLength); index < last; index++) {
      if (this.#states[index] === 0) continue
      total += Math.min(to, (index + 1) * pieceLength) - Math.max(from, index * pieceLength)
    }
    return total
  }
}
