import type { Bytes, Milliseconds, Urgency } from '../space/space.js'
import type { Holding } from '../sources/source.js'
import type { Health } from './health.js'

/** What goes first, and how much is asked for at once. */

export const URGENCY_ORDER: Readonly<Record<Urgency, number>> = { read: 0, readahead: 1, fill: 2 }

export interface Wanted {
  readonly index: number
  readonly urgency: Urgency
}

/** Most urgent first; among equals in the order of the file, so that neighbours can be joined. */
export function byUrgency(a: Wanted, b: Wanted): number {
  return URGENCY_ORDER[a.urgency] - URGENCY_ORDER[b.urgency] || a.index - b.index
}

/** A request should last about this long, so that a seek or a better source is never far away. */
const RUN_LASTS: Milliseconds = 250
/** Where several sources share the work, so that one that gets slow holds little. */
const SHARED_RUN_LASTS: Milliseconds = 125
/** The first request to a source of unknown speed. */
const FIRST_RUN: Bytes = 1024 * 1024
const FIRST_SHARED_RUN: Bytes = 512 * 1024

/** How many bytes to ask of a source in one request: what it delivers in a quarter of a second, within its limits. */
export function runBytes(holding: Pick<Holding, 'unit' | 'longest'>, health: Health, alone = true): Bytes {
  const lasts = alone ? RUN_LASTS : SHARED_RUN_LASTS
  const first = alone ? FIRST_RUN : FIRST_SHARED_RUN
  const measured = health.rate === undefined ? first : (health.rate * lasts) / 1000
  return Math.max(holding.unit, Math.min(holding.longest, measured))
}
