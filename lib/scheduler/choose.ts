import type { Bytes, Milliseconds, PieceSpace, Urgency } from '../space/space.js'
import { pieceCount, pieceRange } from '../space/space.js'
import type { Holding } from '../sources/source.js'
import type { Health } from './health.js'

/** The decisions of the scheduler, as pure functions over what it knows. */

export const URGENCY_ORDER: Readonly<Record<Urgency, number>> = { read: 0, readahead: 1, fill: 2 }

export interface Candidate {
  readonly cost: number
  readonly health: Health
  readonly holding: Holding
  /** Transfers running now. */
  readonly active: number
}

export interface Wanted {
  readonly index: number
  readonly urgency: Urgency
}

/** The most urgent piece; among equals the first in the file, so that neighbours can be joined. */
export function mostUrgent<W extends Wanted>(wanted: Iterable<W>): W | undefined {
  let best: W | undefined
  for (const one of wanted) {
    if (best === undefined || moreUrgent(one, best)) best = one
  }
  return best
}

function moreUrgent(a: Wanted, b: Wanted): boolean {
  const order = URGENCY_ORDER[a.urgency] - URGENCY_ORDER[b.urgency]
  return order === 0 ? a.index < b.index : order < 0
}

/** A waiting read may use this many transfers above what a source takes gladly, so that readahead never blocks it. */
const EXTRA_FOR_READS = 2

/**
 * The best candidate to ask now, or undefined when all are busy. Rested before resting, then cheaper before dearer, then
 * less busy, then faster.
 */
export function bestCandidate<C extends Candidate>(
  candidates: readonly C[],
  urgency: Urgency,
  now: Milliseconds,
): C | undefined {
  let best: C | undefined
  for (const one of candidates) {
    const room = one.holding.parallel + (urgency === 'read' ? EXTRA_FOR_READS : 0)
    if (one.active >= room) continue
    if (best === undefined || compare(one, best, now) < 0) best = one
  }
  return best
}

function compare(a: Candidate, b: Candidate, now: Milliseconds): number {
  const resting = Number(a.health.restsUntil > now) - Number(b.health.restsUntil > now)
  if (resting !== 0) return resting
  if (a.cost !== b.cost) return a.cost - b.cost
  const busy = a.active / a.holding.parallel - b.active / b.holding.parallel
  if (busy !== 0) return busy
  return (b.health.rate ?? Infinity) - (a.health.rate ?? Infinity)
}

/** A request should last about this long, so that a seek or a better source is never far away. */
const RUN_LASTS: Milliseconds = 250
/** The first request to a source of unknown speed. */
const FIRST_RUN: Bytes = 1024 * 1024

/** How many bytes to ask of a source in one request: what it delivers in a quarter of a second, within its limits. */
export function runBytes(holding: Holding, health: Health): Bytes {
  const measured = health.rate === undefined ? FIRST_RUN : (health.rate * RUN_LASTS) / 1000
  return Math.max(holding.unit, Math.min(holding.longest, measured))
}

/**
 * The pieces to ask for in one request, starting with `first`: its right neighbours as long as `wants` says that they
 * are wanted and the holding has them, up to `bytes` in all (`first` itself always).
 */
export function runFrom(
  space: PieceSpace,
  first: number,
  wants: (index: number) => boolean,
  holding: Holding,
  bytes: Bytes,
): number[] {
  const run = [first]
  const start = pieceRange(space, first).start
  const count = pieceCount(space)
  for (let index = first + 1; index < count; index++) {
    const range = pieceRange(space, index)
    if (range.end - start > bytes || !wants(index) || !holding.has(range)) break
    run.push(index)
  }
  return run
}
