import type { Bytes } from '../space/space.js'

/**
 * Memory for pieces that are being put together, over all torrents of the process. Buffers are used again: fresh ones
 * cost more (page faults, garbage collection) than receiving what goes into them.
 */
export class AssemblyMemory {
  #used: Bytes = 0
  #spareBytes: Bytes = 0
  #spare: Uint8Array[] = []

  constructor(
    readonly most: Bytes,
    private readonly mostSpare: Bytes,
  ) {}

  /** A buffer of just that size with undefined content, unless more than `share` of all would be in use then. */
  take(size: Bytes, share: number): Uint8Array | undefined {
    if (this.#used > 0 && this.#used + size > this.most * share) return undefined
    this.#used += size
    const at = this.#spare.findLastIndex((bytes) => bytes.byteLength === size)
    if (at < 0) return Buffer.allocUnsafeSlow(size)
    const [bytes] = this.#spare.splice(at, 1)
    this.#spareBytes -= size
    return bytes
  }

  /** Gives a buffer back. `reusable`: nobody else looks at it any more. */
  give(bytes: Uint8Array, reusable: boolean): void {
    this.#used -= bytes.byteLength
    if (!reusable) return
    this.#spare.push(bytes)
    this.#spareBytes += bytes.byteLength
    while (this.#spareBytes > this.mostSpare) this.#spareBytes -= this.#spare.shift()?.byteLength ?? this.#spareBytes
  }
}
