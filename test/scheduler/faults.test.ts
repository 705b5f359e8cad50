import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openPieceStore } from '../../lib/cache/open.js'
import { Spaces } from '../../lib/engine/spaces.js'
import { WrongContent } from '../../lib/engine/wholeness.js'
import { silentLog } from '../../lib/log/log.js'
import { Reader } from '../../lib/reader/reader.js'
import { faultRun } from '../support/fault-run.js'
import { faultSource } from '../support/fault-source.js'
import { bytesOf, memorySource, spaceOf } from '../support/memory.js'
import { temporaryFolder } from '../support/temp.js'

const seed = Number(process.env['ANNEXFS_TEST_SEED'] ?? Date.now() % 1_000_000)

for (const hashed of [true, false]) {
  test(
    `3,000 reads under a random schedule of faults give the right bytes or an error, ${hashed ? 'with' : 'without'} piece hashes`,
    { timeout: 180_000 },
    async (t) => {
      t.diagnostic(`seed ${seed}`)
      const { right, failed, faults, fetched } = await faultRun({
        seed,
        reads: 3_000,
        hashed,
        folder: await temporaryFolder(t),
      })
      t.diagnostic(`${right} right, ${failed} failed, ${fetched.toFixed(2)} bytes fetched per byte asked`)
      t.diagnostic([...faults].map(([what, times]) => `${what} ${times}`).join(', '))
      assert.ok(right > 40 * failed, `${right} right, ${failed} failed`)
      assert.ok((faults.get('error') ?? 0) > 10)
    },
  )
}

test('wrong bytes without piece hashes end in a mismatch, and then in the right ones from whoever is honest', async (t) => {
  t.diagnostic(`seed ${seed}`)
  const PIECE = 16 * 1024
  const bytes = bytesOf(60 * PIECE + 77, seed)
  const space = spaceOf(bytes, PIECE, `key:lies-${seed}`)
  const store = await openPieceStore({
    folder: await temporaryFolder(t),
    limitBytes: 2 ** 30,
    minFreeBytes: 0,
    log: silentLog,
  })
  t.after(() => store.close())
  const spaces = new Spaces({ store, cacheLimit: 2 ** 30, log: silentLog })
  t.after(() => spaces.close())
  const sources = ['a', 'b', 'c'].map((name, n) => {
    const source = memorySource(bytes, { name, longest: 4 * PIECE })
    return faultSource(source, { seed: seed + n, delay: 0.2, error: 0.02, wrong: name === 'b' ? 0 : 0.3 })
  })
  const slice = { space, offset: 0, length: bytes.byteLength }
  let mismatches = 0
  for (let tries = 0; tries < 10; tries++) {
    const active = spaces.acquire({
      slice,
      sources: async () => ({ sources, unusable: [] }),
      check: async () => {
        const all = Buffer.alloc(bytes.byteLength)
        for (let at = 0; at < all.length; at += PIECE) {
          const index = at / PIECE
          const part = await active.cache.read(index, 0, Math.min(PIECE, all.length - at))
          if (part === undefined) return 'incomplete'
          all.set(part, at)
        }
        return all.equals(bytes) ? 'match' : 'mismatch'
      },
    })
    const { wholeness } = active
    const { generation } = wholeness
    const reader = new Reader({
      slice,
      cache: active.cache,
      fetcher: active.fetcher,
      readahead: 20 * PIECE,
      log: silentLog,
      gate: (signal) => {
        if (wholeness.generation !== generation) throw new WrongContent(space.id)
        return wholeness.purged(signal)
      },
    })
    try {
      const got = Buffer.alloc(bytes.byteLength)
      for (let at = 0; at < got.length; at += 3 * PIECE) {
        const into = got.subarray(at, at + 3 * PIECE)
        const result = await reader.read(at, into.byteLength, into, AbortSignal.timeout(60_000))
        if (typeof result !== 'number') into.set(result)
      }
      await wholeness.settled(generation)
      assert.ok(got.equals(bytes), 'what was found right is right')
      t.diagnostic(`right after ${mismatches} mismatches`)
      return
    } catch (error) {
      if (!(error instanceof WrongContent)) throw error
      mismatches += 1
    } finally {
      reader.close()
      active.release()
    }
  }
  assert.fail(`no honest source was found in ${mismatches} tries`)
})
