import assert from 'node:assert/strict'
import { test } from 'node:test'
import { afterRead, UNREAD, type Pattern } from '../../lib/reader/readahead.js'

const KIB = 1024
const MIB = 1024 * KIB
const MOST = 16 * MIB

function follow(reads: readonly (readonly [number, number])[], most = MOST): Pattern {
  return reads.reduce((pattern, [offset, length]) => afterRead(pattern, offset, length, most), UNREAD)
}

test('nothing is fetched ahead for what the kernel itself may add to one small read', () => {
  const kernel: [number, number][] = [
    [0, 128 * KIB],
    [128 * KIB, 128 * KIB],
  ]
  assert.equal(follow(kernel.slice(0, 1)).window, 0)
  assert.equal(follow(kernel).window, 0)
  assert.equal(follow([...kernel, [256 * KIB, 128 * KIB]]).window, 768 * KIB)
})

test('what is fetched ahead never exceeds twice what was read in a row, nor the bound', () => {
  let pattern = UNREAD
  for (let offset = 0; offset < 64 * MIB; offset += 128 * KIB) {
    pattern = afterRead(pattern, offset, 128 * KIB, MOST)
    assert.ok(pattern.window <= Math.min(MOST, 2 * (offset + 128 * KIB)))
  }
  assert.equal(pattern.window, MOST)
})

test('a seek drops the window, and reading on from there rebuilds it', () => {
  const sequential: [number, number][] = [0, 1, 2, 3].map((i) => [i * 128 * KIB, 128 * KIB])
  assert.equal(follow([...sequential, [500 * MIB, 128 * KIB]]).window, 0)
  const onward: [number, number][] = [0, 1, 2].map((i) => [500 * MIB + i * 128 * KIB, 128 * KIB])
  assert.ok(follow([...sequential, ...onward]).window > 0)
})

test('random reads fetch nothing ahead, wherever the first one is', () => {
  const offsets = [77, 3, 900, 12, 450, 601].map((i) => i * 10 * MIB)
  let pattern = UNREAD
  for (const offset of offsets) {
    pattern = afterRead(pattern, offset, 64 * KIB, MOST)
    assert.equal(pattern.window, 0)
  }
})

test('random reads that lie near each other fetch nothing ahead', () => {
  const offsets = [3000, 1000, 2200, 400, 3700].map((i) => i * KIB)
  assert.equal(follow(offsets.map((offset): [number, number] => [offset, 64 * KIB])).window, 0)
})

test('parts of one kernel readahead that arrive out of order are still sequential', () => {
  const order = [0, 2, 1, 3, 5, 4, 7, 6].map((i): [number, number] => [i * 128 * KIB, 128 * KIB])
  assert.ok(follow(order).window >= MIB)
  assert.equal(follow(order).next, MIB)
})
