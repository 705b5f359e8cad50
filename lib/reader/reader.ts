import type { CachedSpace } from '../cache/store.js'
import type { Log } from '../log/log.js'
import type { DirectRead } from '../space/direct.js'
import { pieceSize, type Bytes, type Milliseconds, type Slice } from '../space/space.js'
import { AnnexfsError } from '../errors.js'
import { Ahead, streamingFor, type Followed, type PieceFetcher, type Streaming } from './ahead.js'
import { Pending, type PendingRead } from './pending.js'

export interface ReaderOptions {
  readonly slice: Slice
  readonly cache: CachedSpace
  readonly fetcher: PieceFetcher
  /** The most bytes to fetch ahead of a sequential reader; 0 switches readahead off. */
  readonly readahead: Bytes
  /** What all open files share; default: nothing is shared. */
  readonly streaming?: Streaming
  readonly log: Log
  /**
   * Asked before each read: throws, or rejects, when nothing may be returned (content found wrong); a promise is waited
   * for (strict verification fetches and checks the whole content first).
   */
  readonly gate?: (signal: AbortSignal) => Promise<void> | undefined
  /** Return nothing that was not checked: a piece lost since the gate opened is not fetched alone. */
  readonly checkedOnly?: boolean
}

/** The part of one piece that a read needs. */
interface Part {
  readonly index: number
  readonly start: Bytes
  readonly end: Bytes
  /** Where it goes, from the start of the read. */
  readonly at: Bytes
}

/** How often strict verification starts over because the cache lost a piece at once. */
const MOST_GATE_TRIES = 3

/** Without readahead nothing is known of streams. */
const ALONE: Followed = { stream: 0, over: new Set() }

const EMPTY = new Uint8Array(0)

class LostPiece extends AnnexfsError {
  constructor() {
    super('UNAVAILABLE', 'the cache is too small to keep this content until it was checked; give a larger --cache-size')
  }
}

/**
 * One open file: turns offsets into pieces, takes them from the cache or has them fetched, and fetches ahead while
 * reads are sequential. Reads may run in parallel.
 */
export class Reader {
  readonly #options: ReaderOptions
  /** Undefined when nothing is fetched ahead. */
  readonly #ahead: Ahead | undefined
  readonly #pending = new Pending()
  #closed = false

  constructor(options: ReaderOptions) {
    this.#options = options
    const { slice, cache, fetcher, readahead, checkedOnly, log } = options
    if (readahead === 0 || checkedOnly === true) return
    const streaming = options.streaming ?? streamingFor(readahead)
    this.#ahead = new Ahead({ slice, cache, fetcher, most: readahead, streaming, log })
  }

  /** Offsets where it was read last, one for each stream of reads, the last one first. */
  get positions(): readonly Bytes[] {
    return this.#ahead?.positions ?? []
  }

  /**
   * Up to `length` bytes at `offset` of the slice, short only at its end. Cached bytes are copied into `into` at once
   * and counted; else the bytes are promised, to be used before the next turn of the event loop, and `into` is left alone.
   */
  read(offset: Bytes, length: Bytes, into: Uint8Array, signal: AbortSignal): number | Promise<Uint8Array> {
    const { slice, gate } = this.#options
    if (this.#closed) throw new AnnexfsError('ABORTED', 'the file was closed')
    const count = Math.max(0, Math.min(length, slice.length - offset))
    if (count === 0) return 0
    const wait = gate?.(signal)
    if (wait !== undefined) return this.#readGated(wait, offset, count, signal)
    if (!this.#copyCached(offset, count, into)) return this.#readLater(offset, count, signal)
    if (offset === 0) this.#ahead?.began(into.subarray(0, count))
    this.#ahead?.follow(offset, count)
    return count
  }

  /** Where what is cached of it lies; undefined when it is not on disk. */
  direct(): DirectRead | undefined {
    const { cache, slice } = this.#options
    if (this.#closed) return undefined
    const direct = cache.direct?.()
    return direct === undefined ? undefined : { ...direct, start: slice.offset }
  }

  /** Cached bytes were read without asking. */
  noted(offset: Bytes, count: Bytes, at: Milliseconds): void {
    if (this.#closed) return
    const { cache, slice } = this.#options
    const { pieceLength } = slice.space
    const start = slice.offset + offset
    for (let index = Math.floor(start / pieceLength); index * pieceLength < start + count; index++) cache.used?.(index)
    this.#ahead?.follow(offset, count, at)
  }

  /** Ends readahead; reads in progress are ended by their own signals. */
  close(): void {
    this.#closed = true
    this.#ahead?.close()
  }

  #copyCached(offset: Bytes, count: Bytes, into: Uint8Array): boolean {
    const { cache, slice } = this.#options
    const { pieceLength } = slice.space
    const start = slice.offset + offset
    const index = Math.floor(start / pieceLength)
    const inner = start - index * pieceLength
    if (inner + count <= pieceLength) return cache.readSync(index, inner, inner + count, into) === 'hit'
    for (const part of this.#parts(offset, count)) {
      const target = into.subarray(part.at, part.at + part.end - part.start)
      if (cache.readSync(part.index, part.start, part.end, target) !== 'hit') return false
    }
    return true
  }

  /** Strict: a piece that was evicted between the check and the read closes the gate again. */
  async #readGated(open: Promise<void>, offset: Bytes, count: Bytes, signal: AbortSignal): Promise<Uint8Array> {
    let gate: Promise<void> | undefined = open
    for (let tries = 0; ; tries++) {
      await gate
      try {
        return await this.#readLater(offset, count, signal)
      } catch (error) {
        if (!(error instanceof LostPiece) || tries >= MOST_GATE_TRIES) throw error
        gate = this.#options.gate?.(signal)
      }
    }
  }

  async #readLater(offset: Bytes, count: Bytes, signal: AbortSignal): Promise<Uint8Array> {
    const parts = this.#parts(offset, count)
    const failed = new AbortController()
    const both = AbortSignal.any([signal, failed.signal])
    const { stream, over } = this.#ahead?.follow(offset, count) ?? ALONE
    const read = this.#pending.begin(stream)
    const goOn = over.size > 0 ? this.#pending.postpone(over) : undefined
    // In the same turn as what is read ahead, so that the scheduler can join them.
    const whole = parts.length > 1 ? Buffer.allocUnsafeSlow(count) : undefined
    const arriving = parts.map(async (part) => {
      const bytes = await this.#part(part, read, both)
      // At once: they may be somebody else's in the next turn.
      whole?.set(bytes, part.at)
      return bytes
    })
    this.#ahead?.waits()
    try {
      const [only = EMPTY] = await Promise.all(arriving)
      const bytes = whole ?? only
      if (offset === 0) this.#ahead?.began(bytes)
      return bytes
    } finally {
      this.#ahead?.served()
      this.#pending.end(read)
      goOn?.()
      failed.abort()
    }
  }

  async #part(part: Part, read: PendingRead, signal: AbortSignal): Promise<Uint8Array> {
    const { cache, fetcher, checkedOnly } = this.#options
    if (cache.has(part.index)) {
      const cached = await cache.read(part.index, part.start, part.end)
      if (cached !== undefined) return cached
    }
    if (checkedOnly === true) throw new LostPiece()
    const asked = performance.now()
    const piece = await read.fetch(fetcher, part.index, signal)
    this.#ahead?.came(performance.now() - asked)
    return piece.bytes.subarray(part.start, part.end)
  }

  #parts(offset: Bytes, count: Bytes): Part[] {
    const { space, offset: base } = this.#options.slice
    const parts: Part[] = []
    let at = 0
    while (at < count) {
      const position = base + offset + at
      const index = Math.floor(position / space.pieceLength)
      const start = position - index * space.pieceLength
      const end = Math.min(pieceSize(space, index), start + count - at)
      parts.push({ index, start, end, at })
      at += end - start
    }
    return parts
  }
}
