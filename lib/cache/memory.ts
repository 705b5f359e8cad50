import { LRUCache } from 'lru-cache'
import type { Bytes } from '../space/space.js'
import { MOST_PIECES } from './format.js'

function keyOf(space: number, index: number): number {
  return space * MOST_PIECES + index
}

/**
 * Whole pieces that were just put: read again at once by whoever waited for them, and all there is when the disk fails.
 * Spaces are named by small numbers, which makes a look-up cheap.
 */
export class MemoryTier {
  readonly #pieces: LRUCache<number, Uint8Array> | undefined

  constructor(maxBytes: Bytes) {
    if (maxBytes <= 0) return
    this.#pieces = new LRUCache({ maxSize: maxBytes, sizeCalculation: (bytes) => Math.max(1, bytes.byteLength) })
  }

  get(space: number, index: number): Uint8Array | undefined {
    return this.#pieces?.get(keyOf(space, index))
  }

  has(space: number, index: number): boolean {
    return this.#pieces?.has(keyOf(space, index)) ?? false
  }

  set(space: number, index: number, bytes: Uint8Array): void {
    if (this.#pieces === undefined || bytes.byteLength > this.#pieces.maxSize) return
    // A small view would keep the whole buffer under it alive, uncounted.
    const own = bytes.buffer.byteLength > bytes.byteLength ? Uint8Array.prototype.slice.call(bytes) : bytes
    this.#pieces.set(keyOf(space, index), own)
  }

  /** Forgets all pieces of a space. */
  drop(space: number): void {
    if (this.#pieces === undefined) return
    for (const key of this.#pieces.keys()) {
      if (Math.floor(key / MOST_PIECES) === space) this.#pieces.delete(key)
    }
  }

  clear(): void {
    this.#pieces?.clear()
  }
}
