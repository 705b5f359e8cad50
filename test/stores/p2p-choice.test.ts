import assert from 'node:assert/strict'
import { test } from 'node:test'
import { chooseConnection, worthDraining, type Candidate } from '../../lib/stores/p2p-choice.js'

const MIB = 1024 * 1024
const COSTS = { reopening: 100, rate: 1000 }
const sending = (at: number, end = 50 * MIB, key = 'K'): NonNullable<Candidate['sending']> => ({ key, at, end })
const wish = { key: 'K', start: 10 * MIB, size: 50 * MIB }

test('the connection for a read is the one that is soonest there', () => {
  const standing = { busy: false, used: 1, sending: sending(10 * MIB) }
  const near = { busy: false, used: 2, sending: sending(10 * MIB - 50_000) }
  const far = { busy: false, used: 3, sending: sending(1 * MIB) }
  const past = { busy: false, used: 4, sending: sending(11 * MIB) }
  const free = { busy: false, used: 5 }
  const short = { busy: false, used: 6, sending: sending(49_000, 50_000, 'L') }
  const comes = { busy: true, used: 7, until: 10 * MIB, sending: sending(9 * MIB) }
  const taken = { busy: true, used: 8, until: 20 * MIB, sending: sending(10 * MIB) }
  const otherSize = { busy: false, used: 9, sending: sending(10 * MIB, 2 ** 52) }
  const choose = (candidates: readonly Candidate[], most = 4, follow = true): unknown =>
    chooseConnection(candidates, wish, COSTS, most, follow)
  assert.deepEqual(choose([free, near, comes, standing]), { how: 'use', index: 3, skip: 0 })
  assert.deepEqual(choose([free, near, comes]), { how: 'wait', follows: true })
  assert.deepEqual(choose([free, near, comes], 4, false), { how: 'use', index: 1, skip: 50_000 })
  assert.deepEqual(choose([far, past, short, free]), { how: 'use', index: 3, skip: 0 })
  assert.deepEqual(choose([far, past, short]), { how: 'use', index: 2, skip: 1_000 })
  assert.deepEqual(choose([far, past]), { how: 'open' })
  assert.deepEqual(choose([far, past, taken], 3), { how: 'replace', index: 0 })
  assert.deepEqual(choose([taken], 1), { how: 'wait', follows: false })
  assert.deepEqual(choose([otherSize], 1), { how: 'replace', index: 0 })
  assert.deepEqual(choose([]), { how: 'open' })
})

test('a question goes to a connection without anything under way, and disturbs no read if it can', () => {
  const reading = { busy: false, used: 1, sending: sending(10 * MIB) }
  assert.deepEqual(chooseConnection([reading, { busy: false, used: 2 }], undefined, COSTS, 4), {
    how: 'use',
    index: 1,
    skip: 0,
  })
  assert.deepEqual(chooseConnection([reading], undefined, COSTS, 4), { how: 'open' })
  assert.deepEqual(chooseConnection([reading], undefined, COSTS, 1), { how: 'replace', index: 0 })
})

test('a rest is drained when that is quicker than to connect anew, and never much', () => {
  assert.ok(worthDraining(100_000, COSTS))
  assert.ok(!worthDraining(100_001, COSTS))
  assert.ok(!worthDraining(17 * MIB, { reopening: 60_000, rate: 1_000_000 }))
})
