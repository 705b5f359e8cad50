import assert from 'node:assert/strict'
import { test } from 'node:test'
import { expectedRate, expectedRemaining, isLate, lateAfter, type Underway } from '../../lib/scheduler/expect.js'
import { afterBytes, afterFirstByte, NEW_HEALTH } from '../../lib/scheduler/health.js'
import { Places } from '../../lib/scheduler/places.js'
import { split } from '../../lib/scheduler/split.js'
import { cutAt } from '../../lib/scheduler/steal.js'
import { WasteBudget } from '../../lib/scheduler/waste.js'

const KIB = 1024
const MIB = 1024 * KIB

test('where a slow run is cut for an idle source, as a table', () => {
  const sizes = Array.from({ length: 8 }, () => 128 * KIB)
  const rows: readonly (readonly [string, Partial<Parameters<typeof cutAt>[0]>, number | undefined])[] = [
    ['in halves between equals', { rate: MIB, idleRate: MIB }, 4],
    ['the slow one keeps what it has begun', { rate: 100 * KIB, idleRate: 8 * MIB }, 1],
    [
      'nothing when the idle one is no faster in the end',
      { rate: 8 * MIB, idleRate: 8 * MIB, idleLatency: 200 },
      undefined,
    ],
    ['nothing when hardly anything is gained', { rate: 50 * MIB, idleRate: 50 * MIB }, undefined],
    ['all but the first of one that is silent', { rate: 8 * MIB, wait: 2000, idleRate: MIB }, undefined],
    ['a single piece is not cut', { sizes: [128 * KIB], rate: KIB, idleRate: MIB }, undefined],
  ]
  for (const [what, own, expected] of rows) {
    assert.equal(cutAt({ sizes, rate: MIB, wait: 0, idleLatency: 5, idleRate: MIB, ...own }), expected, what)
  }
})

test('a piece is split in parts that end together, each long enough, or not at all', () => {
  const range = { start: 4 * MIB, end: 5 * MIB }
  const helper = (rate: number, latency = 5): { rate: number; latency: number; unit: number } => ({
    rate,
    latency,
    unit: 64 * KIB,
  })
  const parts = split(range, [helper(8 * MIB), helper(8 * MIB), helper(4 * MIB)])
  assert.deepEqual(
    parts?.map((one) => one.range.end - one.range.start).reduce((a, b) => a + b, 0),
    MIB,
  )
  assert.equal(parts?.[0]?.range.start, range.start)
  assert.equal(parts?.at(-1)?.range.end, range.end)
  for (const [i, part] of (parts ?? []).entries()) {
    assert.equal(part.range.start, parts?.[i - 1]?.range.end ?? range.start)
    assert.ok(part.range.end - part.range.start >= 64 * KIB)
  }
  assert.equal(split(range, [helper(8 * MIB)]), undefined, 'one source')
  assert.equal(split(range, [helper(400 * MIB, 1), helper(400 * MIB, 1)]), undefined, 'too fast to be worth it')
  assert.equal(split(range, [helper(8 * MIB), helper(100 * KIB)]), undefined, 'a slow helper')
  assert.equal(split(range, [helper(8 * MIB, 5), helper(8 * MIB, 300)]), undefined, 'a far helper')
  assert.equal(split({ start: 0, end: 100 * KIB }, [helper(MIB), helper(MIB)]), undefined, 'a small piece')
})

test('what a transfer will still take, as a table', () => {
  const usual: Underway = { elapsed: 0, silent: 0, answered: false, left: MIB, rate: MIB, latency: 20, lateAfter: 50 }
  const rows: readonly (readonly [string, Partial<Underway>, number])[] = [
    ['just asked', {}, 1020],
    ['asked a moment ago', { elapsed: 10, silent: 10 }, 1010],
    ['late: as long again', { elapsed: 500, silent: 500 }, 1500],
    ['under way', { answered: true, left: MIB / 2 }, 500],
    ['fallen silent', { answered: true, left: MIB / 2, silent: 300 }, 800],
  ]
  for (const [what, own, expected] of rows) assert.equal(expectedRemaining({ ...usual, ...own }), expected, what)
  assert.ok(!isLate(usual))
  assert.ok(isLate({ ...usual, silent: 51 }))
})

test('a steady source is late sooner than an unsteady one', () => {
  let steady = NEW_HEALTH
  let unsteady = NEW_HEALTH
  for (let i = 0; i < 20; i++) {
    steady = afterFirstByte(steady, 100)
    unsteady = afterFirstByte(unsteady, i % 2 === 0 ? 20 : 180)
  }
  assert.ok(lateAfter(steady, 200) < 160)
  assert.ok(lateAfter(unsteady, 200) > 300)
})

test('a slow source that was left alone is tried again after a while', () => {
  const slow = afterBytes(NEW_HEALTH, 100 * KIB, 1000)
  assert.equal(expectedRate(slow, 200), 100 * KIB)
  assert.equal(expectedRate(slow, 200, 5_000), 100 * KIB)
  assert.ok(expectedRate(slow, 200, 60_000) > 4 * MIB)
})

test('what is wasted stays below a small constant and a share of what was fetched', () => {
  const waste = new WasteBudget()
  let wasted = 0
  for (let i = 0; i < 10_000; i++) {
    waste.fetched(10 * KIB)
    if (!waste.allows(128 * KIB)) continue
    waste.spend(128 * KIB)
    wasted += 128 * KIB
  }
  assert.ok(wasted <= 2 * MIB + 0.05 * 10_000 * 10 * KIB, String(wasted))
})

test('sources of one place share what was measured; a place that fails for everybody rests, one that misses something does not', () => {
  const places = new Places()
  const a = places.of({ name: 'web (http://host/a)', place: 'http://host' })
  assert.equal(places.of({ name: 'web (http://host/b)', place: 'http://host' }), a)
  assert.notEqual(places.of({ name: 'http://other' }), a)
  a.failed(1000)
  assert.ok(!a.rests(1001))
  a.failed(1000)
  a.failed(1000)
  assert.ok(a.rests(1001))
  a.succeeded()
  assert.ok(!a.rests(1001))
})

test('who waits for a busy place gets its lanes in turns', () => {
  const place = new Places().of({ name: 'a' })
  place.begin(0)
  place.begin(0)
  const got: string[] = []
  const waiter = (name: string) => (): void => {
    got.push(name)
    place.begin(0)
    place.whenFreed(callbacks[name === 'x' ? 0 : 1])
  }
  const callbacks: [() => void, () => void] = [waiter('x'), waiter('y')]
  for (const one of callbacks) place.whenFreed(one)
  for (let i = 0; i < 4; i++) place.end(0)
  assert.deepEqual(got, ['x', 'y', 'x', 'y'])
})

test('a place that falls silent gets slower while it is silent', () => {
  const place = new Places().of({ name: 'a' })
  place.begin(4 * MIB)
  place.startStream(0)
  for (let now = 10; now <= 1000; now += 10) place.arrived(80 * KIB, 80 * KIB, now)
  const before = place.health(1000).rate ?? 0
  assert.ok(Math.abs(before - 8000 * KIB) < 1000 * KIB, String(before))
  assert.ok((place.health(2000).rate ?? 0) < before / 8)
})
