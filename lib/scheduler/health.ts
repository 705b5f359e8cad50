import type { Bytes, Milliseconds } from '../space/space.js'

/** What was measured of one source; pure values, replaced on each event. */
export interface Health {
  /** Time to the first byte, smoothed; undefined before the first answer. */
  readonly latency: Milliseconds | undefined
  /** Bytes per second while a transfer runs, smoothed; undefined before the first transfer. */
  readonly rate: number | undefined
  /** Failures since the last success. */
  readonly failures: number
  /** Not asked again before this time, unless nobody else is left. */
  readonly restsUntil: Milliseconds
}

export const NEW_HEALTH: Health = { latency: undefined, rate: undefined, failures: 0, restsUntil: 0 }

/** Weight of the newest sample: reacts within a handful of transfers, and does not jump at a single one. */
const NEWEST = 0.3
const FIRST_REST: Milliseconds = 500
const LONGEST_REST: Milliseconds = 30_000
/** Transfers shorter than this say more about latency than about rate. */
const RATE_NEEDS: Bytes = 64 * 1024

export function afterFirstByte(health: Health, latency: Milliseconds): Health {
  return { ...health, latency: smooth(health.latency, latency) }
}

export function afterSuccess(health: Health, bytes: Bytes, duration: Milliseconds): Health {
  const rate = bytes < RATE_NEEDS ? health.rate : smooth(health.rate, (bytes * 1000) / Math.max(duration, 0.5))
  return { ...health, rate, failures: 0, restsUntil: 0 }
}

/** Backs off exponentially: 0.5 s, 1 s, 2 s … 30 s. */
export function afterFailure(health: Health, now: Milliseconds): Health {
  const failures = health.failures + 1
  return { ...health, failures, restsUntil: now + Math.min(LONGEST_REST, FIRST_REST * 2 ** (failures - 1)) }
}

function smooth(old: number | undefined, sample: number): number {
  return old === undefined ? sample : old * (1 - NEWEST) + sample * NEWEST
}
