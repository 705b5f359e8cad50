import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnnexfsError } from '../../lib/errors.js'
import { BackOff } from '../../lib/stores/back-off.js'

/** For how long tries end at once after each of some failures, in milliseconds. */
function pauses(error: AnnexfsError, times: number): number[] {
  let now = 0
  const backOff = new BackOff(() => now)
  return Array.from({ length: times }, () => {
    backOff.failed(error)
    const since = now
    for (;;) {
      try {
        backOff.check()
        return now - since
      } catch (thrown) {
        assert.equal(thrown, error)
        now += 250
      }
    }
  })
}

test('a host that cannot be reached is tried again soon, then every 5 s', () => {
  const error = new AnnexfsError('UNAVAILABLE', 'connection refused')
  assert.deepEqual(pauses(error, 7), [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000])
})

test('a host that refuses us is left alone for 10 s, and longer each time', () => {
  const error = new AnnexfsError('UNAVAILABLE', 'no key was accepted', { lasting: true })
  assert.deepEqual(pauses(error, 6), [10_000, 20_000, 40_000, 80_000, 120_000, 120_000])
})

test('after a success the first failure counts as the first', () => {
  let now = 0
  const backOff = new BackOff(() => now)
  const error = new AnnexfsError('UNAVAILABLE', 'connection refused')
  for (let times = 0; times < 5; times++) backOff.failed(error)
  backOff.succeeded()
  backOff.check()
  backOff.failed(error)
  assert.throws(() => backOff.check(), error)
  now += 250
  backOff.check()
})
