import { Changes } from '../changes.js'
import { abortError, AnnexfsError, throwIfAborted } from '../errors.js'
import { progress } from '../log/amounts.js'
import type { Asking } from '../space/awaited.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'

/** A body from its first byte on; ends early when the signal fires. */
export type OpenBody = (signal: AbortSignal) => AsyncIterable<Uint8Array>

/** Kept behind each stream, so that reads that come a little late or out of order do not start it again. */
const KEPT_BEHIND: Bytes = 4 * 1024 * 1024
/** A reader may fall this far behind before the stream waits for it. */
const MOST_QUEUED: Bytes = 1024 * 1024
const MOST_STREAMS = 2
/** A stream that nobody reads from is kept this long for the next read; it holds a connection meanwhile. */
const IDLE: Milliseconds = 5_000

/**
 * Ranges of a body that can only be read from its start: reads share at most two running streams, wait for what is
 * ahead, and start again for what is long past. State is owned here: a `Stream` has the readers that wait for it, and
 * is paused while it has none.
 */
export class SequentialBody {
  readonly #open: OpenBody
  readonly #length: Bytes
  readonly #streams = new Set<Stream>()
  /** Reads that wait for one of the streams to be free. */
  readonly #changes = new Changes()

  constructor(open: OpenBody, length: Bytes) {
    this.#open = open
    this.#length = length
  }

  /** The bytes of `range`. @throws what `open` throws, CORRUPT when the body is of another length, ABORTED. */
  async *read(range: ByteRange, { signal, awaits }: Asking): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = new Reader(range, signal)
    const stream = await this.#attach(reader, range.start, signal)
    const over = awaits?.(() => stream.farFrom(range.start))
    try {
      yield* reader.bytes(() => stream.wake())
    } finally {
      over?.()
      stream.remove(reader)
      this.#changes.tell()
    }
  }

  close(): void {
    for (const stream of this.#streams) stream.stop()
  }

  async #attach(reader: Reader, start: Bytes, signal: AbortSignal): Promise<Stream> {
    for (;;) {
      throwIfAborted(signal)
      const stream = this.#streamFor(start)
      if (stream !== undefined) {
        // Before anything else runs, lest it be stopped as idle.
        stream.add(reader)
        return stream
      }
      await this.#changes.next(signal)
    }
  }

  #streamFor(start: Bytes): Stream | undefined {
    const near = [...this.#streams].filter((stream) => stream.keptFrom <= start)
    const nearest = near.reduce<Stream | undefined>(
      (best, next) => (best && best.at > next.at ? best : next),
      undefined,
    )
    if (nearest !== undefined) return nearest
    if (this.#streams.size >= MOST_STREAMS) [...this.#streams].find((stream) => stream.idle)?.stop()
    if (this.#streams.size >= MOST_STREAMS) return undefined
    const stream: Stream = new Stream(this.#open, this.#length, () => this.#streams.delete(stream))
    this.#streams.add(stream)
    stream.start()
    return stream
  }
}

class Stream {
  /** Offset of the next byte that the body gives. */
  at: Bytes = 0
  #moved: Milliseconds = performance.now()
  readonly #readers = new Set<Reader>()
  readonly #stopping = new AbortController()
  readonly #open: OpenBody
  readonly #length: Bytes
  readonly #ended: () => void
  #kept: Uint8Array[] = []
  #keptBytes: Bytes = 0
  #wake: () => void = () => undefined
  #idleTimer: NodeJS.Timeout | undefined

  constructor(open: OpenBody, length: Bytes, ended: () => void) {
    this.#open = open
    this.#length = length
    this.#ended = ended
  }

  get keptFrom(): Bytes {
    return this.at - this.#keptBytes
  }

  get idle(): boolean {
    return this.#readers.size === 0
  }

  /** What a read from `start` on waits for while the stream has not got there. */
  farFrom(start: Bytes): string | undefined {
    if (this.at >= start) return undefined
    const still = performance.now() - this.#moved
    return `the whole content is coming from its start, ${progress(this.at, this.#length, still)}`
  }

  start(): void {
    this.#pump().then(
      () => this.#end(undefined),
      (error: unknown) => this.#end(error),
    )
  }

  stop(): void {
    this.#stopping.abort(new AnnexfsError('ABORTED', 'the stream is not wanted any more'))
    this.#ended()
    this.wake()
  }

  add(reader: Reader): void {
    clearTimeout(this.#idleTimer)
    this.#readers.add(reader)
    let at = this.keptFrom
    for (const chunk of this.#kept) {
      reader.offer(chunk, at)
      at += chunk.byteLength
    }
    this.wake()
  }

  remove(reader: Reader): void {
    this.#readers.delete(reader)
    if (this.idle) this.#idleTimer = setTimeout(() => this.stop(), IDLE).unref()
    this.wake()
  }

  wake(): void {
    this.#wake()
  }

  async #pump(): Promise<void> {
    const { signal } = this.#stopping
    for await (const chunk of this.#open(signal)) {
      if (this.at + chunk.byteLength > this.#length) throw this.#otherLength('more than')
      for (const reader of this.#readers) reader.offer(chunk, this.at)
      this.#keep(chunk)
      this.at += chunk.byteLength
      this.#moved = performance.now()
      while (!signal.aborted && !this.#wanted()) await new Promise<void>((resolve) => (this.#wake = resolve))
      throwIfAborted(signal)
    }
    throwIfAborted(signal)
    if (this.at < this.#length) throw this.#otherLength(`only ${this.at} of`)
  }

  #wanted(): boolean {
    const readers = [...this.#readers]
    return readers.some((reader) => !reader.satisfied) && readers.every((reader) => reader.queued <= MOST_QUEUED)
  }

  #keep(chunk: Uint8Array): void {
    this.#kept.push(chunk)
    this.#keptBytes += chunk.byteLength
    while (this.#keptBytes > KEPT_BEHIND) this.#keptBytes -= this.#kept.shift()?.byteLength ?? 0
  }

  #otherLength(got: string): AnnexfsError {
    return new AnnexfsError('CORRUPT', `the whole content came as ${got} the expected ${this.#length} bytes`)
  }

  #end(error: unknown): void {
    clearTimeout(this.#idleTimer)
    this.#ended()
    for (const reader of this.#readers) reader.fail(error)
  }
}

class Reader {
  queued: Bytes = 0
  readonly #range: ByteRange
  readonly #signal: AbortSignal
  readonly #chunks: Uint8Array[] = []
  /** Offset of the next byte that it has not been offered. */
  #next: Bytes
  #error: Error | undefined
  #wake: () => void = () => undefined

  constructor(range: ByteRange, signal: AbortSignal) {
    this.#range = range
    this.#signal = signal
    this.#next = range.start
  }

  get satisfied(): boolean {
    return this.#next >= this.#range.end
  }

  /** Takes what it needs of `chunk`, which begins at offset `at`. */
  offer(chunk: Uint8Array, at: Bytes): void {
    if (this.satisfied || at > this.#next || at + chunk.byteLength <= this.#next) return
    const part = chunk.subarray(this.#next - at, Math.min(chunk.byteLength, this.#range.end - at))
    this.#chunks.push(part)
    this.queued += part.byteLength
    this.#next += part.byteLength
    this.#wake()
  }

  fail(error: unknown): void {
    this.#error = error instanceof Error ? error : new AnnexfsError('UNAVAILABLE', 'the stream has ended')
    this.#wake()
  }

  async *bytes(taken: () => void): AsyncGenerator<Uint8Array, void, undefined> {
    const aborted = (): void => this.#wake()
    this.#signal.addEventListener('abort', aborted)
    try {
      for (;;) {
        if (this.#signal.aborted) throw abortError(this.#signal)
        const chunk = this.#chunks.shift()
        if (chunk !== undefined) {
          this.queued -= chunk.byteLength
          taken()
          yield chunk
        } else if (this.satisfied) {
          return
        } else if (this.#error !== undefined) {
          throw this.#error
        } else {
          await new Promise<void>((resolve) => (this.#wake = resolve))
        }
      }
    } finally {
      this.#signal.removeEventListener('abort', aborted)
    }
  }
}
