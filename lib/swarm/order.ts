import type { Milliseconds, Urgency } from '../space/space.js'

/** A piece that somebody wants. */
export interface Want {
  readonly index: number
  readonly urgency: Urgency
  /** Counts up: who asked first. */
  readonly asked: number
}

const RANK: Readonly<Record<Urgency, number>> = { read: 0, readahead: 1, fill: 2 }

/** What somebody waits for comes first, then in the order of asking, which for a reader is the order of the bytes. */
export function byUrgency(left: Want, right: Want): number {
  return RANK[left.urgency] - RANK[right.urgency] || left.asked - right.asked
}

/** The more urgent of two. */
export function moreUrgent(left: Urgency, right: Urgency): Urgency {
  return RANK[left] <= RANK[right] ? left : right
}

/** Blocks in flight to a peer that gave nothing yet: enough to fill a local link, little to lose on a slow one. */
const FIRST_WINDOW = 32
/** To a peer whose speed is known, however slow. */
const LEAST_WINDOW = 4
/** BEP 10 `reqq`: what a peer takes that does not say. */
const USUAL_QUEUE = 250
const MOST_IN_FLIGHT = 500
/**
 * The window holds what the peer gives in this long and twice its delay: that keeps a far peer busy, and what is under way when a
 * reader seeks elsewhere, which arrives before what it wants now, does not hold it up.
 */
const WINDOW: Milliseconds = 120
const SLOW_START_BLOCKS = 4096

/** What was seen of a peer. */
export interface Giving {
  /** Bytes per second. */
  readonly speed: number
  /** Blocks that it has given so far. */
  readonly given: number
  /** The shortest time from a request to its block, and that of the last one; undefined before the first. */
  readonly delay: { readonly least: Milliseconds; readonly last: Milliseconds } | undefined
  /** Its `reqq`. */
  readonly queue: number | undefined
}

/**
 * How many blocks may be in flight to a peer. Grows by one a block at first (as TCP does) until blocks come late, which they do
 * when they queue up on the way; later with its speed.
 */
export function window({ speed, given, delay, queue }: Giving, blockLength: number): number {
  const most = Math.min(MOST_IN_FLIGHT, queue !== undefined && queue > 0 ? queue : USUAL_QUEUE)
  if (delay === undefined) return Math.min(most, FIRST_WINDOW)
  const lasts = WINDOW + 2 * delay.least
  const bySpeed = Math.max(LEAST_WINDOW, Math.ceil((speed * lasts) / 1000 / blockLength))
  const growing = given < SLOW_START_BLOCKS && delay.last < 2 * lasts
  return Math.min(most, growing ? Math.max(bySpeed, FIRST_WINDOW + given) : bySpeed)
}
