import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLoad } from './child.js'
import { blocksIn, cacheFolder, KIB, MIB, openStore, pick, sampleSpace, seeded, seedFor, tally } from './support.js'

const LOAD = { spaces: 6, pieces: 40, pieceLength: 64 * KIB, limitBytes: 8 * MIB }

test('goal 20: two processes on one small cache: no wrong byte, one bound', async (t) => {
  const seed = seedFor(t)
  const folder = await cacheFolder(t)
  const milliseconds = 4000
  const both = [1, 2].map((nth) => startLoad(t, { ...LOAD, folder, milliseconds, seed: seed + nth }))
  let most = 0
  const running = { yes: true }
  const ended = Promise.all(both.map(({ ended }) => ended)).finally(() => {
    running.yes = false
  })
  while (running.yes) {
    most = Math.max(most, blocksIn(folder))
    await Promise.race([sleep(100), ended])
  }
  assert.deepEqual(await ended, ['', ''])
  for (const { figures } of both) {
    const told = figures()
    t.diagnostic(JSON.stringify(told))
    assert.equal(told?.wrong, 0)
    assert.ok((told?.right ?? 0) > 10 && (told?.stored ?? 0) > 10, JSON.stringify(told))
  }
  t.diagnostic(`at most ${most} of ${LOAD.limitBytes} bytes on disk`)
  assert.ok(most <= LOAD.limitBytes + BOOKKEEPING, `${most} bytes on disk`)
})

/** The marker, the lock and a file a process: a disk page each. */
const BOOKKEEPING = 8 * 4096

test('a writer killed at random moments: no wrong byte, and its room is not lost', async (t) => {
  const seed = seedFor(t)
  const random = seeded(seed)
  const folder = await cacheFolder(t)
  for (let round = 0; round < 12; round++) {
    const load = startLoad(t, { ...LOAD, folder, milliseconds: 60_000, seed: seed + round })
    await load.ready
    await sleep(20 + pick(random, 250))
    load.child.kill('SIGKILL')
    assert.equal(await load.ended, '')
    const store = await openStore(t, folder, { limitBytes: LOAD.limitBytes })
    for (let nth = 0; nth < LOAD.spaces; nth++) {
      const cached = store.open(sampleSpace(`load ${nth}`, LOAD.pieces * LOAD.pieceLength - 5, LOAD.pieceLength))
      assert.equal((await tally(cached, nth % 2 === 0 ? 'sync' : 'async')).wrong, 0, `round ${round}`)
    }
    await store.close()
    assert.ok(blocksIn(folder) <= LOAD.limitBytes + BOOKKEEPING)
  }
})
