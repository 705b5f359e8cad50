import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { cellsOf, cellWords, sentence } from '../../lib/gateway/page/browser/cells.mjs'
import { changed } from '../../lib/gateway/page/browser/change.mjs'
import { ago, duration, percent, rate, size, visible } from '../../lib/gateway/page/browser/words.mjs'
import { changeBetween } from '../../lib/gateway/page/delta.js'
import type { PieceState, Snapshot } from '../../lib/status/snapshot.js'
import { emptySnapshot, openFile, origin, pieceMap } from '../support/station.js'

test('sizes, rates, shares and times are written as people read them', () => {
  const sizes: [number, string][] = [
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [1024, '1 KiB'],
    [1536, '1.50 KiB'],
    [10.04 * 2 ** 20, '10.0 MiB'],
    [312.4 * 2 ** 30, '312 GiB'],
    [10 * 2 ** 40, '10 TiB'],
    [-5, '0 B'],
    [NaN, '0 B'],
  ]
  for (const [bytes, text] of sizes) assert.equal(size(bytes), text)
  assert.equal(rate(0.4), '0 B/s')
  assert.equal(rate(3.1 * 2 ** 20), '3.10 MiB/s')
  assert.equal(percent(0, 100), '0 %')
  assert.equal(percent(1, 100_000), '1 %', 'something is not nothing')
  assert.equal(percent(99_999, 100_000), '99 %', 'nearly all is not all')
  assert.equal(percent(0, 0), '100 %', 'of an empty file nothing is missing')
  assert.equal(duration(59_400), '59 s')
  assert.equal(duration(0), '< 1 s')
  assert.equal(duration(3_600_000), '1 h')
  assert.equal(duration(9 * 86_400_000), '9 d')
  assert.equal(ago(200), 'just now')
  assert.equal(ago(65_000), '1 min ago')
})

test('a name that would lie about itself is spelled out, and an endless one is cut', () => {
  assert.equal(visible('plain – имя – 名前 👩‍💻'), 'plain – имя – 名前 👩‍💻')
  assert.equal(visible('a\u202egpj.exe'), 'a\\u202egpj.exe')
  assert.equal(visible('a\nb\u0000c\u2028d\ud800'), 'a\\u000ab\\u0000c\\u2028d\\ud800')
  const long = visible('x'.repeat(100_000) + 'end')
  assert.ok(long.length < 600 && long.endsWith('xend'))
})

const STATES: readonly PieceState[] = ['absent', 'wanted', 'fetching', 'have', 'verified']

test('boxes of a map cover all pieces once, in order, and are never more than asked for', () => {
  const runs = fc.array(
    fc.tuple(fc.constantFrom(...STATES), fc.integer({ min: 1, max: 400 }), fc.integer({ min: -1, max: 2 })),
    { minLength: 1, maxLength: 30 },
  )
  fc.assert(
    fc.property(runs, fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 9 }), (list, most, cell) => {
      const map = pieceMap('f', list, { cell })
      const cells = cellsOf(map, most)
      assert.ok(cells.length <= most)
      assert.equal(cells[0]?.from, 0)
      assert.equal(cells.at(-1)?.to, map.count)
      cells.forEach((one, index) => {
        assert.ok(one.to > one.from && one.fill >= 0 && one.fill <= 1)
        if (index > 0) assert.equal(one.from, cells[index - 1]?.to)
      })
    }),
    { verbose: 1 },
  )
})

test('a box of several pieces tells what is under way in it, and how much of it is here', () => {
  const map = pieceMap(
    'f',
    [
      ['verified', 6, 0],
      ['fetching', 1, 1],
      ['absent', 1, -1],
      ['absent', 8, -1],
    ],
    { origins: ['swarm', 'web'] },
  )
  const [first, second, ...more] = cellsOf(map, 2)
  assert.deepEqual(more, [])
  assert.deepEqual(first, { from: 0, to: 8, state: 'fetching', fill: 0.75, origin: 0 })
  assert.deepEqual(second, { from: 8, to: 16, state: 'absent', fill: 0, origin: -1 })
  assert.equal(first && cellWords(first, map), 'Pieces 1 to 8 (from 0 B): on its way, 75 % here, swarm')
  assert.equal(
    sentence(openFile('/f', { size: 16, cached: 6 }), map),
    '38 % cached · 1 piece on its way · 16 pieces of 1 MiB',
  )
})

test('a change turns the snapshot before into the one after, and does not repeat histories', () => {
  const values = fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 12 })
  const snapshots = fc.record({
    now: fc.integer(),
    readBytes: fc.integer(),
    mountpoint: fc.option(fc.string(), { nil: undefined }),
    budget: fc.option(fc.record({ limit: fc.nat(), left: fc.nat() }), { nil: undefined }),
    origins: fc
      .uniqueArray(fc.constantFrom('a', 'b', '__proto__', 'constructor'))
      .chain((names) =>
        fc.tuple(...names.map((name) => values.map((history) => origin(name, { history })))).map((list) => [...list]),
      ),
  })
  const whole = (part: object): Snapshot => JSON.parse(JSON.stringify({ ...emptySnapshot(0), ...part })) as Snapshot
  fc.assert(
    fc.property(snapshots, snapshots, (one, two) => {
      const [before, after] = [whole(one), whole(two)]
      const sent = JSON.parse(JSON.stringify(changeBetween(before, after))) as ReturnType<typeof changeBetween>
      assert.deepEqual(changed(before, sent), after)
    }),
    { verbose: 1 },
  )
  const history = Array.from({ length: 300 }, (_, index) => index)
  const before = whole({ origins: [origin('a', { history })] })
  const after = whole({ origins: [origin('a', { history: [...history.slice(1, -1), 7, 8] })] })
  assert.deepEqual(changeBetween(before, after).origins?.[0]?.history, [1, 298, [7, 8]])
})
