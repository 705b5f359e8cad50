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
 * has the last, so that they arrive out of order: once reading is sequential, a read that starts this near to the
 * expected place still is.
 */
const REORDERED: Bytes = 4 * 1024 * 1024
/** Before that, only a read that starts this near is taken for one that continues the last. */
const NEAR: Bytes = 256 * 1024
/**
 * Nothing is fetched ahead before this much was read in a row: for a single small read at the start of a file the kernel
 * itself asks for up to 256 KiB.
 */
const SEQUENTIAL_ABOVE: Bytes = 256 * 1024
/** The window is this many times what was read in a row: it grows fast, and what it may waste is bounded by use. */
const AHEAD_PER_CONSUMED = 2

/**
 * The pattern after a read of `length` bytes at `offset`. Once more than 256 KiB were read in a row the window is twice
 * what was read in a row, up to `most`; a seek drops it.
 */
export function afterRead(pattern: Pattern, offset: Bytes, length: Bytes, most: Bytes): Pattern {
  const end = offset + length
  const started = pattern.streak > 0 || offset === 0
  const reach = pattern.window > 0 ? REORDERED : NEAR
  if (!started || offset < pattern.next - reach || offset > pattern.next + reach) {
    return { next: end, window: 0, streak: 1, consumed: length }
  }
  const streak = pattern.streak + 1
  const consumed = pattern.consumed + length
  const window = consumed <= SEQUENTIAL_ABOVE ? 0 : Math.min(most, consumed * AHEAD_PER_CONSUMED)
  return { next: Math.max(pattern.next, end), window, streak, consumed }
}
