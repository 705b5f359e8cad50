import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLoad } from '../cache/child.js'
import {
  blocksIn,
  cacheFolder,
  KIB,
  MIB,
  openStore,
  pick,
  sampleSpace,
  seeded,
  seedFor,
  tally,
} from '../cache/support.js'

const LOAD = { spaces: 20, pieces: 60, pieceLength: 128 * KIB, limitBytes: 40 * MIB }
/** The marker, the lock and a file a process: a disk page each. */
const BOOKKEEPING = 16 * 4096
/** Minutes of load; the goal is 30. */
const MINUTES = Number(process.env['CACHE_MINUTES'] ?? 5)

test(`goal 20: three processes on one cache for ${MINUTES} minutes, one of them killed now and then`, async (t) => {
  const seed = seedFor(t)
  const random = seeded(seed)
  const folder = await cacheFolder(t)
  const milliseconds = MINUTES * 60_000
  const lasting = [1, 2].map((nth) => startLoad(t, { ...LOAD, folder, milliseconds, seed: seed + nth }))
  const end = performance.now() + milliseconds
  let most = 0
  let kills = 0
  while (performance.now() < end) {
    const third = startLoad(t, { ...LOAD, folder, milliseconds, seed: seed + 10 + kills, every: 50 })
    await third.ready
    const until = Math.min(end, performance.now() + 200 + pick(random, 4000))
    while (performance.now() < until) {
      most = Math.max(most, blocksIn(folder))
      await sleep(100)
    }
    third.child.kill('SIGKILL')
    assert.equal(await third.ended, '')
    assert.equal(third.figures()?.wrong ?? 0, 0)
    kills++
  }
  for (const { ended, figures } of lasting) {
    assert.equal(await ended, '')
    t.diagnostic(JSON.stringify(figures()))
    assert.equal(figures()?.wrong, 0)
  }
  t.diagnostic(`${kills} kills; at most ${most} of ${LOAD.limitBytes} bytes on disk`)
  assert.ok(most <= LOAD.limitBytes + BOOKKEEPING, `${most} bytes on disk`)
})

test('a writer killed at 200 random moments: no wrong byte', async (t) => {
  const seed = seedFor(t)
  const random = seeded(seed)
  const folder = await cacheFolder(t)
  for (let round = 0; round < 200; round++) {
    const load = startLoad(t, { ...LOAD, folder, milliseconds: 60_000, seed: seed + round })
    await load.ready
    await sleep(pick(random, 400))
    load.child.kill('SIGKILL')
    assert.equal(await load.ended, '')
    const store = await openStore(t, folder, { limitBytes: LOAD.limitBytes })
    for (let nth = 0; nth < LOAD.spaces; nth++) {
      const cached = store.open(sampleSpace(`load ${nth}`, LOAD.pieces * LOAD.pieceLength - 5, LOAD.pieceLength))
      assert.equal((await tally(cached, 'sync')).wrong, 0, `round ${round}`)
    }
    await store.close()
  }
})
