import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'

/** Milliseconds. */
export interface Bounds {
  /** What the goal sheet, or the text of the test, asks for on an idle machine. */
  readonly mark: number
  /**
   * What only the defect can take (a hang, the deadline that should not have been waited for, an algorithm that is
   * quadratic), and no machine, however slow: it may be five times slower than an idle one, and stall for seconds.
   */
  readonly alarm: number
}

/** With `ANNEXFS_MARKS=strict`, for a machine that is known and idle, who misses a mark fails. */
const STRICT = process.env['ANNEXFS_MARKS'] === 'strict'

/**
 * Prints what was measured beside its mark, e.g. `gone after 1530 ms (mark 1000 ms: missed on this machine)`.
 * @throws AssertionError past the alarm; with `ANNEXFS_MARKS=strict` past the mark.
 */
export function measured(t: Pick<TestContext, 'diagnostic'>, what: string, took: number, bounds: Bounds): void {
  const { mark, alarm } = bounds
  const figure = `${what} ${took.toFixed(0)} ms`
  t.diagnostic(`${figure} (mark ${mark} ms${took <= mark ? '' : ': missed on this machine'})`)
  const most = STRICT ? mark : alarm
  assert.ok(
    took <= most,
    `${figure}, ${STRICT ? 'past the mark of' : 'which no slow machine explains: more than'} ${most} ms`,
  )
}
