import assert from 'node:assert/strict'
import { closeSync, existsSync, ftruncateSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { copyFile, mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { checkCache } from '../../lib/cache/inspect.js'
import { cacheFolder, KIB, look, openStore, pick, put, putAll, sampleSpace, seeded, seedFor, tally } from './support.js'
import type { PieceSpace } from '../../lib/space/space.js'

const LENGTH = 32 * KIB

function fileOf(folder: string, space: PieceSpace, file: 'data' | 'index'): string {
  const name = createHash('sha256').update(space.id).digest('hex')
  return join(folder, 'spaces', name.slice(0, 2), name, file)
}

function flipBit(path: string, byte: number, bit: number): void {
  const fd = openSync(path, 'r+')
  const one = Buffer.alloc(1)
  readSync(fd, one, 0, 1, byte)
  one[0] = (one[0] ?? 0) ^ (1 << bit)
  writeSync(fd, one, 0, 1, byte)
  closeSync(fd)
}

for (const when of ['live', 'at rest'] as const) {
  test(`goal 14: a bit flipped in each of 1,000 pieces, ${when}: no wrong byte, and it can be put again`, async (t) => {
    const random = seeded(seedFor(t))
    const folder = await cacheFolder(t)
    const space = sampleSpace('flip', 1000 * LENGTH, LENGTH)
    let store = await openStore(t, folder)
    let cached = store.open(space)
    assert.equal(await putAll(cached), 1000)
    if (when === 'at rest') await store.close()
    for (let index = 0; index < 1000; index++) {
      flipBit(fileOf(folder, space, 'data'), index * LENGTH + pick(random, LENGTH), pick(random, 8))
    }
    if (when === 'at rest') {
      store = await openStore(t, folder)
      cached = store.open(space)
    }
    for (let index = 0; index < 1000; index++) {
      assert.equal(await look(cached, index, index % 2 === 0 ? 'sync' : 'async'), 'miss', `piece ${index}`)
      assert.equal(cached.has(index), false)
    }
    assert.equal(cached.summary().cachedBytes, 0)
    assert.equal(await putAll(cached), 1000)
    assert.deepEqual(await tally(cached, 'sync'), { right: 1000, wrong: 0, miss: 0 })
  })
}

test('goal 14: bits flipped anywhere in the index: no wrong byte', async (t) => {
  const random = seeded(seedFor(t))
  const folder = await cacheFolder(t)
  const space = sampleSpace('flip index', 64 * LENGTH, LENGTH)
  const cached = (await openStore(t, folder)).open(space)
  await putAll(cached)
  const index = fileOf(folder, space, 'index')
  for (let round = 0; round < 50; round++) {
    for (let nth = 0; nth < 20; nth++) flipBit(index, 4096 + pick(random, statSync(index).size - 4096), pick(random, 8))
    assert.equal((await tally(cached, round % 2 === 0 ? 'sync' : 'async')).wrong, 0)
    assert.equal(await putAll(cached), 64)
  }
})

test('goal 14: a small read finds the damage of its own block, and is not harmed by that of another', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('block', 128 * KIB, 128 * KIB)
  const cached = (await openStore(t, folder)).open(space)
  await put(cached, 0)
  flipBit(fileOf(folder, space, 'data'), 40_000, 3)
  const into = Buffer.alloc(4096)
  assert.equal(cached.readSync(0, 0, 4096, into), 'hit')
  assert.equal(cached.readSync(0, 49_152, 53_248, into), 'hit')
  assert.equal(cached.readSync(0, 36_864, 40_960, into), 'miss')
  assert.equal(cached.has(0), false)
})

test('goal 15: pieces swapped within a space: no wrong byte', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('swap', 4 * LENGTH, LENGTH)
  const cached = (await openStore(t, folder)).open(space)
  await putAll(cached)
  const path = fileOf(folder, space, 'data')
  const data = await readFile(path)
  const swapped = Buffer.concat([2, 3, 0, 1].map((index) => data.subarray(index * LENGTH, (index + 1) * LENGTH)))
  await writeFile(path, swapped)
  assert.deepEqual(await tally(cached), { right: 0, wrong: 0, miss: 4 })
})

test('goal 15: blocks swapped within a piece, and records and sums moved along: no wrong byte', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('swap blocks', 4 * LENGTH, LENGTH)
  const cached = (await openStore(t, folder)).open(space)
  await putAll(cached)
  const data = await readFile(fileOf(folder, space, 'data'))
  const index = await readFile(fileOf(folder, space, 'index'))
  const half = LENGTH / 2
  // Piece 0: its two blocks change places together with their sums.
  data.copyWithin(3 * LENGTH, 0, half)
  data.copyWithin(0, half, LENGTH)
  data.copyWithin(half, 3 * LENGTH, 3 * LENGTH + half)
  const sums = 3 * 4096
  const first = Buffer.from(index.subarray(sums, sums + 4))
  index.copyWithin(sums, sums + 4, sums + 8)
  first.copy(index, sums + 4)
  // Piece 1 becomes a perfect copy of piece 2: data, sums and record.
  data.copyWithin(LENGTH, 2 * LENGTH, 3 * LENGTH)
  index.copyWithin(sums + 8, sums + 16, sums + 24)
  index.copyWithin(4096 + 16, 4096 + 32, 4096 + 48)
  await writeFile(fileOf(folder, space, 'data'), data)
  await writeFile(fileOf(folder, space, 'index'), index)
  assert.equal(await look(cached, 0), 'miss')
  assert.equal(await look(cached, 1), 'miss')
  assert.equal(await look(cached, 2), 'right')
})

test('goal 15: data, index, or both of another space: no wrong byte', async (t) => {
  for (const files of [['data'], ['index'], ['data', 'index']] as const) {
    const folder = await cacheFolder(t)
    const one = sampleSpace('one', 4 * LENGTH, LENGTH)
    const two = sampleSpace('two', 4 * LENGTH, LENGTH)
    const store = await openStore(t, folder)
    await putAll(store.open(one))
    await putAll(store.open(two))
    await store.close()
    for (const file of files) await copyFile(fileOf(folder, one, file), fileOf(folder, two, file))
    const again = await openStore(t, folder)
    assert.deepEqual(await tally(again.open(two)), { right: 0, wrong: 0, miss: 4 }, files.join())
    assert.deepEqual(await tally(again.open(one)), { right: 4, wrong: 0, miss: 0 })
    assert.equal(await putAll(again.open(two)), 4)
    assert.deepEqual(await tally(again.open(two)), { right: 4, wrong: 0, miss: 0 })
  }
})

test('goal 15: records of another space put into the index: no wrong byte', async (t) => {
  const folder = await cacheFolder(t)
  const one = sampleSpace('one', 4 * LENGTH, LENGTH)
  const two = sampleSpace('two', 4 * LENGTH, LENGTH)
  const store = await openStore(t, folder)
  await putAll(store.open(one))
  await putAll(store.open(two))
  const foreign = (await readFile(fileOf(folder, one, 'index'))).subarray(4096)
  const fd = openSync(fileOf(folder, two, 'index'), 'r+')
  writeSync(fd, foreign, 0, foreign.length, 4096)
  closeSync(fd)
  await copyFile(fileOf(folder, one, 'data'), fileOf(folder, two, 'data'))
  assert.deepEqual(await tally(store.open(two), 'sync'), { right: 0, wrong: 0, miss: 4 })
})

test('goal 15: truncated data or index, live and at rest: no wrong byte', async (t) => {
  const random = seeded(seedFor(t))
  const folder = await cacheFolder(t)
  const space = sampleSpace('cut', 8 * LENGTH + 1000, LENGTH)
  let store = await openStore(t, folder)
  for (let round = 0; round < 40; round++) {
    assert.equal(await putAll(store.open(space)), 9)
    const path = fileOf(folder, space, round % 2 === 0 ? 'data' : 'index')
    const { size } = statSync(path)
    if (round % 4 < 2) {
      const fd = openSync(path, 'r+')
      ftruncateSync(fd, pick(random, size))
      closeSync(fd)
    } else {
      await store.close()
      await truncate(path, pick(random, size))
      store = await openStore(t, folder)
    }
    assert.equal((await tally(store.open(space), round % 3 === 0 ? 'sync' : 'async')).wrong, 0)
  }
})

test('goal 15: an index of another format or of another length of the space is started anew', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('format', 4 * LENGTH, LENGTH)
  let store = await openStore(t, folder)
  await putAll(store.open(space))
  await store.close()
  flipBit(fileOf(folder, space, 'index'), 16, 1)
  store = await openStore(t, folder)
  assert.deepEqual(await tally(store.open(space)), { right: 0, wrong: 0, miss: 4 })
  assert.equal(await putAll(store.open(space)), 4)
  await store.close()
  const longer = sampleSpace('format', 6 * LENGTH, LENGTH)
  store = await openStore(t, folder)
  assert.deepEqual(await tally(store.open(longer)), { right: 0, wrong: 0, miss: 6 })
  assert.equal(await putAll(store.open(longer)), 6)
  assert.deepEqual(await tally(store.open(longer)), { right: 6, wrong: 0, miss: 0 })
})

test('checking the cache finds all damage, removes what does not belong, and says so', async (t) => {
  const folder = await cacheFolder(t)
  const space = sampleSpace('checked', 20 * LENGTH, LENGTH)
  const store = await openStore(t, folder)
  await putAll(store.open(space))
  await store.close()
  for (const index of [3, 7, 11]) flipBit(fileOf(folder, space, 'data'), index * LENGTH + 77, 0)
  await writeFile(join(folder, 'stranger'), 'x')
  await mkdir(join(folder, 'clones', 'some'), { recursive: true })
  await writeFile(join(folder, 'spaces', 'stranger'), 'x')
  const report = await checkCache(folder, new AbortController().signal)
  const { badPieces, pieces, spaces, strangers, removedSpaces } = report
  assert.deepEqual(
    { badPieces, pieces, spaces, strangers, removedSpaces },
    { badPieces: 3, pieces: 17, spaces: 1, strangers: 2, removedSpaces: 0 },
  )
  assert.ok(existsSync(join(folder, 'clones', 'some')), 'clones of repositories are ours')
  const again = await openStore(t, folder)
  assert.deepEqual(await tally(again.open(space)), { right: 17, wrong: 0, miss: 3 })
})
