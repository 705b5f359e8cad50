import type { Bytes } from '../space/space.js'

/** How one open file is being read; a pure value, replaced at each read. */
export interface Pattern {
  /** Where the last read ended; the next sequential read starts about there. */
  readonly next: Bytes
  /** Bytes to have ready beyond `next`; 0 while reading is random. */
  readonly window: Bytes
  /** Sequential reads in a row, and the bytes they asked for. */
  readonly streak: number
  readonly consumed: Bytes
}

export const UNREAD: Pattern = { next: 0, window: 0, streak: 0, consumed: 0 }

/**
 * The kernel sends the parts of one readahead in parallel, and begins the next one (1 MiB each, see lib/fuse) before it
 * has the last, so that they arrive out of order: a read that starts this near to the expected place is still
 * sequential.
 */
const REORDERED: Bytes = 4 * 1024 * 1024
/** The first read of a file says little, the second in a row says more: only then is anything fetched ahead. */
const SEQUENTIAL_FROM = 2
/** The window is this many times what was read in a row: it grows fast, and what it may waste is bounded by use. */
const AHEAD_PER_CONSUMED = 2

/**
 * The pattern after a read of `length` bytes at `offset`. From the second read in a row the window is twice what was
 * read in a row, up to `most`; a seek drops it.
 */
export function afterRead(pattern: Pattern, offset: Bytes, length: Bytes, most: Bytes): Pattern {
  const end = offset + length
  const started = pattern.streak > 0 || offset === 0
  if (!started || offset < pattern.next - REORDERED || offset > pattern.next + REORDERED) {
    return { next: end, window: 0, streak: 1, consumed: length }
  }
  const streak = pattern.streak + 1
  const consumed = pattern.consumed + length
  const window = streak < SEQUENTIAL_FROM ? 0 : Math.min(most, consumed * AHEAD_PER_CONSUMED)
  return { next: Math.max(pattern.next, end), window, streak, consumed }
}
