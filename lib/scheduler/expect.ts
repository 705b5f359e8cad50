import type { Bytes, Milliseconds } from '../space/space.js'
import type { Health } from './health.js'

/** What to expect of sources, as pure functions over what was measured; before that, from git-annex's cost. */

interface Seed {
  readonly latency: Milliseconds
  readonly rate: number
}

/** git-annex gives local paths 100 to 110, ssh and the network 175 and more. */
const LOCAL_BELOW = 150
const LOCAL: Seed = { latency: 2, rate: 200 * 1024 * 1024 }
const REMOTE: Seed = { latency: 80, rate: 8 * 1024 * 1024 }

/** A slow place that nobody asks may have become fast again: what is expected of it doubles in this time. */
const DOUBTED_AFTER: Milliseconds = 10_000
const SLOWEST = 1024

export function seedOf(cost: number): Seed {
  return cost < LOCAL_BELOW ? LOCAL : REMOTE
}

/** Whether anything was measured. */
export function isKnown(health: Health): boolean {
  return health.latency !== undefined
}

export function expectedLatency(health: Health, cost: number): Milliseconds {
  return health.latency ?? seedOf(cost).latency
}

/** Bytes per second. `idle`: how long ago it last brought anything. */
export function expectedRate(health: Health, cost: number, idle: Milliseconds = 0): number {
  const seed = seedOf(cost).rate
  const { rate } = health
  if (rate === undefined) return seed
  if (rate >= seed || !(idle > DOUBTED_AFTER)) return Math.max(rate, SLOWEST)
  return Math.min(seed, Math.max(rate, SLOWEST) * 2 ** (idle / DOUBTED_AFTER))
}

/** Answers come later than this only when something is wrong (as TCP's retransmission timeout, RFC 6298). */
export function lateAfter(health: Health, cost: number): Milliseconds {
  const latency = expectedLatency(health, cost)
  return latency + Math.max(4 * health.deviation, latency / 2, LEAST_GRACE)
}

/** Timers and a busy event loop are no finer than this. */
const LEAST_GRACE: Milliseconds = 30

/** A transfer that is under way, as far as the piece that is waited for. */
export interface Underway {
  /** Since it was asked. */
  readonly elapsed: Milliseconds
  /** Since it last brought anything, or was asked. */
  readonly silent: Milliseconds
  /** Whether any byte has come. */
  readonly answered: boolean
  /** Bytes up to the end of the piece. */
  readonly left: Bytes
  /** Bytes per second, its share of the place's. */
  readonly rate: number
  readonly latency: Milliseconds
  readonly lateAfter: Milliseconds
}

/** What takes longer than it ever did will take as long again. */
export function expectedRemaining(one: Underway): Milliseconds {
  const moving = (one.left * 1000) / one.rate
  if (one.answered) return one.silent > one.lateAfter ? moving + one.silent : moving
  return one.elapsed > one.lateAfter ? moving + one.elapsed : moving + Math.max(0, one.latency - one.elapsed)
}

export function isLate(one: Underway): boolean {
  return one.silent > one.lateAfter
}
