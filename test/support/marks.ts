import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'

export interface Bounds {
  /** What the goal sheet, or the test's own name, asks for; on an idle machine of today. */
  readonly mark: number
  /**
   * What only the defect can cross (a hang, a deadline that should not have been waited for, a quadratic algorithm),
   * and no machine for being slow: it may be five times slower than an idle one, and stall for seconds.
   */
  readonly alarm: number
  /** Default: milliseconds. */
  readonly unit?: string
}

/** For a machine that is known and idle: with `ANNEXFS_MARKS=strict` whoever misses a mark fails. */
const STRICT = process.env['ANNEXFS_MARKS'] === 'strict'

/**
 * Prints what was measured beside its mark, e.g. `gone after 1530 ms (mark 1000 ms: missed on this machine)`.
 * @throws AssertionError past the alarm; past the mark with `ANNEXFS_MARKS=strict`.
 */
export function measured(t: Pick<TestContext, 'diagnostic'>, what: string, value: number, bounds: Bounds): void {
  const { mark, alarm, unit = 'ms' } = bounds
  const figure = `${what} ${Math.round(value)} ${unit}`
  t.diagnostic(`${figure} (mark ${Math.round(mark)} ${unit}${value <= mark ? '' : ': missed on this machine'})`)
  if (STRICT) assert.ok(value <= mark, `${figure}, more than the mark of ${Math.round(mark)} ${unit}`)
  assert.ok(value <= alarm, `${figure}: more than a slow machine explains (${Math.round(alarm)} ${unit})`)
}
