import type { OriginStatus, Snapshot } from '../../status/snapshot.js'

/**
 * What is new in a {@link Snapshot} since the one before: `now`, and every other member that is not the same; null for one
 * that is gone. Histories are nearly all of a snapshot and move by a value a second, so of them only the end is told.
 */
export type Change = { readonly [K in Exclude<keyof Snapshot, 'origins'>]?: Snapshot[K] | null } & {
  readonly origins?: readonly OriginChange[]
}

/** `history` is `[drop, keep, added]`: what was, without its first `drop` values, the next `keep`, then `added`. */
export type OriginChange = Omit<OriginStatus, 'history'> & {
  readonly history: readonly [drop: number, keep: number, added: readonly number[]]
}

/** A history may have moved by this many values since the last look. */
const MOST_SHIFT = 5

/** @returns what turns `before` into `after`, see `browser/change.mts`. */
export function changeBetween(before: Snapshot, after: Snapshot): Change {
  const change: Record<string, unknown> = { now: after.now }
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof Snapshot>) {
    if (JSON.stringify(before[key]) === JSON.stringify(after[key])) continue
    change[key] = key === 'origins' ? originChanges(before.origins, after.origins) : (after[key] ?? null)
  }
  return change
}

function originChanges(before: readonly OriginStatus[], after: readonly OriginStatus[]): OriginChange[] {
  const known = new Map(before.map((origin) => [origin.name, origin.history]))
  return after.map((origin) => ({ ...origin, history: historyChange(known.get(origin.name) ?? [], origin.history) }))
}

function historyChange(before: readonly number[], after: readonly number[]): OriginChange['history'] {
  let best = { drop: 0, keep: 0 }
  for (let drop = 0; drop <= Math.min(MOST_SHIFT, before.length); drop++) {
    let keep = 0
    while (drop + keep < before.length && keep < after.length && before[drop + keep] === after[keep]) keep++
    if (keep > best.keep) best = { drop, keep }
  }
  return [best.drop, best.keep, after.slice(best.keep)]
}
