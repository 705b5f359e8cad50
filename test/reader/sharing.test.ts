import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Glances, isGlance } from '../../lib/reader/glances.js'
import { Shares } from '../../lib/reader/shares.js'

const KIB = 1024
const MIB = 1024 * KIB

test('what may be fetched ahead is split evenly between those who read now', () => {
  let now = 0
  const shares = new Shares(96 * MIB, () => now)
  const readers = Array.from({ length: 12 }, () => ({}))
  const [first = {}] = readers
  assert.equal(shares.of(first), 96 * MIB)
  for (const reader of readers) shares.of(reader)
  assert.equal(shares.of(first), 8 * MIB)
  for (const reader of readers.slice(6)) shares.leave(reader)
  assert.equal(shares.of(first), 16 * MIB)
  now += 6_000
  assert.equal(shares.of(first), 96 * MIB, 'the others have stopped reading')
})

test('however many read, a share is worth a request', () => {
  const shares = new Shares(96 * MIB)
  const readers = Array.from({ length: 5_000 }, () => ({}))
  for (const reader of readers) assert.ok(shares.of(reader) >= 512 * KIB)
})

test('files of which a little was read were glanced at', () => {
  const table: [string, { size: number; consumed: number; read: number }, boolean][] = [
    ['file(1)', { size: 900 * MIB, consumed: 8 * MIB, read: 15 * MIB }, true],
    ['head and tail of a film', { size: 900 * MIB, consumed: 128 * KIB, read: 256 * KIB }, true],
    ['a small file, all of it', { size: MIB, consumed: MIB, read: MIB }, false],
    ['a film for some time', { size: 900 * MIB, consumed: 40 * MIB, read: 40 * MIB }, false],
  ]
  for (const [name, closed, expected] of table) assert.equal(isGlance(closed), expected, name)
})

test('several glances in a row are a scan, until it has ended', () => {
  let now = 0
  const glances = new Glances(() => now)
  const usual = glances.settledAfter
  const glance = { size: 900 * MIB, consumed: 128 * KIB, read: 128 * KIB }
  for (let i = 0; i < 100; i++) {
    assert.equal(glances.settledAfter > usual, i >= 3, `after ${i}`)
    glances.closed(glance)
    now += 1000
  }
  now += 10_000
  assert.equal(glances.settledAfter, usual)
})
