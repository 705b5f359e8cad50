import type { Urgency } from '../space/space.js'

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
/** BEP 10 `reqq`: what a peer takes that does not say. */
const USUAL_QUEUE = 250
const MOST_IN_FLIGHT = 500
/** The window holds what the peer gives in this long, so that a far peer is kept busy too. */
const WINDOW_SECONDS = 1.5
const SLOW_START_BLOCKS = 4096

/**
 * How many blocks may be in flight to a peer. Grows by one a block at first (as TCP does), later with its speed.
 * @param speed bytes per second. @param given blocks that it has given so far. @param queue its `reqq`.
 */
export function window(speed: number, given: number, queue: number | undefined, blockLength: number): number {
  const most = Math.min(MOST_IN_FLIGHT, queue !== undefined && queue > 0 ? queue : USUAL_QUEUE)
  const bySpeed = Math.max(FIRST_WINDOW, Math.ceil((speed * WINDOW_SECONDS) / blockLength))
  return Math.min(most, given < SLOW_START_BLOCKS ? Math.max(bySpeed, FIRST_WINDOW + given) : bySpeed)
}
