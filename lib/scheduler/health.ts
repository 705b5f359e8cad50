import type { Bytes, Milliseconds } from '../space/space.js'

/** What failures have come to; a pure value, replaced on each event. */
export interface Rest {
  /** Failures since the last success. */
  readonly failures: number
  /** Not asked again before this time (`performance.now()`), unless nobody else is left. */
  readonly restsUntil: Milliseconds
}

/** What was measured of one place; pure values, replaced on each event. */
export interface Health extends Rest {
  /** Time to the first byte, smoothed; undefined before the first answer. */
  readonly latency: Milliseconds | undefined
  /** How far single answers were from that, smoothed. */
  readonly deviation: Milliseconds
  /** Bytes per second while anything is under way, all transfers together, smoothed; undefined before it was measured. */
  readonly rate: number | undefined
}

export const NO_FAILURES: Rest = { failures: 0, restsUntil: 0 }
export const NEW_HEALTH: Health = { latency: undefined, deviation: 0, rate: undefined, ...NO_FAILURES }

/** Weight of the newest sample: reacts within a handful of transfers, and does not jump at a single one. */
const NEWEST = 0.3
/** What a rate is made of: a source that slows down shows after about this long. */
const RATE_MEMORY: Milliseconds = 400
const FIRST_REST: Milliseconds = 500
const LONGEST_REST: Milliseconds = 30_000
/** Transfers shorter than this say more about latency than about rate. */
const RATE_NEEDS: Bytes = 64 * 1024

export function afterFirstByte(health: Health, latency: Milliseconds): Health {
  const { latency: old } = health
  const off = old === undefined ? latency / 2 : Math.abs(latency - old)
  const deviation = old === undefined ? off : smooth(health.deviation, off, NEWEST)
  return { ...health, latency: smooth(old, latency, NEWEST), deviation }
}

/**
 * A request that was given up had brought nothing after `silence`: an answer takes at least so long. Of a place that has
 * never answered that is not enough to know it.
 */
export function afterSilence(health: Health, silence: Milliseconds): Health {
  return silence > (health.latency ?? Infinity) ? afterFirstByte(health, silence) : health
}

/** `bytes` came in `duration`, during all of which something was under way. */
export function afterBytes(health: Health, bytes: Bytes, duration: Milliseconds): Health {
  const sample = (bytes * 1000) / Math.max(duration, 0.5)
  const weight = Math.max(NEWEST, 1 - Math.exp(-duration / RATE_MEMORY))
  return { ...health, rate: smooth(health.rate, sample, weight) }
}

export function afterSuccess(health: Health, bytes: Bytes, duration: Milliseconds): Health {
  return { ...(bytes < RATE_NEEDS ? health : afterBytes(health, bytes, duration)), ...NO_FAILURES }
}

/** Backs off exponentially: 0.5 s, 1 s, 2 s … 30 s. */
export function afterFailure<R extends Rest>(rest: R, now: Milliseconds): R {
  const failures = rest.failures + 1
  return { ...rest, failures, restsUntil: now + Math.min(LONGEST_REST, FIRST_REST * 2 ** (failures - 1)) }
}

function smooth(old: number | undefined, sample: number, weight: number): number {
  return old === undefined ? sample : old * (1 - weight) + sample * weight
}
