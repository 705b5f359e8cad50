import type { Bytes } from '../space/space.js'
import { MOST_PIECES } from './format.js'

function keyOf(space: number, index: number): number {
  return space * MOST_PIECES + index
}

interface Place {
  readonly at: Bytes
  readonly length: Bytes
}

/**
 * Whole pieces that were just put: read again at once by whoever waited for them, and all there is when the disk fails.
 * Spaces are named by small numbers, which makes a look-up cheap.
 *
 * They are copied into one ring of memory, each in the place of the oldest: what is held is bounded to the byte, where buffers
 * that are kept for a while each by itself stay in memory until the garbage collector comes to them.
 */
export class MemoryTier {
  readonly #size: Bytes
  #ring: Uint8Array | undefined
  /** By age, which is by place, from `#next` on and around. */
  readonly #places = new Map<number, Place>()
  #next: Bytes = 0

  constructor(maxBytes: Bytes) {
    this.#size = Math.max(0, maxBytes)
  }

  /** To be used at once: what comes next may overwrite it. */
  get(space: number, index: number): Uint8Array | undefined {
    const place = this.#places.get(keyOf(space, index))
    return place === undefined ? undefined : this.#ring?.subarray(place.at, place.at + place.length)
  }

  has(space: number, index: number): boolean {
    return this.#places.has(keyOf(space, index))
  }

  set(space: number, index: number, bytes: Uint8Array): void {
    const length = bytes.byteLength
    if (length === 0 || length > this.#size) return
    const key = keyOf(space, index)
    this.#places.delete(key)
    // Memory that was never touched costs nothing.
    this.#ring ??= Buffer.allocUnsafeSlow(this.#size)
    let at = this.#next
    if (at + length > this.#size) {
      this.#forget(at, this.#size)
      at = 0
    }
    this.#forget(at, at + length)
    this.#ring.set(bytes, at)
    this.#places.set(key, { at, length })
    this.#next = at + length
  }

  /** Forgets all pieces of a space. */
  drop(space: number): void {
    for (const key of this.#places.keys()) {
      if (Math.floor(key / MOST_PIECES) === space) this.#places.delete(key)
    }
  }

  clear(): void {
    this.#places.clear()
    this.#ring = undefined
    this.#next = 0
  }

  /** Forgets the oldest, which begin in `[start, end)`. */
  #forget(start: Bytes, end: Bytes): void {
    for (const [key, { at }] of this.#places) {
      if (at < start || at >= end) return
      this.#places.delete(key)
    }
  }
}
