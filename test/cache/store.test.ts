import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { openPieceStore } from '../../lib/cache/open.js'
import { silentLog } from '../../lib/log/log.js'
import { pieceStoreContract } from './contract.js'
import { bytesOf, cacheFolder, filesIn, KIB, look, MIB, openStore, put, putAll, sampleSpace, tally } from './support.js'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

pieceStoreContract('disk', async (t) => openStore(t, await cacheFolder(t), { limitBytes: 16 * MIB }))
pieceStoreContract('disk and memory', async (t) =>
  openStore(t, await cacheFolder(t), { limitBytes: 16 * MIB, memoryBytes: 4 * MIB }),
)

test('pieces, and what is known of them, outlive the process', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('kept', 20 * 128 * KIB - 5, 128 * KIB)
  const first = await openStore(t, folder)
  await putAll(first.open(space))
  await first.open(space).markWhole()
  await first.close()
  const second = (await openStore(t, folder)).open(space)
  assert.deepEqual(await tally(second), { right: 20, wrong: 0, miss: 0 })
  assert.deepEqual(second.summary(), { cachedBytes: space.length, complete: true, assurance: 'whole' })
})

test('a piece of a checked space that is fetched again is unchecked', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('again', 4 * 16 * KIB, 16 * KIB)
  const cached = (await openStore(t, folder)).open(space)
  await putAll(cached)
  await cached.markWhole()
  const data = filesIn(folder).find((path) => path.endsWith('/data'))
  assert.ok(data !== undefined)
  const bytes = await readFile(data)
  bytes[5] = (bytes[5] ?? 0) ^ 1
  await writeFile(data, bytes)
  assert.equal(await look(cached, 0), 'miss')
  assert.equal(cached.summary().complete, false)
  assert.equal(await put(cached, 0), true)
  assert.deepEqual(cached.summary(), { cachedBytes: space.length, complete: true, assurance: 'pending' })
})

test('a checked piece is neither replaced nor hidden by other, unchecked bytes', async (t) => {
  const space = sampleSpace('sure', 4 * 16 * KIB, 16 * KIB)
  const cached = (await openStore(t, await cacheFolder(t), { memoryBytes: MIB })).open(space)
  await putAll(cached)
  await cached.markWhole()
  assert.equal(await put(cached, 1, 1), true)
  assert.equal(await look(cached, 1, 'sync'), 'right')
  assert.equal(cached.summary().assurance, 'whole')
})

test('what was on its way into the cache when its space was dropped does not get there', async (t) => {
  const space = sampleSpace('late', 64 * 16 * KIB, 16 * KIB)
  const cached = (await openStore(t, await cacheFolder(t), { memoryBytes: MIB })).open(space)
  const late = Array.from({ length: 64 }, (_, index) => put(cached, index, 1))
  await new Promise(setImmediate)
  await cached.drop()
  await Promise.all(late)
  assert.deepEqual(await tally(cached), { right: 0, wrong: 0, miss: 64 })
  assert.equal(await putAll(cached), 64)
})

test('the least recently used pieces go first, over all spaces, also after a restart', async (t) => {
  const folder = await cacheFolder(t)
  const limitBytes = 4 * MIB
  const spaces = [0, 1, 2].map((nth) => sampleSpace(`lru ${nth}`, 8 * 128 * KIB, 128 * KIB))
  const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5))
  let store = await openStore(t, folder, { limitBytes })
  for (const space of spaces) {
    const cached = store.open(space)
    for (let index = 0; index < 8; index++) {
      await put(cached, index)
      await pause()
    }
    cached.close()
  }
  // The first space was put first; now half of it is used again.
  const again = store.open(spaces[0] as (typeof spaces)[0])
  for (const index of [0, 2, 4, 6]) assert.equal(await look(again, index, 'sync'), 'right')
  await store.close()

  store = await openStore(t, folder, { limitBytes })
  const more = store.open(sampleSpace('lru new', 12 * 128 * KIB, 128 * KIB))
  assert.equal(await putAll(more), 12)
  const first = store.open(spaces[0] as (typeof spaces)[0])
  const kept: number[] = []
  for (let index = 0; index < 8; index++) if ((await look(first, index)) === 'right') kept.push(index)
  assert.deepEqual(kept, [0, 2, 4, 6])
  assert.deepEqual(await tally(more), { right: 12, wrong: 0, miss: 0 })
})

test('a piece larger than the bound is refused, and still usable from memory', async (t) => {
  const space = sampleSpace('large', 2 * MIB, MIB)
  const store = await openStore(t, await cacheFolder(t), { limitBytes: MIB, memoryBytes: 8 * MIB })
  const cached = store.open(space)
  assert.equal(await put(cached, 0), false)
  assert.equal(await look(cached, 0), 'right')
  assert.equal((await store.usage()).pieces, 0)
})

test('a folder that is not empty and not a cache is refused and left alone', async (t) => {
  const folder = await cacheFolder(t)
  await writeFile(join(folder, 'thesis.txt'), 'mine')
  const opened = openPieceStore({ folder, limitBytes: MIB, minFreeBytes: 0, log: silentLog })
  await assert.rejects(opened, (error) => isAnnexfsError(error, 'INVALID'))
  assert.equal(await readFile(join(folder, 'thesis.txt'), 'utf8'), 'mine')
})

test('a cache of another version is emptied, of our own parts only', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('old', 3 * 16 * KIB, 16 * KIB)
  const first = await openStore(t, folder)
  await putAll(first.open(space))
  await first.close()
  await writeFile(join(folder, 'annexfs-cache'), 'annexfs cache 0\n')
  await writeFile(join(folder, 'mine.txt'), 'mine')
  const store = await openStore(t, folder)
  assert.deepEqual(await tally(store.open(space)), { right: 0, wrong: 0, miss: 3 })
  assert.equal(await readFile(join(folder, 'mine.txt'), 'utf8'), 'mine')
  assert.equal(await putAll(store.open(space)), 3)
})

test('two stores of one process on one folder see each other at once', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('shared', 4 * 128 * KIB, 128 * KIB)
  const one = (await openStore(t, folder)).open(space)
  const two = (await openStore(t, folder)).open(space)
  assert.equal(two.has(1), false)
  await put(one, 1)
  assert.equal(two.has(1), true)
  assert.equal(await look(two, 1, 'sync'), 'right')
  await put(two, 2)
  assert.equal(await look(one, 2), 'right')
  await one.drop()
  assert.deepEqual(await tally(two), { right: 0, wrong: 0, miss: 4 })
  assert.equal(await put(two, 0), true)
  assert.equal(await look(one, 0), 'right')
})

test('the floor of free space is kept: nothing is stored below it', async (t) => {
  const folder = await cacheFolder(t)
  const store = await openStore(t, folder, { minFreeBytes: Number.MAX_SAFE_INTEGER / 4 })
  const cached = store.open(sampleSpace('floor', 128 * KIB, 128 * KIB))
  assert.equal(await put(cached, 0), false)
})

test('usage tells what is on disk', async (t) => {
  const folder = await cacheFolder(t)
  const store = await openStore(t, folder, { limitBytes: 50 * MIB })
  const cached = store.open(sampleSpace('usage', 10 * 128 * KIB, 128 * KIB))
  await putAll(cached)
  const usage = await store.usage()
  assert.equal(usage.limitBytes, 50 * MIB)
  assert.equal(usage.spaces, 1)
  assert.equal(usage.pieces, 10)
  assert.ok(usage.usedBytes >= 10 * 128 * KIB && usage.usedBytes < 10 * 128 * KIB + 64 * KIB, String(usage.usedBytes))
})

test('a cache in a new folder of a new folder is made, privately', async (t) => {
  const folder = join(await cacheFolder(t), 'a', 'b')
  const cached = (await openStore(t, folder)).open(sampleSpace('deep', 10, 10))
  assert.equal(await put(cached, 0), true)
  await mkdir(join(folder, '..', 'beside'))
  assert.equal(bytesOf(cached.space, 0).length, 10)
})

test('more spaces than files that may be open are all usable', async (t) => {
  const store = await openStore(t, await cacheFolder(t))
  const all = Array.from({ length: 700 }, (_, nth) => store.open(sampleSpace(`many ${nth}`, 20, 10)))
  for (const cached of all) assert.equal(await putAll(cached), 2)
  for (const cached of all) assert.deepEqual(await tally(cached, 'sync'), { right: 2, wrong: 0, miss: 0 })
  await Promise.all(all.map(async (cached) => assert.equal(await look(cached, 1), 'right')))
})
