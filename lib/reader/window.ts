import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { isBackward, isSettled, paceOf, SETTLED_AFTER, STRIDED_AFTER, type Pattern, type Stream } from './stream.js'

/** How much to have ready ahead of a reader: pure decisions over how it has read. */

export interface WindowLimits {
  /** The most bytes ahead of this open file: `--readahead`, or its share of what all readers may have under way. */
  readonly most: Bytes
  /** What must have been read in a row first; more while many files are being glanced at. */
  readonly settledAfter?: Bytes
  /** How long a piece took to come lately, from asking to having it. */
  readonly latency?: Milliseconds
  readonly pieceLength?: Bytes
}

/** The window is this many times what was read in a row: it grows fast, and what it may waste is bounded by use. */
const AHEAD_PER_CONSUMED = 2
/** Enough for a source that falters to be noticed and others to be asked instead, twice. */
const SECONDS_AHEAD: Milliseconds = 10_000
/** Pieces are asked for this many times earlier than they take to come. */
const LATENCIES_AHEAD = 4
/** Requests stay worth their round trip, however slowly somebody reads. */
const LEAST_WINDOW: Bytes = 1024 * 1024
/** A stream that was left for so long has no claim to a share. */
const LEFT_AFTER: Milliseconds = 5_000
/** Runs of a strided reader that are fetched before it comes to them. */
const MOST_RUNS = 16

/**
 * Bytes to have ahead of a stream. 0 until enough was read in a row; then twice that, up to what the reader consumes in
 * ten seconds and the sources' latency (a reader that waits for us counts as a fast one), up to its part of `most`.
 */
export function windowOf(stream: Stream, limits: WindowLimits, active = 1): Bytes {
  const most = limits.most / Math.max(1, active)
  if (!isSettled(stream, limits.settledAfter ?? SETTLED_AFTER)) return 0
  if (stream.runOf !== undefined && stream.consumed <= stream.runOf) {
    return Math.min(most, stream.runOf - stream.consumed)
  }
  const grown = stream.consumed * AHEAD_PER_CONSUMED
  const pace = paceOf(stream)
  if (pace === undefined) return Math.min(most, grown)
  const time = SECONDS_AHEAD + LATENCIES_AHEAD * (limits.latency ?? 0)
  const least = Math.max(LEAST_WINDOW, 2 * (limits.pieceLength ?? 0))
  return Math.min(most, grown, Math.max(least, (pace * time) / 1000))
}

/** How many streams of an open file share what may be ahead of it. */
export function activeStreams(pattern: Pattern, now: Milliseconds): number {
  let count = 0
  for (const one of pattern.streams) if (isSettled(one) && now - one.touched < LEFT_AFTER) count += 1
  return count
}

/** What to have ready for the stream that was read last, nearest first; offsets of the file, within its `length`. */
export function rangesAhead(pattern: Pattern, limits: WindowLimits, length: Bytes, now: Milliseconds): ByteRange[] {
  const [stream] = pattern.streams
  if (stream === undefined || limits.most <= 0) return []
  const window = windowOf(stream, limits, activeStreams(pattern, now))
  const ranges: ByteRange[] = []
  const add = (start: Bytes, end: Bytes): void => {
    const range = { start: Math.max(0, start), end: Math.min(length, end) }
    if (range.start < range.end) ranges.push(range)
  }
  if (window > 0 && isBackward(stream)) add(stream.low - window, stream.low)
  else if (window > 0) add(stream.high, stream.high + window)
  for (const { start, end } of runsAhead(pattern, limits)) add(start, end)
  return ranges
}

/** The next runs of a strided reader: more of them the longer it has kept its stride. */
function runsAhead({ streams, stride }: Pattern, limits: WindowLimits): ByteRange[] {
  const [stream] = streams
  if (stream?.runOf === undefined || stride === undefined || stride.hits < STRIDED_AFTER) return []
  if (stream.consumed > stream.runOf) return []
  const { runOf } = stream
  const cost = Math.max(runOf, limits.pieceLength ?? 0)
  const count = Math.min(MOST_RUNS, 2 * (stride.hits - STRIDED_AFTER + 1), Math.floor(limits.most / cost))
  return Array.from({ length: count }, (_, i) => {
    const start = stride.start + (i + 1) * stride.step
    return { start, end: start + runOf }
  })
}

/** Streams whose readahead is in the way of one that has just begun: not those that are read in turns with others. */
export function givenUp(pattern: Pattern, now: Milliseconds): readonly Stream[] {
  const [, ...others] = pattern.streams
  return others.filter((one) => one.resumed === 0 || now - one.touched > LEFT_AFTER)
}
