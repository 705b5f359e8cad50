import type { Bytes } from './space.js'

/** Of buffers that nobody uses; the memory tier of the cache gives one back for each that it takes. */
const MOST_SPARE: Bytes = 8 * 1_048_576

/**
 * Memory of pieces that are on their way through this process, used again: fresh buffers cost page faults, and collections
 * of all garbage, for V8 reckons them to its heap.
 *
 * Who owns what: a buffer has users, and is given to somebody else when the last one has let go of it. A source fills it, its
 * transfer holds it until the cache has stored it, the memory tier while it lies there. Who waits for a piece uses
 * its bytes before the next turn of the event loop, or copies them. One that is never let go of (a transfer that ended
 * half-way) is the garbage collector's.
 */
export class PieceBuffers {
  readonly #mostSpare: Bytes
  readonly #users = new WeakMap<Uint8Array, number>()
  readonly #spare: Uint8Array[] = []
  #spareBytes: Bytes = 0

  constructor(mostSpare: Bytes = MOST_SPARE) {
    this.#mostSpare = mostSpare
  }

  /** A buffer of just that size with undefined content, and one user. */
  take(size: Bytes): Uint8Array {
    const at = this.#spare.findLastIndex((bytes) => bytes.byteLength === size)
    const [spare] = at < 0 ? [] : this.#spare.splice(at, 1)
    if (spare !== undefined) this.#spareBytes -= size
    const bytes = spare ?? Buffer.allocUnsafeSlow(size)
    this.#users.set(bytes, 1)
    return bytes
  }

  /** One more user of `bytes`; false when they are not of here, or nobody's any more. */
  keep(bytes: Uint8Array): boolean {
    const users = this.#users.get(bytes)
    if (users === undefined) return false
    this.#users.set(bytes, users + 1)
    return true
  }

  /** One user less; bytes that are not of here are left alone. */
  release(bytes: Uint8Array): void {
    const users = this.#users.get(bytes)
    if (users === undefined) return
    if (users > 1) {
      this.#users.set(bytes, users - 1)
      return
    }
    this.#users.delete(bytes)
    this.#spare.push(bytes)
    this.#spareBytes += bytes.byteLength
    while (this.#spareBytes > this.#mostSpare) this.#spareBytes -= this.#spare.shift()?.byteLength ?? this.#spareBytes
  }
}

/** Those of this process. */
export const pieceBuffers = new PieceBuffers()
