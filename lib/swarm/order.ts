import type { Urgency } from '../space/space.js'

/** A piece that somebody wants. */
export interface Want {
  readonly index: number
  readonly urgency: Urgency
  /** Counts up: who asked first. */
  readonly asked: number
  /** When it was asked for, nobody waited for anything else: it is not put off for what was asked for in advance. */
  readonly hurry?: boolean
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
