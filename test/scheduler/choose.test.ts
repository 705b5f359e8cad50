import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bestCandidate, mostUrgent, runBytes, runFrom, type Candidate } from '../../lib/scheduler/choose.js'
import { afterFailure, afterSuccess, NEW_HEALTH, type Health } from '../../lib/scheduler/health.js'
import type { Holding } from '../../lib/sources/source.js'
import type { SpaceId } from '../../lib/space/space.js'

const MIB = 1024 * 1024
const holding: Holding = {
  unit: 65_536,
  longest: 8 * MIB,
  parallel: 2,
  has: () => true,
  read: () => {
    throw new Error('not read here')
  },
}

function candidate(cost: number, active = 0, health: Health = NEW_HEALTH): Candidate & { readonly label: string } {
  return { cost, active, health, holding, label: `${cost}/${active}` }
}

test('a waiting read goes before readahead, readahead before filling, then in file order', () => {
  const wanted = [
    { index: 1, urgency: 'fill' },
    { index: 9, urgency: 'read' },
    { index: 2, urgency: 'readahead' },
    { index: 7, urgency: 'read' },
  ] as const
  assert.equal(mostUrgent(wanted)?.index, 7)
  assert.equal(mostUrgent(wanted.filter((one) => one.urgency !== 'read'))?.index, 2)
  assert.equal(mostUrgent([]), undefined)
})

test('the choice of a source, as a table', () => {
  const resting = afterFailure(NEW_HEALTH, 1000)
  const fast = afterSuccess(NEW_HEALTH, 10 * MIB, 100)
  const slow = afterSuccess(NEW_HEALTH, MIB, 1000)
  const rows: readonly (readonly [string, readonly Candidate[], 'read' | 'readahead', number | undefined])[] = [
    ['the cheapest', [candidate(200), candidate(100)], 'read', 1],
    ['not one that rests while another does not', [candidate(100, 0, resting), candidate(200)], 'read', 1],
    ['a resting one when there is no other', [candidate(100, 0, resting)], 'read', 0],
    ['the less busy of equals', [candidate(200, 1), candidate(200, 0)], 'readahead', 1],
    ['the faster of equals', [candidate(200, 0, slow), candidate(200, 0, fast)], 'readahead', 1],
    ['none when all are busy', [candidate(200, 2)], 'readahead', undefined],
    ['a busy one for a waiting read', [candidate(200, 2)], 'read', 0],
    ['none even for a read when it is far too busy', [candidate(200, 4)], 'read', undefined],
  ]
  for (const [what, candidates, urgency, expected] of rows) {
    const chosen = bestCandidate(candidates, urgency, 1001)
    assert.equal(chosen === undefined ? undefined : candidates.indexOf(chosen), expected, what)
  }
})

test('requests grow with what a source delivers in a quarter of a second, within its limits', () => {
  assert.equal(runBytes(holding, NEW_HEALTH), MIB)
  assert.equal(runBytes(holding, afterSuccess(NEW_HEALTH, 400 * MIB, 1000)), 8 * MIB)
  assert.equal(runBytes(holding, afterSuccess(NEW_HEALTH, 100_000, 1000)), 65_536)
})

test('neighbours are joined until one is not wanted, not there, or too many', () => {
  const space = { id: 'key:x' as SpaceId, length: 1000, pieceLength: 100 }
  const all = (): boolean => true
  assert.deepEqual(runFrom(space, 2, all, holding, 350), [2, 3, 4])
  assert.deepEqual(
    runFrom(space, 2, (index) => index !== 4, holding, 1000),
    [2, 3],
  )
  assert.deepEqual(runFrom(space, 8, all, holding, 1000), [8, 9])
  assert.deepEqual(runFrom(space, 5, all, holding, 1), [5])
  assert.deepEqual(runFrom(space, 2, all, { ...holding, has: (range) => range.end <= 400 }, 1000), [2, 3])
})

test('failures make a source rest ever longer, a success ends that', () => {
  let health: Health = NEW_HEALTH
  const rests: number[] = []
  for (let i = 0; i < 9; i++) {
    health = afterFailure(health, 0)
    rests.push(health.restsUntil)
  }
  assert.deepEqual(rests, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000])
  assert.equal(afterSuccess(health, 1, 1).restsUntil, 0)
})
