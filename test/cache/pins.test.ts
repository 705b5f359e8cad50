import assert from 'node:assert/strict'
import { chmod, lstat, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { checkCache, clearCache } from '../../lib/cache/inspect.js'
import { openPieceStore } from '../../lib/cache/open.js'
import type { PieceStore } from '../../lib/cache/store.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import type { Slice } from '../../lib/space/space.js'
import { temporaryFolder } from '../support/temp.js'
import { KIB, look, MIB, put, putAll, sampleSpace } from './support.js'

const PIECE = 64 * KIB
const LIMIT_BYTES = 4 * MIB

async function storeIn(t: TestContext, folder: string, limitBytes = LIMIT_BYTES): Promise<PieceStore> {
  const store = await openPieceStore({ folder, limitBytes, minFreeBytes: 0, log: silentLog, memoryBytes: 0 })
  t.after(() => store.close())
  return store
}

const sliceOf = (name: string, length: number): Slice => {
  return { space: sampleSpace(name, length, PIECE), offset: 0, length }
}

/** Puts more than the cache holds. */
async function flood(store: PieceStore, name: string): Promise<void> {
  const cached = store.open(sampleSpace(name, 3 * LIMIT_BYTES, PIECE))
  await putAll(cached)
  cached.close()
}

async function countOf(store: PieceStore, { space }: Slice): Promise<number> {
  const cached = store.open(space)
  let right = 0
  for (let index = 0; index * PIECE < space.length; index++) if ((await look(cached, index)) === 'right') right++
  cached.close()
  return right
}

test('pinned pieces stay, whatever else comes and whoever brings it', async (t) => {
  const folder = join(await temporaryFolder(t), 'cache')
  const one = await storeIn(t, folder)
  const two = await storeIn(t, folder)
  const kept = sliceOf('kept', MIB)
  const other = sliceOf('other', MIB)
  for (const slice of [kept, other]) {
    const cached = one.open(slice.space)
    assert.equal(await putAll(cached), 16)
    cached.close()
  }
  await one.pins.add(kept, '/kept')
  assert.ok(two.pins.has(kept), 'everybody sees it')
  assert.ok(!two.pins.has(other))
  assert.equal(await two.pins.bytes(), MIB)
  await flood(one, 'a')
  await flood(two, 'b')
  assert.equal(await countOf(one, kept), 16)
  assert.equal(await countOf(two, other), 0)
  assert.ok((await one.usage()).usedBytes <= LIMIT_BYTES)
  await one.close()
  await two.close()

  const again = await storeIn(t, folder)
  assert.ok(again.pins.has(kept), 'after a restart, too')
  await flood(again, 'c')
  assert.equal(await countOf(again, kept), 16)
  assert.ok(await again.pins.remove(kept))
  assert.ok(!(await again.pins.remove(kept)))
  await flood(again, 'd')
  assert.equal(await countOf(again, kept), 0)
})

test('of a file inside a torrent only its own pieces are pinned', async (t) => {
  const store = await storeIn(t, join(await temporaryFolder(t), 'cache'))
  const space = sampleSpace('torrent', 2 * MIB, PIECE)
  const cached = store.open(space)
  await putAll(cached)
  const file = { space, offset: MIB + 1000, length: 2 * PIECE }
  await store.pins.add(file, '/file')
  assert.equal(await store.pins.bytes(), 3 * PIECE)
  await flood(store, 'a')
  const left = []
  for (let index = 0; index < 32; index++) if ((await look(cached, index)) === 'right') left.push(index)
  assert.deepEqual(left, [16, 17, 18])
  cached.close()
})

test('no more than three quarters of the cache can be pinned, by several together', async (t) => {
  const folder = join(await temporaryFolder(t), 'cache')
  const one = await storeIn(t, folder)
  const stores = [one, await storeIn(t, folder)]
  const tries = Array.from({ length: 8 }, (_, n) => (stores[n % 2] ?? one).pins.add(sliceOf(`pin ${n}`, MIB), `/${n}`))
  const results = await Promise.allSettled(tries)
  const refused = results.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
  assert.equal(refused.length, 5)
  for (const error of refused) {
    assert.ok(isAnnexfsError(error, 'FORBIDDEN'), String(error))
    assert.match(error.message, /three quarters/)
  }
  assert.equal(await stores[0]?.pins.bytes(), 3 * MIB)
  const pinned = results.findIndex((one) => one.status === 'fulfilled')
  await stores[1]?.pins.add(sliceOf(`pin ${pinned}`, MIB), 'again')
  assert.equal(await stores[0]?.pins.bytes(), 3 * MIB, 'pinning twice counts once')
})

test('a smaller bound than that of who pinned is kept all the same', async (t) => {
  const folder = join(await temporaryFolder(t), 'cache')
  const large = await storeIn(t, folder, 16 * MIB)
  for (const name of ['one', 'two', 'three']) {
    const slice = sliceOf(name, 2 * MIB)
    const cached = large.open(slice.space)
    await putAll(cached)
    cached.close()
    await large.pins.add(slice, name)
  }
  await large.close()
  const small = await storeIn(t, folder, LIMIT_BYTES)
  await flood(small, 'a')
  assert.ok((await small.usage()).usedBytes <= LIMIT_BYTES)
  assert.equal(await countOf(small, sliceOf('one', 2 * MIB)), 32, 'the oldest pins that fit still hold')
})

test('evicting a slice takes its pieces and no others, and pinned ones stay', async (t) => {
  const store = await storeIn(t, join(await temporaryFolder(t), 'cache'))
  const space = sampleSpace('x', MIB, PIECE)
  const cached = store.open(space)
  await putAll(cached)
  await store.pins.add({ space, offset: 4 * PIECE, length: PIECE }, '/pinned')
  const evicted = await store.evict({ space, offset: 2 * PIECE + 1, length: 3 * PIECE })
  assert.deepEqual(evicted, { pieces: 3, bytes: 3 * PIECE })
  const left = []
  for (let index = 0; index < 16; index++) if (cached.has(index)) left.push(index)
  assert.deepEqual(left, [0, 1, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
  assert.equal(store.evicted.pieces, 3)
  assert.deepEqual(await store.evict(sliceOf('nothing', MIB)), { pieces: 0, bytes: 0 })
  assert.ok(await put(cached, 3))
  assert.equal(await look(cached, 3), 'right')
  cached.close()
})

test('the folder of pins is closed to others, checked and emptied with the rest, and no link in it is followed', async (t) => {
  const folder = join(await temporaryFolder(t), 'cache')
  const store = await storeIn(t, folder)
  const before = process.umask(0)
  t.after(() => process.umask(before))
  await store.pins.add(sliceOf('x', MIB), '/x\nwith a line')
  const pins = join(folder, 'pins')
  assert.equal((await lstat(pins)).mode & 0o777, 0o700)
  const [own] = await readdir(pins)
  assert.equal((await lstat(join(pins, own ?? ''))).mode & 0o777, 0o600)
  await writeFile(join(pins, 'stranger'), '')
  await symlink('/etc/passwd', join(pins, `${'0'.repeat(64)}-0-1-5`))
  assert.equal(await store.pins.bytes(), MIB)
  assert.equal((await checkCache(folder, new AbortController().signal)).strangers, 2)
  assert.deepEqual(await readdir(pins), [own])
  await clearCache(folder)
  assert.equal(await store.pins.bytes(), 0)
  await chmod(folder, 0o700)
})
