import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { PieceStore } from '../../lib/cache/store.js'
import { pieceCount, pieceSize } from '../../lib/space/space.js'
import { checkPiece } from '../../lib/verify/piece.js'
import { allBytesOf, bytesOf, KIB, look, MIB, put, putAll, sampleSpace, tally } from './support.js'

/** What any PieceStore must do, whatever it keeps pieces in. `open` gives an empty store with room for 16 MiB. */
export function pieceStoreContract(name: string, open: (t: TestContext) => Promise<PieceStore>): void {
  const odd = sampleSpace('odd', 5 * 128 * KIB + 12_345, 128 * KIB)

  test(`${name}: nothing is there before it was put`, async (t) => {
    const cached = (await open(t)).open(odd)
    assert.equal(cached.has(0), false)
    assert.equal(cached.readSync(0, 0, 10, Buffer.alloc(10)), 'miss')
    assert.equal(await cached.read(0, 0, 10), undefined)
    assert.deepEqual(cached.summary(), { cachedBytes: 0, complete: false, assurance: 'none' })
    assert.equal(cached.cachedIn(0, odd.length), 0)
    await cached.drop()
    await cached.markWhole()
    cached.close()
  })

  test(`${name}: what was put is read back, in any range, in both ways`, async (t) => {
    const cached = (await open(t)).open(odd)
    assert.equal(await putAll(cached), 6)
    for (const index of [0, 3, 5]) {
      const bytes = bytesOf(odd, index)
      const size = bytes.length
      const ranges = [0, 1, 4095, 4096, 12_344, 12_345, 16_383, 16_384, 16_385, 40_000, 65_536, size - 1, size]
      for (const start of ranges) {
        for (const end of ranges) {
          if (start >= end || end > size) continue
          const into = Buffer.alloc(end - start + 3, 7)
          assert.equal(cached.readSync(index, start, end, into), 'hit')
          assert.ok(into.subarray(0, end - start).equals(bytes.subarray(start, end)), `${index} ${start} ${end}`)
          assert.deepEqual([...into.subarray(end - start)], [7, 7, 7])
          const read = await cached.read(index, start, end)
          assert.ok(read !== undefined && Buffer.compare(read, bytes.subarray(start, end)) === 0)
        }
      }
    }
  })

  test(`${name}: counts what is there`, async (t) => {
    const cached = (await open(t)).open(odd)
    assert.equal(await put(cached, 5), true)
    assert.deepEqual(cached.summary(), { cachedBytes: 12_345, complete: false, assurance: 'pending' })
    assert.equal(cached.cachedIn(0, odd.length), 12_345)
    assert.equal(cached.cachedIn(5 * 128 * KIB + 45, odd.length), 12_300)
    assert.equal(cached.cachedIn(0, 5 * 128 * KIB), 0)
    await putAll(cached)
    assert.deepEqual(cached.summary(), { cachedBytes: odd.length, complete: true, assurance: 'pending' })
    assert.equal(cached.cachedIn(100, 300), 200)
    assert.equal(cached.cachedIn(128 * KIB - 5, 128 * KIB + 5), 10)
  })

  test(`${name}: a space that was checked as a whole stays so until a piece of it is put anew`, async (t) => {
    const cached = (await open(t)).open(odd)
    await putAll(cached)
    await cached.markWhole()
    assert.equal(cached.summary().assurance, 'whole')
    assert.equal(await put(cached, 2), true, 'the same piece again')
    assert.equal(cached.summary().assurance, 'whole')
    assert.deepEqual(await tally(cached), { right: 6, wrong: 0, miss: 0 })
    await cached.drop()
    await putAll(cached)
    assert.equal(cached.summary().assurance, 'pending')
  })

  test(`${name}: a piece with a hash is stored as one`, async (t) => {
    const { createHash } = await import('node:crypto')
    const plain = sampleSpace('hashed', 3 * 16 * KIB, 16 * KIB)
    const hashes = {
      algorithm: 'sha1' as const,
      at: (index: number) => createHash('sha1').update(bytesOf(plain, index)).digest(),
    }
    const cached = (await open(t)).open({ ...plain, hashes })
    await putAll(cached)
    assert.deepEqual(cached.summary(), { cachedBytes: plain.length, complete: true, assurance: 'piece' })
  })

  test(`${name}: dropping forgets everything, and new pieces are kept again`, async (t) => {
    const cached = (await open(t)).open(odd)
    await putAll(cached)
    await cached.drop()
    assert.equal(cached.has(0), false)
    assert.deepEqual(await tally(cached, 'sync'), { right: 0, wrong: 0, miss: 6 })
    assert.deepEqual(cached.summary(), { cachedBytes: 0, complete: false, assurance: 'none' })
    assert.equal(await put(cached, 1), true)
    assert.equal(await look(cached, 1), 'right')
  })

  test(`${name}: other bytes for a pending piece replace it`, async (t) => {
    const cached = (await open(t)).open(odd)
    await put(cached, 0, 1)
    assert.equal(await look(cached, 0), 'wrong')
    assert.equal(await put(cached, 0), true)
    assert.equal(await look(cached, 0), 'right')
    assert.equal(await look(cached, 0, 'sync'), 'right')
  })

  test(`${name}: many puts of one piece at once are as good as one`, async (t) => {
    const cached = (await open(t)).open(odd)
    const all = await Promise.all(Array.from({ length: 30 }, (_, nth) => put(cached, nth % 3)))
    assert.ok(all.every(Boolean))
    assert.deepEqual(await tally(cached), { right: 3, wrong: 0, miss: 3 })
  })

  test(`${name}: puts, reads and drops at once never give a wrong byte`, async (t) => {
    const cached = (await open(t)).open(odd)
    const outcomes: string[] = []
    await Promise.all(
      Array.from({ length: 200 }, async (_, nth) => {
        if (nth % 20 === 19) await cached.drop()
        else if (nth % 2 === 0) await put(cached, nth % 6)
        else outcomes.push(await look(cached, nth % 6, nth % 4 === 1 ? 'sync' : 'async'))
      }),
    )
    assert.ok(!outcomes.includes('wrong'))
    assert.equal(await putAll(cached), 6)
    assert.deepEqual(await tally(cached), { right: 6, wrong: 0, miss: 0 })
  })

  test(`${name}: pieces of all sizes`, async (t) => {
    const store = await open(t)
    for (const pieceLength of [1, 100, 4096, 16_383, 16_384, 16_385, 100_000, MIB, 3 * MIB + 1]) {
      const space = sampleSpace(`size ${pieceLength}`, Math.floor(pieceLength * 2.5), pieceLength)
      const cached = store.open(space)
      assert.equal(await putAll(cached), pieceCount(space), `pieces of ${pieceLength}`)
      const expected = { right: pieceCount(space), wrong: 0, miss: 0 }
      assert.deepEqual(await tally(cached), expected)
      assert.deepEqual(await tally(cached, 'sync'), expected)
      await cached.drop()
      cached.close()
    }
  })

  test(`${name}: what makes no sense is a miss or refused, never an exception`, async (t) => {
    const store = await open(t)
    const cached = store.open(odd)
    await putAll(cached)
    const into = Buffer.alloc(200_000)
    for (const index of [-1, 6, 0.5, Number.NaN, 2 ** 40]) {
      assert.equal(cached.has(index), false)
      assert.equal(cached.readSync(index, 0, 1, into), 'miss')
      assert.equal(await cached.read(index, 0, 1), undefined)
    }
    const size = pieceSize(odd, 5)
    assert.equal(await cached.read(5, 0, size + 1), undefined)
    assert.equal(cached.readSync(5, 10, 10, into), 'miss')
    assert.equal(cached.readSync(5, -1, 10, into), 'miss')
    const other = sampleSpace('other', odd.length, odd.pieceLength)
    assert.equal(await cached.put(await checkPiece(other, 0, bytesOf(other, 0))), false)
    const empty = store.open(sampleSpace('empty', 0, 128 * KIB))
    assert.equal(empty.has(0), false)
    assert.equal(empty.summary().cachedBytes, 0)
  })

  test(`${name}: two who have a space open see each other's pieces; closing one leaves the other`, async (t) => {
    const store = await open(t)
    const one = store.open(odd)
    const two = store.open(odd)
    await put(one, 0)
    assert.equal(await look(two, 0), 'right')
    one.close()
    one.close()
    assert.equal(one.has(0), false)
    assert.equal(await look(two, 0), 'right')
    assert.equal(await put(two, 1), true)
  })

  test(`${name}: closing with work under way harms nothing`, async (t) => {
    const store = await open(t)
    const cached = store.open(odd)
    const work = [put(cached, 0), put(cached, 1), cached.read(0, 0, 100), cached.drop(), put(cached, 2)]
    await store.close()
    await Promise.all(work)
    assert.equal(await cached.put(await checkPiece(odd, 0, bytesOf(odd, 0))), false)
    assert.equal(await cached.read(0, 0, 1), undefined)
    await store.close()
  })

  test(`${name}: reads of a whole space are its bytes`, async (t) => {
    const cached = (await open(t)).open(odd)
    await putAll(cached)
    const into = Buffer.alloc(odd.length)
    for (let index = 0; index < 6; index++) {
      const at = index * odd.pieceLength
      assert.equal(cached.readSync(index, 0, pieceSize(odd, index), into.subarray(at)), 'hit')
    }
    assert.ok(into.equals(allBytesOf(odd)))
  })
}
