import { Awaited } from '../space/awaited.js'
import { pieceSize, type ByteRange, type Bytes, type Milliseconds, type PieceSpace } from '../space/space.js'
import type { Assembly } from './assembly.js'
import type { Supplier } from './candidates.js'
import { expectedLatency, expectedRate, expectedRemaining, isLate, lateAfter, type Underway } from './expect.js'

/** Part of a piece, when it is brought in parts. */
export interface CarriedPart {
  readonly range: ByteRange
  readonly assembly: Assembly
}

/** Its own rate counts once it has brought this much over so long a time. */
const OWN_RATE_AFTER: Milliseconds = 50

/** One transfer from one source: a run of neighbouring pieces, or a part of one. */
export class Carrier {
  readonly supplier: Supplier
  readonly part: CarriedPart | undefined
  readonly abort = new AbortController()
  /** What the source says that it waits for. */
  readonly awaited = new Awaited()
  readonly started: Milliseconds = performance.now()
  /** When the first byte came. */
  answered: Milliseconds | undefined
  lastProgress: Milliseconds = this.started
  received: Bytes = 0
  /** Bytes of the asked range that are still counted on. */
  expected: Bytes
  /** Bytes that it keeps reserved of those that may be under way. */
  reserved: Bytes
  /** How long what was asked of the place before it, and it itself, were to take. */
  readonly queued: Milliseconds
  /** What had come when the configured stall detection last looked, and when that was. */
  looked: { readonly received: Bytes; readonly at: Milliseconds } = { received: 0, at: this.started }
  readonly #space: PieceSpace
  #run: readonly number[]
  #done = 0
  /** Kept until it changes: it is asked for with every piece. */
  #left: readonly number[] | undefined
  /** Bytes of the pieces that have arrived. */
  #arrived: Bytes = 0

  constructor(space: PieceSpace, supplier: Supplier, run: readonly number[], part?: CarriedPart) {
    this.#space = space
    this.supplier = supplier
    this.part = part
    this.#run = run
    this.expected = part === undefined ? bytesOf(space, run) : part.range.end - part.range.start
    this.reserved = this.expected
    const { place, cost } = supplier
    this.queued = ((place.outstanding + this.expected) * 1000) / expectedRate(place.health(this.started), cost)
  }

  /** The pieces that it is to bring. */
  get run(): readonly number[] {
    return this.#run
  }

  /** Those that have not arrived yet. */
  get left(): readonly number[] {
    this.#left ??= this.#run.slice(this.#done)
    return this.#left
  }

  /** Bytes of the piece that is under way. */
  get unfinished(): Bytes {
    return this.received - this.#arrived
  }

  pieceArrived(index: number): void {
    this.#done += 1
    this.#left = undefined
    this.#arrived += pieceSize(this.#space, index)
  }

  /** Keeps only the first `count` of {@link left}; gives the others and their bytes back. */
  cut(count: number): { readonly pieces: readonly number[]; readonly bytes: Bytes } {
    const pieces = this.#run.slice(this.#done + count)
    this.#run = this.#run.slice(0, this.#done + count)
    this.#left = undefined
    const bytes = Math.min(this.expected, bytesOf(this.#space, pieces))
    this.expected -= bytes
    return { pieces, bytes }
  }

  /** Bytes per second that it brings, or is expected to. */
  rate(now: Milliseconds): number {
    const { place, cost } = this.supplier
    const took = this.answered === undefined ? 0 : now - this.answered
    const share = expectedRate(place.health(now), cost) / Math.max(1, place.active)
    if (took < OWN_RATE_AFTER) return share
    return Math.max(1, Math.min(share * 2, (this.received * 1000) / took))
  }

  /** What is to be expected of it for piece `index`, which is in its run. */
  underway(index: number, now: Milliseconds): Underway {
    const { place, cost } = this.supplier
    const health = place.health(now)
    if (this.supplier.holding.piece !== undefined) {
      // Nothing shows of a piece before it is whole.
      const usual = expectedLatency(health, cost) + this.queued
      const [elapsed, silent] = [now - this.started, now - this.lastProgress]
      const late = usual * 1.5 + lateAfter(health, cost)
      return { elapsed, silent, answered: false, left: 0, rate: 1, latency: usual, lateAfter: late }
    }
    return {
      elapsed: now - this.started,
      silent: now - this.lastProgress,
      answered: this.answered !== undefined,
      left: this.#bytesUntil(index),
      rate: this.rate(now),
      latency: expectedLatency(health, cost),
      lateAfter: lateAfter(health, cost),
    }
  }

  remaining(index: number, now: Milliseconds): Milliseconds {
    return expectedRemaining(this.underway(index, now))
  }

  isLate(index: number, now: Milliseconds): boolean {
    return isLate(this.underway(index, now))
  }

  #bytesUntil(index: number): Bytes {
    if (this.part !== undefined) return this.part.range.end - this.part.range.start - this.received
    let bytes = -this.unfinished
    for (const one of this.left) {
      bytes += pieceSize(this.#space, one)
      if (one === index) break
    }
    return Math.max(0, bytes)
  }
}

export function bytesOf(space: PieceSpace, run: readonly number[]): Bytes {
  return run.reduce((sum, index) => sum + pieceSize(space, index), 0)
}
