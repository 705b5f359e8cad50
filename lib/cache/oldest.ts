import type { Bytes, Milliseconds } from '../space/space.js'

/** A piece that could be evicted. */
export interface Candidate {
  readonly usedAt: Milliseconds
  readonly bytes: Bytes
  /** Which space, by its place in the evictor's list. */
  readonly space: number
  readonly piece: number
}

/**
 * Keeps the least recently used of all candidates that it is offered: as few as make up `need` bytes. A heap with the
 * most recently used on top, so that choosing among a million pieces takes neither a sort nor the memory for all.
 */
export class OldestFirst {
  readonly #heap: Candidate[] = []
  #total = 0

  constructor(
    readonly need: Bytes,
    readonly most: number,
  ) {}

  get chosen(): readonly Candidate[] {
    return this.#heap
  }

  get total(): Bytes {
    return this.#total
  }

  offer(candidate: Candidate): void {
    const top = this.#heap[0]
    const full = this.#total >= this.need || this.#heap.length >= this.most
    if (full && top !== undefined && candidate.usedAt >= top.usedAt) return
    this.#push(candidate)
    for (let newest = this.#heap[0]; newest !== undefined; newest = this.#heap[0]) {
      if (this.#total - newest.bytes < this.need && this.#heap.length <= this.most) break
      this.#pop()
    }
  }

  #push(candidate: Candidate): void {
    const heap = this.#heap
    this.#total += candidate.bytes
    let at = heap.length
    heap.push(candidate)
    while (at > 0) {
      const parent = (at - 1) >> 1
      const above = heap[parent]
      if (above === undefined || above.usedAt >= candidate.usedAt) break
      heap[at] = above
      at = parent
    }
    heap[at] = candidate
  }

  #pop(): void {
    const heap = this.#heap
    const top = heap[0]
    const last = heap.pop()
    if (top === undefined || last === undefined) return
    this.#total -= top.bytes
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      const right = heap[child + 1]
      let below = heap[child]
      if (below === undefined) break
      if (right !== undefined && right.usedAt > below.usedAt) {
        child++
        below = right
      }
      if (below.usedAt <= last.usedAt) break
      heap[at] = below
      at = child
    }
    heap[at] = last
  }
}
