import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Origins, originName } from '../../lib/engine/activity-origins.js'
import { HISTORY_SECONDS, Throughput } from '../../lib/engine/activity-rates.js'
import { Places } from '../../lib/scheduler/places.js'

test('bytes show in the second that they came in, for five minutes', () => {
  const throughput = new Throughput()
  throughput.add(100, 5_100)
  throughput.add(50, 5_900)
  throughput.add(7, 7_000)
  const history = throughput.history(8_500)
  assert.equal(history.length, HISTORY_SECONDS - 1)
  assert.deepEqual(history.slice(-3), [150, 0, 7])
  assert.deepEqual(
    throughput.history(5_000 + (HISTORY_SECONDS - 1) * 1000).filter((bytes) => bytes > 0),
    [150, 7],
  )
  assert.ok(throughput.history(10_000_000).every((bytes) => bytes === 0))
  assert.equal(throughput.total, 157)
})

test('a rate is that of the last seconds, and fades when nothing comes', () => {
  const throughput = new Throughput()
  for (let now = 100_000; now < 110_000; now += 100) throughput.add(1_000, now)
  const rate = throughput.rate(110_000)
  assert.ok(rate > 7_900 && rate < 10_100, String(rate))
  assert.ok(throughput.rate(112_000) < rate)
  assert.equal(throughput.rate(116_000), 0)
  assert.equal(new Throughput().rate(1), 0)
})

test('a clock that does not move, and one that jumps, are both survived', () => {
  const throughput = new Throughput()
  for (let n = 0; n < 10; n++) throughput.add(1, 1_000)
  throughput.add(1, 500)
  throughput.add(5, 1e12)
  assert.equal(throughput.total, 16)
  assert.equal(throughput.history(1e12 + 1_000).at(-1), 5)
})

test('servers are one origin whatever their URLs, and all beyond a bound are one', () => {
  assert.equal(originName({ name: 'web (http://h/a/b)', place: 'http://h' }), 'web (http://h)')
  assert.equal(originName({ name: 'git (0123)' }), 'git')
  assert.equal(originName({ name: 'shelf (directory)', place: 'remote shelf 1' }), 'shelf (directory)')
  const origins = new Origins()
  const places = new Places()
  for (let n = 0; n < 1_000; n++) {
    const source = { name: `web (http://h${n}/x)`, place: `http://h${n}` }
    origins.arrived(source, places.of(source), 10)
  }
  const all = [...origins.values()]
  assert.ok(all.length <= 65)
  assert.equal(
    all.reduce((sum, origin) => sum + origin.throughput.total, 0),
    10_000,
  )
})
