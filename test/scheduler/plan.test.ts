import assert from 'node:assert/strict'
import { test } from 'node:test'
import { plan, soonest, type Offer, type Wish } from '../../lib/scheduler/plan.js'
import type { Urgency } from '../../lib/space/space.js'

const KIB = 1024
const MIB = 1024 * KIB
const PIECE = 128 * KIB

interface Named extends Offer {
  readonly name: string
}

function offer(name: string, own: Partial<Offer> = {}): Named {
  return {
    name,
    cost: 200,
    whole: false,
    resting: false,
    known: true,
    latency: 10,
    rate: 8 * MIB,
    outstanding: 0,
    active: 0,
    parallel: 4,
    unit: 64 * KIB,
    run: MIB,
    served: 0,
    ...own,
  }
}

function wish(index: number, urgency: Urgency, able: readonly Named[], joins = true): Wish<Named> {
  return { index, urgency, size: PIECE, able, joins: () => joins }
}

const local = (own: Partial<Offer> = {}): Named => offer('local', { cost: 100, latency: 1, rate: 400 * MIB, ...own })

test('who is asked for one piece, as a table', () => {
  const rows: readonly (readonly [string, Urgency, readonly Named[], string | undefined])[] = [
    ['the cheap one while it is fast enough', 'read', [offer('web', { latency: 0 }), local()], 'local'],
    ['the dear one when the cheap one takes far too long', 'read', [offer('web'), local({ rate: 100 * KIB })], 'web'],
    ['the cheap one when the dear one is not much faster', 'read', [offer('web'), local({ rate: 600 * KIB })], 'local'],
    [
      'never one that is far dearer',
      'read',
      [offer('far', { cost: 100_200 }), offer('web', { rate: 20 * KIB })],
      'web',
    ],
    ['one that is far dearer when nobody else has it', 'read', [offer('far', { cost: 100_200 })], 'far'],
    ['no whole transfer for a piece', 'read', [offer('whole', { whole: true, cost: 100 }), offer('web')], 'web'],
    ['a whole transfer when nobody else has it', 'read', [offer('whole', { whole: true })], 'whole'],
    ['not one that rests', 'read', [local({ resting: true }), offer('web')], 'web'],
    ['one that rests when there is no other', 'read', [local({ resting: true })], 'local'],
    ['the faster of alike ones', 'read', [offer('slow', { latency: 200 }), offer('fast')], 'fast'],
    ['the one that has done less of equals', 'read', [offer('a', { served: 5 }), offer('b', { served: 4 })], 'b'],
    ['the known one for a waiting read', 'read', [offer('new', { known: false, latency: 1 }), offer('known')], 'known'],
    [
      'an unknown one ahead, when it promises more',
      'readahead',
      [offer('new', { known: false }), offer('busy', { outstanding: 4 * MIB })],
      'new',
    ],
    ['none when all are busy', 'readahead', [offer('a', { active: 4, outstanding: MIB })], undefined],
    ['a busy one for a waiting read', 'read', [offer('a', { active: 4, outstanding: MIB })], 'a'],
    ['none even for a read when it is far too busy', 'read', [offer('a', { active: 6 })], undefined],
    [
      'a slow one only if it brings the piece first',
      'readahead',
      [offer('slow', { rate: 100 * KIB }), offer('fast', { active: 1, outstanding: MIB / 2 })],
      'fast',
    ],
    [
      'nobody instead of the slow one while the fast one is busy for a moment',
      'readahead',
      [offer('slow', { rate: 100 * KIB }), offer('fast', { active: 4, outstanding: 4 * MIB })],
      undefined,
    ],
  ]
  for (const [what, urgency, able, expected] of rows) {
    assert.equal(plan([wish(3, urgency, able)])[0]?.offer.name, expected, what)
  }
})

test('pieces read ahead are spread in proportion to the rates, in runs', () => {
  const able = [offer('a'), offer('b'), offer('c', { rate: 2 * MIB, run: MIB / 4 })]
  const starts = plan(Array.from({ length: 128 }, (_, index) => wish(index, 'readahead', able)))
  const pieces = new Map<string, number>()
  for (const { offer: one, run } of starts) pieces.set(one.name, (pieces.get(one.name) ?? 0) + run.length)
  const [a = 0, b = 0, c = 0] = ['a', 'b', 'c'].map((name) => pieces.get(name))
  assert.ok(Math.abs(a - b) <= 8 && a >= 8, `${a} and ${b}`)
  assert.ok(c >= 1 && c <= 4, String(c))
  assert.ok(starts.every(({ run }) => run.every((index, i) => index === (run[0] ?? 0) + i)))
  assert.ok(starts.filter(({ offer: one }) => one.name === 'a').every(({ run }) => run.length > 3))
})

test('pieces that somebody waits for are fetched side by side from equal sources', () => {
  const able = ['a', 'b', 'c', 'd'].map((name) => offer(name, { rate: MIB }))
  const starts = plan(Array.from({ length: 4 }, (_, index) => wish(index, 'read', able)))
  assert.deepEqual(new Set(starts.map((one) => one.offer.name)).size, 4)
})

test('neighbours are joined until one is not wanted, not there, or too many', () => {
  const a = offer('a', { run: 3 * PIECE })
  const runs = (wishes: readonly Wish<Named>[]): (readonly number[])[] => plan(wishes).map((one) => one.run)
  const many = (indexes: readonly number[]): Wish<Named>[] => indexes.map((index) => wish(index, 'readahead', [a]))
  assert.deepEqual(runs(many([2, 3, 4, 5]))[0], [2, 3, 4])
  assert.deepEqual(runs(many([2, 3, 5]))[0], [2, 3])
  assert.deepEqual(runs([...many([2, 3]), wish(4, 'readahead', [])])[0], [2, 3])
  assert.deepEqual(runs([...many([2, 3]), wish(4, 'readahead', [a], false)])[0], [2, 3])
})

test('who has waited for a busy cheap source is served by a dearer one, known or not', () => {
  const shelf = local({ active: 4, parallel: 2 })
  for (const known of [true, false]) {
    const able = [shelf, offer('web', { known })]
    for (const [waited, expected] of [
      [0, undefined],
      [200, undefined],
      [300, 'web'],
    ] as const) {
      assert.equal(plan([{ ...wish(3, 'read', able), waited }])[0]?.offer.name, expected, `${waited} ms`)
    }
  }
  assert.equal(plan([{ ...wish(3, 'read', [local(), offer('web')]), waited: 100 }])[0]?.offer.name, 'local')
})

test('what asking somebody else would take is known beforehand', () => {
  const found = soonest(wish(0, 'read', [offer('a', { latency: 20 })]))
  assert.equal(found?.offer.name, 'a')
  assert.ok(Math.abs((found?.finish ?? 0) - (20 + 1000 / 64)) < 0.01)
  assert.equal(soonest(wish(0, 'read', [])), undefined)
})
