import assert from 'node:assert/strict'
import { test } from 'node:test'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { evict } from '../../lib/cache/evict.js'
import { prepareFolder } from '../../lib/cache/folder.js'
import { encodeRecord, geometryOf, RECORD } from '../../lib/cache/format.js'
import { Gate } from '../../lib/cache/gate.js'
import { OldestFirst } from '../../lib/cache/oldest.js'
import { SpaceFiles } from '../../lib/cache/space-files.js'
import { silentLog } from '../../lib/log/log.js'
import { pieceCount } from '../../lib/space/space.js'
import {
  blocksIn,
  cacheFolder,
  KIB,
  look,
  MIB,
  openStore,
  pick,
  put,
  sampleSpace,
  seeded,
  seedFor,
  tally,
} from './support.js'
import { measured } from '../support/marks.js'

/** The marker, the lock and the file of the process: a disk page each. */
const BOOKKEEPING = 4 * 4096
/** A sample looks at one file after another: a piece may be counted both where it was and where another has its room. */
const MOVING = 128 * KIB

for (const limitBytes of [1 * MIB, 6 * MIB, 20 * MIB]) {
  test(`goal 19: the bound of ${limitBytes} is kept at every moment under parallel load`, async (t) => {
    const random = seeded(seedFor(t))
    const folder = await cacheFolder(t)
    const store = await openStore(t, folder, { limitBytes })
    const spaces = Array.from({ length: 12 }, (_, nth) =>
      store.open(
        sampleSpace(`bound ${nth}`, 3 * MIB + nth, nth % 3 === 0 ? 128 * KIB : nth % 3 === 1 ? 30_000 : 16 * KIB),
      ),
    )
    let most = 0
    let samples = 0
    const sampler = setInterval(() => {
      most = Math.max(most, blocksIn(folder))
      samples++
    }, 50)
    const counts = { right: 0, wrong: 0, miss: 0 }
    let refused = 0
    const end = performance.now() + 2500
    const worker = async (): Promise<void> => {
      // However slow the machine is, something was there once.
      while (performance.now() < end || (counts.right === 0 && counts.miss < 20_000)) {
        const cached = spaces[pick(random, spaces.length)] as (typeof spaces)[0]
        const index = pick(random, pieceCount(cached.space))
        const outcome = await look(cached, index, 'sync')
        counts[outcome]++
        if (outcome === 'miss' && !(await put(cached, index))) refused++
      }
    }
    await Promise.all(Array.from({ length: 16 }, worker))
    clearInterval(sampler)
    t.diagnostic(`${JSON.stringify(counts)}, ${refused} refused; at most ${most} bytes in ${samples} samples`)
    assert.equal(counts.wrong, 0)
    assert.ok(most <= limitBytes + BOOKKEEPING + MOVING, `${most} bytes`)
    assert.ok(most >= limitBytes / 2, 'the room is used')
    assert.ok(counts.right > 0 && refused < counts.miss / 20, `${refused} refused`)
    for (const cached of spaces) assert.equal((await tally(cached)).wrong, 0)
  })
}

test('a file much larger than the bound, read through: its index takes no more room than the bound either', async (t) => {
  const folder = await cacheFolder(t)
  const limitBytes = MIB
  const store = await openStore(t, folder, { limitBytes })
  const cached = store.open(sampleSpace('long', 9000 * 4 * KIB, 4 * KIB))
  for (let index = 0; index < 9000; index += 3) {
    const stored = await Promise.all([0, 1, 2].map((more) => put(cached, index + more)))
    assert.ok(stored.every(Boolean), `piece ${index}`)
    if (index % 300 === 0) assert.ok(blocksIn(folder) <= limitBytes + BOOKKEEPING)
  }
  assert.ok((await store.usage()).pieces > 60)
})

test('room that killed or failed writes left without a record is found again', async (t) => {
  const folder = await cacheFolder(t)
  const limitBytes = 4 * MIB
  const space = sampleSpace('orphans', 64 * 64 * KIB, 64 * KIB)
  let store = await openStore(t, folder, { limitBytes })
  await put(store.open(space), 0)
  await store.close()
  const geometry = geometryOf(space)
  assert.ok(geometry !== undefined)
  const files = SpaceFiles.open(folder, geometry, 'write')
  assert.ok(files !== undefined)
  for (let index = 1; index < 50; index++) {
    await files.write(index, Buffer.alloc(64 * KIB, 1), 'pending', Date.now())
    files.forget(index, files.recordOf(index)?.stamp ?? 0)
  }
  await files.close()
  store = await openStore(t, folder, { limitBytes })
  const other = store.open(sampleSpace('after', 40 * 64 * KIB, 64 * KIB))
  for (let index = 0; index < 40; index++) assert.equal(await put(other, index), true)
  assert.deepEqual(await tally(other), { right: 40, wrong: 0, miss: 0 })
  assert.ok(blocksIn(folder) <= limitBytes + BOOKKEEPING)
})

test('goal 39: evicting from a cache of 1,000,000 pieces does not stall the event loop', async (t) => {
  const folder = await cacheFolder(t)
  prepareFolder(folder)
  const random = seeded(seedFor(t))
  for (let nth = 0; nth < 4; nth++) {
    const geometry = geometryOf(sampleSpace(`million ${nth}`, 250_000 * 128 * KIB, 128 * KIB))
    assert.ok(geometry !== undefined)
    const files = SpaceFiles.open(folder, geometry, 'create')
    assert.ok(files !== undefined)
    const records = Buffer.alloc(250_000 * RECORD)
    const now = Date.now()
    for (let index = 0; index < 250_000; index++) {
      const record = { assurance: 'pending', stamp: 1 + index, storedAt: now - pick(random, 1_000_000) } as const
      encodeRecord(geometry, index, record, records, index * RECORD)
    }
    await files.writeRecords(0, records)
    await files.close()
  }
  const delay = monitorEventLoopDelay({ resolution: 5 })
  delay.enable()
  const began = performance.now()
  const need = 50_000 * 128 * KIB
  const evicted = await evict({
    root: folder,
    need,
    inFlight: 0,
    resident: () => undefined,
    pinned: new Map(),
    log: silentLog,
  })
  const took = performance.now() - began
  delay.disable()
  assert.equal(evicted, true)
  const usage = await (await openStore(t, folder, { limitBytes: 1024 * 1024 * MIB })).usage()
  assert.equal(usage.pieces, 950_000)
  t.diagnostic(`${Math.round(took)} ms in all; the longest stall ${Math.round(delay.max / 1e6)} ms`)
  measured(t, '99th percentile of stalls:', delay.percentile(99) / 1e6, { mark: 100, alarm: 2000 })
})

test('the least recently used of many candidates are chosen, and no more than needed', (t) => {
  const random = seeded(seedFor(t))
  for (let round = 0; round < 200; round++) {
    const all = Array.from({ length: 1 + pick(random, 300) }, (_, piece) => ({
      usedAt: pick(random, 1000) + piece / 1000,
      bytes: 1 + pick(random, 50),
      space: 0,
      piece,
    }))
    const need = pick(random, 4000)
    const oldest = new OldestFirst(need, 1000)
    for (const candidate of all) oldest.offer(candidate)
    const expected: number[] = []
    let total = 0
    for (const { piece, bytes } of all.toSorted((a, b) => a.usedAt - b.usedAt)) {
      if (total >= need) break
      expected.push(piece)
      total += bytes
    }
    const chosen = oldest.chosen.map(({ piece }) => piece)
    assert.deepEqual(
      chosen.sort((a, b) => a - b),
      expected.sort((a, b) => a - b),
    )
    assert.equal(oldest.total, total)
  }
})

test('through a gate many pass together, or one alone, and none is passed over', async () => {
  const gate = new Gate()
  let inside = 0
  let alone = 0
  const order: string[] = []
  const work = (name: string, exclusive: boolean) => async (): Promise<void> => {
    order.push(name)
    inside++
    if (exclusive) alone++
    assert.ok(alone === 0 || inside === 1)
    await new Promise(setImmediate)
    assert.ok(alone === 0 || inside === 1)
    inside--
    if (exclusive) alone--
  }
  await Promise.all(
    ['a', 'b', 'C', 'd', 'e', 'F', 'G', 'h'].map((name) => {
      const exclusive = name === name.toUpperCase()
      return exclusive ? gate.exclusive(work(name, true)) : gate.shared(work(name, false))
    }),
  )
  assert.equal(order.join(''), 'abCdeFGh')
  await assert.rejects(gate.exclusive(() => Promise.reject(new Error('x'))))
  await gate.shared(work('i', false))
})
