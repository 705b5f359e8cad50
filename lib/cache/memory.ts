import { pieceBuffers, type PieceBuffers } from '../space/piece-buffers.js'
import type { Bytes } from '../space/space.js'
import { MOST_PIECES } from './format.js'

function keyOf(space: number, index: number): number {
  return space * MOST_PIECES + index
}

/**
 * Whole pieces that were just put: read again at once by whoever waited for them, and all there is when the disk fails.
 * Spaces are named by small numbers, which makes a look-up cheap.
 *
 * They lie in buffers that are used again, those that they came in where that can be: what is held is bounded to the byte,
 * where buffers that are made for a while stay in memory until the garbage collector comes to them.
 */
export class MemoryTier {
  readonly #size: Bytes
  readonly #buffers: PieceBuffers
  /** By age. */
  readonly #pieces = new Map<number, Uint8Array>()
  #held: Bytes = 0

  constructor(maxBytes: Bytes, buffers = pieceBuffers) {
    this.#size = Math.max(0, maxBytes)
    this.#buffers = buffers
  }

  /** To be used at once: what comes next may overwrite it. */
  get(space: number, index: number): Uint8Array | undefined {
    return this.#pieces.get(keyOf(space, index))
  }

  has(space: number, index: number): boolean {
    return this.#pieces.has(keyOf(space, index))
  }

  set(space: number, index: number, bytes: Uint8Array): void {
    const length = bytes.byteLength
    if (length === 0 || length > this.#size) return
    const key = keyOf(space, index)
    this.#forget(key)
    for (const oldest of this.#pieces.keys()) {
      if (this.#held + length <= this.#size) break
      this.#forget(oldest)
    }
    this.#pieces.set(key, this.#buffers.keep(bytes) ? bytes : this.#copied(bytes))
    this.#held += length
  }

  /** Forgets all pieces of a space. */
  drop(space: number): void {
    for (const key of this.#pieces.keys()) {
      if (Math.floor(key / MOST_PIECES) === space) this.#forget(key)
    }
  }

  clear(): void {
    for (const key of this.#pieces.keys()) this.#forget(key)
  }

  #copied(bytes: Uint8Array): Uint8Array {
    const own = this.#buffers.take(bytes.byteLength)
    own.set(bytes)
    return own
  }

  #forget(key: number): void {
    const bytes = this.#pieces.get(key)
    if (bytes === undefined) return
    this.#pieces.delete(key)
    this.#held -= bytes.byteLength
    this.#buffers.release(bytes)
  }
}
