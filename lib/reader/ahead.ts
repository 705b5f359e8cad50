import type { CachedSpace } from '../cache/store.js'
import { isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Demand } from '../sources/source.js'
import { pieceCount, type ByteRange, type Bytes, type Milliseconds, type Slice } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import { Glances } from './glances.js'
import { HEAD, indexRanges } from './media.js'
import { Shares } from './shares.js'
import { afterRead, isBackward, isSettled, paceOf, UNREAD, type Pattern, type Stream } from './stream.js'
import { givenUp, rangesAhead, type WindowLimits } from './window.js'

/** What a reader needs of the scheduler. */
export interface PieceFetcher {
  fetch(index: number, demand: Demand): Promise<Piece>
  isFetching(index: number): boolean
}

/** What all readers have in common. */
export interface Streaming {
  readonly shares: Shares
  readonly glances: Glances
}

/** @param total bytes that all readers together may have fetched ahead at once. */
export function streamingFor(total: Bytes): Streaming {
  return { shares: new Shares(total), glances: new Glances() }
}

export interface AheadOptions {
  readonly slice: Slice
  readonly cache: CachedSpace
  readonly fetcher: PieceFetcher
  /** The most bytes to fetch ahead of all streams of this open file. */
  readonly most: Bytes
  readonly streaming: Streaming
  readonly log: Log
}

/** What is under way for one stream. */
interface Front {
  readonly abort: AbortController
  /** Pieces up to this index (from it, of a backward stream) were asked for already. */
  asked: number | undefined
}

/** What a read has turned out to be. */
export interface Followed {
  /** The stream that it belongs to. */
  readonly stream: number
  /** Streams that are over, because it began another. */
  readonly over: ReadonlySet<number>
}

const NONE: ReadonlySet<number> = new Set()

/** More than thumbnailers read, with what the kernel adds. */
const PLAYED_AFTER: Bytes = 2.5 * 1024 * 1024
const NEWEST = 0.3

/**
 * Fetches ahead of one open file: learns from each read how it is read, and keeps what comes next under way. Owned by
 * its reader. A front lives as long as its stream is remembered.
 */
export class Ahead {
  readonly #options: AheadOptions
  readonly #fronts = new Map<number, Front>()
  readonly #closing = new AbortController()
  #pattern: Pattern = UNREAD
  #index: readonly ByteRange[] | undefined
  #waiting = 0
  #waitedSince: Milliseconds = 0
  #waited: Milliseconds = 0
  #latency: Milliseconds = 0
  #most: Bytes = 0
  #read: Bytes = 0

  constructor(options: AheadOptions) {
    this.#options = options
  }

  /** Where its streams are now, the one that was read last first. */
  get positions(): readonly Bytes[] {
    return this.#pattern.streams.map((one) => (isBackward(one) ? one.low : one.high))
  }

  /** A read that waits for its bytes. */
  waits(): void {
    if (this.#waiting === 0) this.#waitedSince = performance.now()
    this.#waiting += 1
  }

  /** It waits no longer. */
  served(): void {
    this.#waiting -= 1
    if (this.#waiting === 0) this.#waited += performance.now() - this.#waitedSince
  }

  /** How long a piece that somebody waited for took to come. */
  came(after: Milliseconds): void {
    this.#latency = this.#latency === 0 ? after : this.#latency * (1 - NEWEST) + after * NEWEST
  }

  /** The first bytes of the file were read: they may tell where a player will look next. */
  began(head: Uint8Array): void {
    this.#index ??= indexRanges(head.subarray(0, HEAD), this.#options.slice.length)
  }

  /** Learns from a read and fetches what comes after it. */
  follow(offset: Bytes, length: Bytes, now: Milliseconds = performance.now()): Followed {
    const waited = this.#waited + (this.#waiting > 0 ? Math.max(0, now - this.#waitedSince) : 0)
    const before = this.#pattern
    this.#pattern = afterRead(before, { offset, length, now, clock: now - waited })
    this.#read += length
    const [stream] = this.#pattern.streams
    if (stream === undefined) return { stream: 0, over: NONE }
    this.#most = Math.max(this.#most, stream.consumed)
    const over = before.nextId === this.#pattern.nextId ? NONE : this.#makeWay(now)
    const { slice, streaming } = this.#options
    const ranges = rangesAhead(this.#pattern, this.#limits(), slice.length, now)
    for (const range of ranges) this.#keep(stream, range)
    if (this.#index !== undefined && this.#index.length > 0) this.#fetchIndex(stream)
    if (ranges.length === 0) streaming.shares.leave(this)
    return { stream: stream.id, over }
  }

  close(): void {
    const { slice, streaming } = this.#options
    this.#closing.abort()
    for (const { abort } of this.#fronts.values()) abort.abort()
    this.#fronts.clear()
    streaming.shares.leave(this)
    if (this.#read > 0) streaming.glances.closed({ size: slice.length, consumed: this.#most, read: this.#read })
  }

  #limits(): WindowLimits {
    const { most, slice, streaming } = this.#options
    return {
      most: Math.min(most, streaming.shares.of(this)),
      settledAfter: streaming.glances.settledAfter,
      latency: this.#latency,
      pieceLength: slice.space.pieceLength,
    }
  }

  /**
   * A new stream has begun: what is under way for streams that are over would be in its way.
   * @returns those that were read in a row, so that the kernel may have read ahead of them too.
   */
  #makeWay(now: Milliseconds): ReadonlySet<number> {
    const [newest] = this.#pattern.streams
    const stays = new Set(this.#pattern.streams.map(frontId))
    const over = givenUp(this.#pattern, now)
    for (const one of over) stays.delete(frontId(one))
    if (newest !== undefined) stays.add(frontId(newest))
    for (const [id, front] of this.#fronts) {
      if (stays.has(id)) continue
      front.abort.abort()
      this.#fronts.delete(id)
    }
    return new Set(over.filter((one) => isSettled(one)).map((one) => one.id))
  }

  #frontOf(stream: Stream): Front {
    const id = frontId(stream)
    const known = this.#fronts.get(id)
    if (known !== undefined) return known
    const made: Front = { abort: new AbortController(), asked: undefined }
    this.#fronts.set(id, made)
    return made
  }

  /** Has the pieces of `range` under way; a window is topped up by halves, so that requests stay long. */
  #keep(stream: Stream, range: ByteRange): void {
    const { slice } = this.#options
    const { pieceLength } = slice.space
    const front = this.#frontOf(stream)
    const start = slice.offset + range.start
    const end = slice.offset + range.end
    let first = Math.floor(start / pieceLength)
    let last = Math.min(Math.ceil(end / pieceLength), pieceCount(slice.space))
    const half = (end - start) / 2
    if (stream.runOf !== undefined) {
      // Runs are short: each is asked for as a whole.
    } else if (range.start === stream.high) {
      if (front.asked !== undefined) {
        const asked = front.asked * pieceLength
        if (asked - start > half && asked < end) return
        first = Math.max(first, front.asked)
      }
      front.asked = Math.max(front.asked ?? 0, last)
    } else if (range.end === stream.low) {
      if (front.asked !== undefined) {
        const asked = front.asked * pieceLength
        if (end - asked > half && asked > start) return
        last = Math.min(last, front.asked)
      }
      front.asked = Math.min(front.asked ?? Infinity, first)
    }
    this.#fetch(first, last, front.abort.signal)
  }

  #fetchIndex(stream: Stream): void {
    if (stream.low > 0 || isBackward(stream) || stream.consumed < PLAYED_AFTER) return
    // Who takes some time over it plays it; file(1) reads more at once.
    if (paceOf(stream) === undefined) return
    const { slice } = this.#options
    const { pieceLength } = slice.space
    for (const { start, end } of this.#index ?? []) {
      const last = Math.min(Math.ceil((slice.offset + end) / pieceLength), pieceCount(slice.space))
      this.#fetch(Math.floor((slice.offset + start) / pieceLength), last, this.#closing.signal)
    }
    this.#index = []
  }

  #fetch(first: number, last: number, signal: AbortSignal): void {
    const { cache, fetcher, log, slice } = this.#options
    for (let index = first; index < last; index++) {
      if (cache.has(index) || fetcher.isFetching(index)) continue
      fetcher.fetch(index, { urgency: 'readahead', signal }).catch((error: unknown) => {
        // Whoever reads the piece is told; here it is only worth a word.
        if (isAnnexfsError(error, 'ABORTED')) return
        log.debug('readahead failed', { content: slice.space.id, piece: index, reason: reasonOf(error) })
      })
    }
  }
}

/** Runs of a strided reader have one front: what is under way for the next runs outlives the present one. */
function frontId({ id, runOf }: Stream): number {
  return runOf === undefined ? id : STRIDED
}

/** Streams are numbered from 1. */
const STRIDED = 0
