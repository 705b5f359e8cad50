import type { Bytes, Milliseconds } from '../space/space.js'

/*
 * What one open file is read like, as pure values that are replaced at each read. A *stream* is a run of reads that lie
 * next to each other, forward or backward. A player reads one, a demuxer several in turns; a seek begins a new one.
 */

export interface Stream {
  readonly id: number
  /** What its reads cover, roughly: `[low, high)`. */
  readonly low: Bytes
  readonly high: Bytes
  readonly reads: number
  /** Reads of these that went above, and below, what was read before. */
  readonly up: number
  readonly down: number
  /** Bytes that its reads asked for. */
  readonly consumed: Bytes
  /** Consumption with the past fading: bytes, and the time they took the reader, without its waiting for us. */
  readonly paceBytes: Bytes
  readonly paceTime: Milliseconds
  /** When it was last read: by the clock, and by the reader's own, which stands still while the reader waits for us. */
  readonly touched: Milliseconds
  readonly clock: Milliseconds
  /** How often it went on after another stream was read: then it is not given up when a further one begins. */
  readonly resumed: number
  /** It is one of equal runs at equal distances of this length; undefined when it is a run of its own. */
  readonly runOf?: Bytes
}

/** Runs at equal distances: where the last began, how far from the one before, how often the distance was the same. */
export interface Stride {
  readonly start: Bytes
  readonly step: Bytes
  readonly hits: number
}

export interface Pattern {
  /** The one that was read last comes first. */
  readonly streams: readonly Stream[]
  readonly stride: Stride | undefined
  readonly nextId: number
}

export interface ReadEvent {
  readonly offset: Bytes
  readonly length: Bytes
  readonly now: Milliseconds
  /** The same, less all the time that some read of this file waited for its bytes. */
  readonly clock: Milliseconds
}

export const UNREAD: Pattern = { streams: [], stride: undefined, nextId: 1 }

/** Video, audio, subtitles, and some more; what is remembered of a reader must be bounded. */
export const MOST_STREAMS = 8
/**
 * The kernel sends the parts of one readahead in parallel, and begins the next one (1 MiB each, see lib/fuse) before it
 * has the last, so that they arrive out of order: once reading is sequential, a read that starts this near to the
 * expected place still is.
 */
const REORDERED: Bytes = 4 * 1024 * 1024
/** Before that, only a read that starts this near is taken for one that continues the last. */
const NEAR: Bytes = 256 * 1024
/** When the kernel has begun to read ahead it asks for so much at a time, in any order. */
const KERNEL_AHEAD: Bytes = 1024 * 1024
const KERNEL_READ: Bytes = 128 * 1024
/** Of reads in a row at least one in so many goes on beyond the last, however they are reordered. */
const MOST_INSIDE = 6
/** Until this much was read in a row, nothing is known of what comes next. */
export const SETTLED_AFTER: Bytes = 256 * 1024
/** Reads downward that make a stream a backward one: parts of one kernel readahead may come in any order. */
const BACKWARD_AFTER = 3
/** Equal distances before runs are taken for strided. */
export const STRIDED_AFTER = 2
/** How long consumption is remembered. */
const PACE_MEMORY: Milliseconds = 2_000

/** The pattern after one more read; the stream it belongs to comes first. */
export function afterRead(pattern: Pattern, read: ReadEvent): Pattern {
  const { streams } = pattern
  const at = continued(streams, read)
  const stream = streams[at]
  if (stream === undefined) return afterSeek(pattern, read)
  const next = extended(stream, read, at > 0)
  if (at === 0 && streams.length === 1) return { ...pattern, streams: [next] }
  return { ...pattern, streams: [next, ...streams.filter((one) => one !== stream)] }
}

/** Whether it goes downward. */
export function isBackward({ up, down }: Stream): boolean {
  return down >= BACKWARD_AFTER && down > 2 * up
}

/** Whether enough was read in a row to believe that it goes on. */
export function isSettled(stream: Stream, after: Bytes = SETTLED_AFTER): boolean {
  const { up, down, reads, consumed } = stream
  if (consumed <= after || Math.max(up, down) * MOST_INSIDE < reads - 1) return false
  return isBackward(stream) || up >= down
}

/** Bytes per second, leaving out the time that the reader waited for us; undefined before that can be said. */
export function paceOf({ paceBytes, paceTime }: Stream): number | undefined {
  return paceTime < PACE_MEMORY / 4 ? undefined : (paceBytes * 1000) / paceTime
}

/** Index of the stream that the read goes on with, the nearest; -1 for none. */
function continued(streams: readonly Stream[], read: ReadEvent): number {
  let best = -1
  let least = Infinity
  for (const [index, stream] of streams.entries()) {
    const distance = distanceTo(stream, read)
    if (distance >= least) continue
    best = index
    least = distance
  }
  return best
}

function distanceTo(stream: Stream, { offset, length }: ReadEvent): number {
  const end = offset + length
  const above = Math.abs(offset - stream.high)
  const below = Math.abs(end - stream.low)
  if (!isSettled(stream)) {
    const distance = offset >= stream.low && end <= stream.high ? 0 : Math.min(above, below)
    const isAhead = stream.up > 0 && length >= KERNEL_READ && offset >= stream.high
    return distance <= (isAhead ? KERNEL_AHEAD : NEAR) ? distance : Infinity
  }
  // Kernel readahead is reordered within what it covers, never behind where the run began.
  if (isBackward(stream)) return below <= REORDERED && end <= stream.high + NEAR ? below : Infinity
  return above <= REORDERED && offset >= stream.low - NEAR ? above : Infinity
}

function extended(stream: Stream, { offset, length, now, clock }: ReadEvent, resumed: boolean): Stream {
  const end = offset + length
  const passed = Math.min(2 * PACE_MEMORY, Math.max(0, clock - stream.clock))
  const fading = Math.exp(-passed / PACE_MEMORY)
  return {
    ...stream,
    low: Math.min(stream.low, offset),
    high: Math.max(stream.high, end),
    reads: stream.reads + 1,
    up: stream.up + (offset >= stream.high ? 1 : 0),
    down: stream.down + (end <= stream.low ? 1 : 0),
    consumed: stream.consumed + length,
    paceBytes: stream.paceBytes * fading + length,
    paceTime: stream.paceTime * fading + passed,
    touched: now,
    clock,
    resumed: stream.resumed + (resumed ? 1 : 0),
  }
}

function afterSeek(pattern: Pattern, { offset, length, now, clock }: ReadEvent): Pattern {
  const [last] = pattern.streams
  const stride = afterRun(pattern.stride, offset)
  const strided = stride.hits >= STRIDED_AFTER && last !== undefined
  const stream: Stream = {
    id: pattern.nextId,
    low: offset,
    high: offset + length,
    reads: 1,
    up: 0,
    down: 0,
    consumed: length,
    paceBytes: length,
    paceTime: 0,
    touched: now,
    clock,
    resumed: 0,
    ...(strided ? { runOf: Math.max(last.consumed, length) } : {}),
  }
  return { streams: [stream, ...kept(pattern.streams)], stride, nextId: pattern.nextId + 1 }
}

function afterRun(stride: Stride | undefined, start: Bytes): Stride {
  if (stride === undefined) return { start, step: 0, hits: 0 }
  const step = start - stride.start
  return { start, step, hits: step === stride.step ? stride.hits + 1 : 0 }
}

/** Makes room for one more: what never settled goes first, then what was read longest ago. */
function kept(streams: readonly Stream[]): readonly Stream[] {
  if (streams.length < MOST_STREAMS) return streams
  const unsettled = streams.findLastIndex((one) => !isSettled(one))
  const leaves = unsettled >= 0 ? unsettled : streams.length - 1
  return streams.filter((_, index) => index !== leaves)
}
