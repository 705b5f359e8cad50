import type { Bytes, Milliseconds } from '../space/space.js'

/** What is asked of peers in one request (BEP 3: all clients take 16 KiB, many close the connection at more). */
export const BLOCK_LENGTH = 16 * 1024

/** A peer as the picker sees it. */
export interface Giver {
  /** Without port: what is banned. */
  readonly address: string
  /** How many more blocks it may be asked for now; `hurry`: of a piece that must not wait for what was asked for in advance. */
  room(hurry?: boolean): number
  /** Bytes per second, lately. */
  speed(): number
  has(index: number): boolean
  /** Asks for a block; `done` is called once, with the block or with why there is none. */
  request(index: number, offset: Bytes, length: Bytes, done: (error: Error | null, block?: Uint8Array) => void): void
  cancel(index: number, offset: Bytes, length: Bytes): void
}

interface Block {
  done: boolean
  /** Who was asked and has not yet answered or stalled. */
  asked: Giver[]
  askedAt: number
}

/** A piece that is being put together. */
export class Assembly {
  readonly blocks: readonly Block[]
  /** The only peer that may add to it: set while its giver has yet to earn trust. */
  owner: Giver | undefined
  /** How often another peer took it over from an owner that was too slow. */
  takeovers = 0
  lastProgress: number
  readonly givers = new Set<string>()
  #missing: number
  #firstFree = 0

  constructor(
    readonly index: number,
    readonly bytes: Uint8Array,
    private readonly begun: Milliseconds,
  ) {
    const blocks = Math.ceil(bytes.byteLength / BLOCK_LENGTH)
    this.blocks = Array.from({ length: blocks }, () => ({ done: false, asked: [], askedAt: 0 }))
    this.#missing = this.blocks.length
    this.lastProgress = begun
  }

  get complete(): boolean {
    return this.#missing === 0
  }

  get untouched(): boolean {
    return this.#missing === this.blocks.length && this.blocks.every((block) => block.asked.length === 0)
  }

  /** How long it was worked on until `now`. */
  elapsed(now: Milliseconds): Milliseconds {
    return Math.max(1, now - this.begun)
  }

  /** How long the rest takes if it goes on as it went; without end before the first block. */
  remaining(now: Milliseconds): Milliseconds {
    const done = this.blocks.length - this.#missing
    return done === 0 ? Infinity : (this.elapsed(now) / done) * this.#missing
  }

  /** The first block that nobody was asked for, or -1. */
  free(): number {
    for (let at = this.#firstFree; at < this.blocks.length; at++) {
      const block = this.blocks[at]
      if (block !== undefined && !block.done && block.asked.length === 0) {
        this.#firstFree = at
        return at
      }
    }
    this.#firstFree = this.blocks.length
    return -1
  }

  /** A block that others were asked for before `since` and have not given, and that `giver` was not asked for; or -1. */
  overdue(giver: Giver, since: number, mostAsked: number): number {
    return this.blocks.findIndex(
      (block) => !block.done && block.askedAt < since && block.asked.length < mostAsked && !block.asked.includes(giver),
    )
  }

  offset(block: number): Bytes {
    return block * BLOCK_LENGTH
  }

  length(block: number): Bytes {
    return Math.min(BLOCK_LENGTH, this.bytes.byteLength - block * BLOCK_LENGTH)
  }

  /** `giver` will not give this block after all, or is too slow to wait for. */
  release(at: number, giver: Giver): void {
    const block = this.blocks[at]
    if (block === undefined) return
    block.asked = block.asked.filter((one) => one !== giver)
    if (!block.done && block.asked.length === 0) this.#firstFree = Math.min(this.#firstFree, at)
  }

  /** Takes a block in. False when it was there already. */
  take(at: number, giver: Giver, bytes: Uint8Array, now: number): boolean {
    const block = this.blocks[at]
    if (block === undefined || block.done || bytes.byteLength !== this.length(at)) return false
    this.bytes.set(bytes, this.offset(at))
    block.done = true
    this.#missing -= 1
    this.lastProgress = now
    this.givers.add(giver.address)
    return true
  }

  /** Everybody who was asked for something of it and has not answered. */
  *outstanding(): Iterable<{ readonly at: number; readonly giver: Giver }> {
    for (const [at, block] of this.blocks.entries()) {
      for (const giver of block.asked.slice()) yield { at, giver }
    }
  }
}
