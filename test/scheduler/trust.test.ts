import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import { Trust } from '../../lib/scheduler/trust.js'
import type { Source } from '../../lib/sources/source.js'
import { bytesOf, memoryCache, memorySource, spaceOf } from '../support/memory.js'

const named = (name: string, version?: string) => ({ source: { name }, holding: { version } })

test('a source that was wrong is asked again after 30 s, then after 2, 8 and at most 30 minutes', () => {
  let now = 1_000
  const trust = new Trust(() => now)
  const pauses: number[] = []
  for (let times = 0; times < 6; times++) {
    trust.wrong(named('a'))
    const since = now
    assert.equal(trust.has(named('a')), false)
    while (!trust.has(named('a'))) now += 1_000
    pauses.push((now - since) / 1000)
  }
  assert.deepEqual(pauses, [30, 120, 480, 1800, 1800, 1800])
  trust.right(['a'])
  trust.wrong(named('a'))
  assert.match(trust.explain(named('a')) ?? '', /asked again in 30 s/)
  assert.ok(trust.has(named('b')))
})

test('a source that was wrong is asked at once when it has another object, or other things are recorded of it', () => {
  const trust = new Trust(() => 0)
  trust.recorded('at first')
  trust.wrong(named('a', 'old'))
  assert.equal(trust.has(named('a', 'old')), false)
  // Not known is not another.
  assert.equal(trust.has(named('a')), false)
  assert.ok(trust.has(named('a', 'new')))
  trust.recorded('at first')
  assert.equal(trust.has(named('a', 'old')), false)
  trust.recorded('later')
  assert.ok(trust.has(named('a', 'old')))
  trust.wrong(named('a', 'old'))
  assert.match(trust.explain(named('a', 'old')) ?? '', /asked again in 2 min/)
  trust.recorded('later')
  assert.equal(trust.has(named('a', 'old')), false)
})

test('a whole transfer that was wrong is repeated after the pause and not before, however often it is read', async (t) => {
  const PIECE = 1000
  const bytes = bytesOf(10 * PIECE, 1)
  const space = spaceOf(bytes, PIECE)
  let broken = true
  let transfers = 0
  let state = 'as before'
  let now = 0
  const right = memorySource(bytes, { name: 'only' })
  const source: Source = {
    ...right,
    find: async (...asked) => {
      const holding = await right.find(...asked)
      return holding === undefined
        ? undefined
        : {
            ...holding,
            whole: true,
            read: (...wanted) => {
              transfers += 1
              if (broken) throw new AnnexfsError('CORRUPT', 'what came has another hash')
              return holding.read(...wanted)
            },
          }
    },
  }
  const fetcher = new Fetcher({
    space,
    sources: async () => ({ sources: [source], unusable: [], state }),
    cache: memoryCache(space),
    budget: fetchBudget(1e9),
    log: silentLog,
    trust: new Trust(() => now),
  })
  t.after(() => fetcher.close())
  const read = () => fetcher.fetch(3, { urgency: 'read', signal: AbortSignal.timeout(60_000) })
  await assert.rejects(read(), /only: what came has another hash; it is asked again in 30 s/)
  // Sources are looked for afresh after this long.
  for (let times = 0; times < 3; times++) {
    await sleep(1_050)
    await assert.rejects(read(), /asked again in 30 s/)
  }
  assert.equal(transfers, 1)
  now += 30_000
  await assert.rejects(read(), /asked again in 2 min/)
  assert.equal(transfers, 2)
  broken = false
  await sleep(2_050)
  await assert.rejects(read(), /asked again in 2 min/)
  assert.equal(transfers, 2)
  state = 'a copy was put there'
  await sleep(2_050)
  assert.equal((await read()).bytes.byteLength, PIECE)
  assert.equal(transfers, 3)
})
