import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryTier } from '../../lib/cache/memory.js'
import { pick, seeded, seedFor } from './support.js'

test('what was put last is there, as it was, within the bound', (t) => {
  const random = seeded(seedFor(t))
  const size = 10_000
  const tier = new MemoryTier(size)
  const put = new Map<string, { fill: number; length: number; nth: number }>()
  for (let nth = 0; nth < 20_000; nth++) {
    const space = pick(random, 3)
    const index = pick(random, 40)
    const length = 1 + pick(random, nth % 50 === 0 ? 12_000 : 900)
    const fill = nth % 251
    tier.set(space, index, new Uint8Array(length).fill(fill))
    if (length <= size) put.set(`${space} ${index}`, { fill, length, nth })
    if (nth % 700 === 699) {
      tier.drop(1)
      for (const key of put.keys()) if (key.startsWith('1 ')) put.delete(key)
    }
    let held = 0
    for (const [key, one] of put) {
      const [ofSpace = 0, at = 0] = key.split(' ').map(Number)
      const found = tier.get(ofSpace, at)
      assert.equal(tier.has(ofSpace, at), found !== undefined)
      if (found === undefined) {
        // The ring may have lost as much as does not fit before its end, but never what came last.
        assert.notEqual(one.nth, nth)
        continue
      }
      held += found.length
      assert.equal(found.length, one.length)
      assert.ok(found.every((byte) => byte === one.fill))
    }
    assert.ok(held <= size)
  }
  tier.clear()
  assert.equal(
    [...put.keys()].some((key) => tier.has(Number(key[0]), Number(key.slice(2)))),
    false,
  )
})

test('half of the bound at least is used', () => {
  const tier = new MemoryTier(1000)
  for (let index = 0; index < 100; index++) tier.set(0, index, new Uint8Array(90))
  const held = Array.from({ length: 100 }, (_, index) => tier.has(0, index)).filter(Boolean).length
  assert.ok(held >= 10, `${held}`)
  assert.ok(tier.has(0, 99))
})

test('without memory nothing is held', () => {
  const tier = new MemoryTier(0)
  tier.set(0, 0, new Uint8Array(10))
  assert.equal(tier.get(0, 0), undefined)
})
