import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ByteRange } from '../../lib/space/space.js'
import { afterRead, isBackward, isSettled, MOST_STREAMS, UNREAD, type Pattern } from '../../lib/reader/stream.js'
import { givenUp, rangesAhead, windowOf, type WindowLimits } from '../../lib/reader/window.js'

const KIB = 1024
const MIB = 1024 * KIB
const GIB = 1024 * MIB
const LIMITS: WindowLimits = { most: 16 * MIB, pieceLength: 128 * KIB }
const SIZE = 4 * GIB

type Read = readonly [offset: number, length: number, now?: number]

/** All reads at once, unless they say when; the reader never waits. */
function follow(reads: readonly Read[], from: Pattern = UNREAD): Pattern {
  return reads.reduce(
    (pattern, [offset, length, now = 0]) => afterRead(pattern, { offset, length, now, clock: now }),
    from,
  )
}

function windowAfter(reads: readonly Read[], limits = LIMITS): number {
  const [stream] = follow(reads).streams
  return stream === undefined ? 0 : windowOf(stream, limits)
}

function ahead(pattern: Pattern, limits = LIMITS, now = 0): readonly ByteRange[] {
  return rangesAhead(pattern, limits, SIZE, now)
}

function sequential(start: number, bytes: number, step = 128 * KIB): Read[] {
  return Array.from({ length: bytes / step }, (_, i) => [start + i * step, step])
}

test('nothing is fetched ahead for what the kernel itself may add to one small read', () => {
  assert.equal(windowAfter(sequential(0, 128 * KIB)), 0)
  assert.equal(windowAfter(sequential(0, 256 * KIB)), 0)
  assert.equal(windowAfter(sequential(0, 384 * KIB)), 768 * KIB)
})

test('what is fetched ahead never exceeds twice what was read in a row, nor the bound', () => {
  let pattern = UNREAD
  for (const read of sequential(0, 64 * MIB)) {
    pattern = follow([read], pattern)
    for (const { start, end } of ahead(pattern)) {
      assert.equal(start, read[0] + read[1])
      assert.ok(end - start <= Math.min(LIMITS.most, 2 * start))
    }
  }
  assert.deepEqual(ahead(pattern), [{ start: 64 * MIB, end: 80 * MIB }])
})

test('a seek drops the window, and reading on from there rebuilds it', () => {
  const played = follow(sequential(0, 512 * KIB))
  const sought = follow([[500 * MIB, 128 * KIB]], played)
  assert.deepEqual(ahead(sought), [])
  assert.deepEqual(
    givenUp(sought, 0).map((one) => one.high),
    [512 * KIB],
    'what was fetched ahead of the old place is given up',
  )
  assert.ok(ahead(follow(sequential(500 * MIB + 128 * KIB, 384 * KIB), sought)).length > 0)
})

test('random reads fetch nothing ahead, wherever they are', () => {
  for (const unit of [10 * MIB, KIB * 40]) {
    let pattern = UNREAD
    for (const i of [77, 3, 900, 12, 450, 601, 33, 870, 205]) {
      pattern = follow([[i * unit, 64 * KIB]], pattern)
      assert.deepEqual(ahead(pattern), [])
    }
  }
})

test('small reads at random within a small part of the file fetch nothing ahead', () => {
  let pattern = UNREAD
  let state = 7
  for (let i = 0; i < 2000; i++) {
    state = (state * 1103515245 + 12345) % 2 ** 31
    pattern = follow([[300 * MIB + (state % 250) * 4 * KIB, 4 * KIB]], pattern)
    assert.deepEqual(ahead(pattern), [], `after ${i}`)
  }
})

test('what the kernel reads ahead after a seek is one stream, in whatever order it comes', () => {
  const at = 45 * MIB
  const kernel = [0, 1, 2, 9, 3, 8, 5, 4, 7, 6].map((i): Read => [at + i * 128 * KIB, 128 * KIB])
  const pattern = follow(kernel, follow(sequential(0, MIB)))
  assert.equal(pattern.streams.length, 2)
  assert.ok(pattern.streams.every((one) => isSettled(one)))
})

test('parts of one kernel readahead that arrive out of order are still sequential', () => {
  const order = [0, 2, 1, 3, 5, 4, 7, 6].map((i): Read => [i * 128 * KIB, 128 * KIB])
  const pattern = follow(order)
  assert.equal(pattern.streams.length, 1)
  assert.deepEqual(ahead(pattern), [{ start: MIB, end: 3 * MIB }])
})

test('a film that is played has about ten seconds ahead, a slow stream no less than is worth asking for', () => {
  const table = [
    { name: 'a film of 1 MiB/s', step: 128 * KIB, every: 125, seconds: 60, latency: 0, window: 10 * MIB },
    {
      name: 'the same, from sources that take 1 s',
      step: 128 * KIB,
      every: 125,
      seconds: 60,
      latency: 1000,
      window: 14 * MIB,
    },
    { name: 'music of 32 KiB/s', step: 32 * KIB, every: 1000, seconds: 120, latency: 0, window: MIB },
    { name: 'more than fits', step: MIB, every: 100, seconds: 20, latency: 0, window: 16 * MIB },
  ]
  for (const { name, step, every, seconds, latency, window } of table) {
    const reads = Array.from({ length: (seconds * 1000) / every }, (_, i): Read => [i * step, step, i * every])
    const got = windowAfter(reads, { ...LIMITS, latency })
    assert.ok(Math.abs(got - window) <= window * 0.15, `${name}: ${got} instead of ${window}`)
  }
})

test('a reader that waits for us counts as a fast one', () => {
  let pattern = UNREAD
  for (const [i, [offset, length]] of sequential(0, 32 * MIB).entries()) {
    // Two seconds a read, all of them spent waiting but for 1 ms.
    pattern = afterRead(pattern, { offset, length, now: i * 2000, clock: i })
  }
  assert.equal(windowOf(pattern.streams[0] ?? assert.fail(), LIMITS), LIMITS.most)
})

test('streams that are read in turns each have a window, and are not given up for one another', () => {
  const places = [0, 800 * MIB, 1600 * MIB]
  let pattern = UNREAD
  for (let i = 0; i < 40; i++) {
    for (const place of places) pattern = follow([[place + i * 64 * KIB, 64 * KIB]], pattern)
  }
  assert.equal(pattern.streams.length, 3)
  for (const place of places) {
    pattern = follow([[place + 40 * 64 * KIB, 64 * KIB]], pattern)
    const [range] = ahead(pattern)
    assert.equal(range?.start, place + 41 * 64 * KIB)
    assert.ok((range?.end ?? 0) - (range?.start ?? 0) <= LIMITS.most / 3, 'they share the bound')
  }
  assert.deepEqual(givenUp(follow([[3 * GIB, 4 * KIB]], pattern), 0), [])
  assert.equal(givenUp(follow([[3 * GIB, 4 * KIB, 60_000]], pattern), 60_000).length, 3, 'but when they were left')
})

test('backward reading is fetched ahead backward', () => {
  let pattern = UNREAD
  for (let i = 1; i <= 12; i++) {
    pattern = follow([[GIB - i * 64 * KIB, 64 * KIB]], pattern)
    for (const { start, end } of ahead(pattern)) {
      assert.equal(end, GIB - i * 64 * KIB)
      assert.ok(end - start <= 2 * i * 64 * KIB)
    }
  }
  const [stream] = pattern.streams
  assert.ok(stream !== undefined && isBackward(stream) && isSettled(stream))
  assert.equal(ahead(pattern).length, 1)
})

test('backward reading by large blocks is known by its stride', () => {
  let pattern = UNREAD
  for (let i = 1; i <= 6; i++) pattern = follow(sequential(GIB - i * 8 * MIB, 8 * MIB), pattern)
  pattern = follow([[GIB - 7 * 8 * MIB, 128 * KIB]], pattern)
  assert.equal(ahead(pattern)[0]?.start, GIB - 8 * 8 * MIB)
})

test('equal steps are fetched ahead by the step, more of them the longer they last, within the bound', () => {
  let pattern = UNREAD
  const counts: number[] = []
  for (let i = 0; i < 12; i++) {
    pattern = follow([[i * 10 * MIB, 64 * KIB]], pattern)
    const ranges = ahead(pattern)
    counts.push(ranges.length)
    for (const [k, { start, end }] of ranges.entries()) {
      assert.equal(start, (i + 1 + k) * 10 * MIB)
      assert.equal(end - start, 64 * KIB)
    }
  }
  assert.deepEqual(counts.slice(0, 3), [0, 0, 0])
  assert.ok((counts[3] ?? 0) > 0 && (counts.at(-1) ?? 0) > (counts[3] ?? 0))
  const few = ahead(pattern, { most: 512 * KIB, pieceLength: 128 * KIB })
  assert.equal(few.length, 4, 'a piece each')
  assert.deepEqual(ahead(follow([[3 * GIB + 5, 64 * KIB]], pattern)), [], 'another step ends it')
})

test('what is remembered of a reader is bounded, and streams outlive random reads between them', () => {
  let pattern = follow(sequential(0, MIB))
  for (let i = 0; i < 1000; i++) {
    pattern = follow([[GIB + ((i * 7919) % 1000) * 3 * MIB, 4 * KIB]], pattern)
    assert.ok(pattern.streams.length <= MOST_STREAMS)
  }
  assert.equal(pattern.streams.filter((one) => one.high === MIB).length, 1)
})

test('while many files are glanced at, more must have been read before anything is fetched ahead', () => {
  const limits = { ...LIMITS, settledAfter: 2 * MIB }
  assert.equal(windowAfter(sequential(0, 2 * MIB), limits), 0)
  assert.ok(windowAfter(sequential(0, 3 * MIB), limits) > 0)
})

test('nothing is fetched beyond either end of the file', () => {
  const near = follow(sequential(SIZE - MIB, MIB))
  assert.deepEqual(ahead(near), [])
  const back = Array.from({ length: 16 }, (_, i): Read => [MIB - (i + 1) * 64 * KIB, 64 * KIB])
  assert.deepEqual(ahead(follow(back)), [])
})
