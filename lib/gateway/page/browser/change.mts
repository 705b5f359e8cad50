import type { Snapshot } from '../../../status/snapshot.js'
import type { Change } from '../delta.js'

/** The snapshot that `change` makes of the one before. */
export function changed(before: Snapshot, change: Change): Snapshot {
  const { origins, ...rest } = change
  const known = new Map(before.origins.map((origin) => [origin.name, origin.history]))
  const merged = {
    ...before,
    ...rest,
    origins:
      origins?.map((origin) => {
        const [drop, keep, added] = origin.history
        return { ...origin, history: [...(known.get(origin.name) ?? []).slice(drop, drop + keep), ...added] }
      }) ?? before.origins,
  }
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== null)) as unknown as Snapshot
}
