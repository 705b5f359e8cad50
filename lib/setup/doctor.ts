import type { CheckResult } from './checks.js'
import { CHECKS } from './checks.js'
import { reasonOf } from '../errors.js'

export type DoctorItem = CheckResult & {
  readonly name: string
  /** False: annexfs works without it. */
  readonly needed: boolean
}

export interface DoctorReport {
  /** Nothing that annexfs needs is missing; optional things may be. */
  readonly ok: boolean
  readonly items: readonly DoctorItem[]
}

/** Looks at everything outside of annexfs that it needs. Changes nothing, needs no root, takes a few seconds at most. */
export async function runDoctor(): Promise<DoctorReport> {
  const items = await Promise.all(
    CHECKS.map(async ({ name, check, needed }): Promise<DoctorItem> => {
      try {
        return { ...(await check()), name, needed }
      } catch (error) {
        return { name, needed, ok: false, found: `the check itself failed: ${reasonOf(error)}` }
      }
    }),
  )
  return { ok: items.every((item) => item.ok || !item.needed), items }
}
