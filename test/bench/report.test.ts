import assert from 'node:assert/strict'
import { test } from 'node:test'
import { figureOf, ratioTo, type Row } from '../../bench/figure.js'
import { benchOptions, isWanted } from '../../bench/options.js'
import { markdownTable, textTable, verdicts } from '../../bench/report.js'
import { Samples } from '../../bench/samples.js'

const about = { section: 'HTTP', unit: 'MB/s', better: 'more', target: 1.5 } as const

function row(name: string, ours: readonly number[], theirs: readonly number[]): Row {
  const samples = new Samples()
  samples.add(name, 'annexfs', ...ours)
  samples.add(name, 'rclone mount', ...theirs)
  const made = samples.row({ ...about, name })
  assert.ok(made)
  return made
}

test('a figure is the median, with the least and the most', () => {
  assert.deepEqual(figureOf([3, 1, 2]), { median: 2, least: 1, most: 3, samples: 3 })
  assert.equal(figureOf([4, 1, 3, 2]).median, 2.5)
})

test('a ratio says how many times better ours is, whether less or more is better', () => {
  const more = row('warm', [300], [100])
  assert.equal(ratioTo(more, 'rclone mount'), 3)
  assert.equal(ratioTo({ ...more, better: 'less' }, 'rclone mount'), 1 / 3)
  assert.equal(ratioTo(more, 'btfs'), undefined)
})

test('a target is reached by the ratio alone, and said so in both tables', () => {
  const rows = [row('warm', [150], [100]), row('cold', [149], [100])]
  assert.deepEqual(verdicts(rows), { reached: 1, compared: 2 })
  for (const table of [textTable(rows), markdownTable(rows)]) {
    assert.match(table, /warm, MB\/s.* reached/)
    assert.match(table, /cold, MB\/s.* NOT REACHED/)
  }
})

test('rows without anybody to compare with are shown and not judged', () => {
  const samples = new Samples()
  samples.add('warm', 'annexfs', 1, 2, 3)
  const alone = samples.row({ ...about, name: 'warm' })
  assert.ok(alone)
  assert.deepEqual(verdicts([alone]), { reached: 0, compared: 0 })
  assert.match(textTable([alone]), /nothing to compare/)
  assert.equal(samples.row({ ...about, name: 'never measured' }), undefined)
})

test('--only picks rows and sections by a part of their name', () => {
  const options = benchOptions(['--quick', '--only', '4 kib', '--only', 'swarm'])
  assert.ok(options !== 'help')
  assert.equal(isWanted(options, 'HTTP: a file', 'random 4 KiB, warm'), true)
  assert.equal(isWanted(options, 'Swarm: a file', 'peak memory'), true)
  assert.equal(isWanted(options, 'HTTP: a file', 'peak memory'), false)
  assert.equal(benchOptions(['--help']), 'help')
  assert.throws(() => benchOptions(['--fast']))
})
