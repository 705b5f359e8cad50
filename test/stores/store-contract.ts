import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import type { Demand } from '../../lib/sources/source.js'
import type { ByteRange } from '../../lib/space/space.js'
import type { ObjectName, ObjectStore, StoredObject } from '../../lib/stores/store.js'
import { randomNumbers } from '../sources/contract.js'
import { measured } from '../support/marks.js'

export interface StoreSetup {
  readonly store: ObjectStore
  /** An object that is there, some hundred kilobytes or more; its size given where the name says it. */
  readonly name: ObjectName
  readonly content: Buffer
  /** The name of one that is not. */
  readonly absent: ObjectName
}

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

/** What every {@link ObjectStore} promises. `make` sets one up, for all of the suite, which closes the store. */
export function storeContract(kind: string, make: (t: TestContext) => Promise<StoreSetup>): void {
  test(kind, { timeout: 360_000 }, async (suite) => {
    const setup = await make(suite)
    suite.after(() => setup.store.close?.())
    const setUp = async (t: TestContext): Promise<StoreSetup & { object: StoredObject }> => {
      const object = await setup.store.open(setup.name, soon())
      assert.ok(object, 'the store has its object')
      t.after(() => object.close?.())
      return { ...setup, object }
    }

    await suite.test('gives exactly the bytes of random ranges', { timeout: 180_000 }, async (t) => {
      const { object, content } = await setUp(t)
      const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
      t.diagnostic(`seed ${seed}`)
      const random = randomNumbers(seed)
      const ranges = Array.from({ length: 20 }, () => randomRange(random, content.length))
      const { length } = content
      ranges.push({ start: 0, end: length }, { start: length - 1, end: length }, { start: 0, end: 1 })
      for (const range of ranges) {
        const got = await readObject(object, range)
        assert.ok(got.equals(content.subarray(range.start, range.end)), `bytes ${range.start} to ${range.end}`)
      }
      assert.ok(object.size === undefined || object.size === length)
      assert.ok(object.unit > 0 && object.longest > 0 && object.parallel > 0)
    })

    await suite.test('serves several reads at once', { timeout: 180_000 }, async (t) => {
      const { object, content } = await setUp(t)
      const random = randomNumbers(11)
      const ranges = Array.from({ length: 12 }, () => randomRange(random, content.length))
      const all = await Promise.all(ranges.map((range) => readObject(object, range)))
      ranges.forEach((range, index) => assert.ok(all[index]?.equals(content.subarray(range.start, range.end))))
    })

    await suite.test('an empty range is no bytes', { timeout: 180_000 }, async (t) => {
      const { object } = await setUp(t)
      assert.equal((await readObject(object, { start: 5, end: 5 })).length, 0)
    })

    await suite.test('gives all of an object, whatever its size is said to be', { timeout: 180_000 }, async (t) => {
      const { object, store, name, content } = await setUp(t)
      assert.ok((await readWhole(object, content.length)).equals(content))
      const { size: _, ...unsized } = name
      const again = await store.open(unsized, soon())
      assert.ok(again)
      t.after(() => again.close?.())
      assert.ok((await readWhole(again, content.length + 1000)).equals(content))
    })

    await suite.test('gives no more than the most that is taken', { timeout: 180_000 }, async (t) => {
      const { object, content } = await setUp(t)
      const most = content.length - 1
      let got = 0
      const reading = (async () => {
        for await (const bytes of object.all(most, { urgency: 'read', signal: soon() })) got += bytes.length
      })()
      await assert.rejects(reading, (error) => isAnnexfsError(error, 'CORRUPT'))
      assert.ok(got <= most, `${got} bytes`)
    })

    await suite.test('says that it has not what it has not', { timeout: 180_000 }, async (t) => {
      const { store, absent } = await setUp(t)
      const object = await store.open(absent, soon())
      if (object === undefined) return
      t.after(() => object.close?.())
      await assert.rejects(readObject(object, { start: 0, end: 1 }), (error) => isAnnexfsError(error, 'NOT_FOUND'))
      await assert.rejects(readWhole(object, 1000), (error) => isAnnexfsError(error, 'NOT_FOUND'))
    })

    await suite.test('an object of another size is an error or none', { timeout: 180_000 }, async (t) => {
      const { store, name, content } = await setUp(t)
      for (const size of [content.length - 1, content.length + 1]) {
        const failure = await failureOf(async () => {
          const object = await store.open({ ...name, size }, soon())
          if (object === undefined) return
          t.after(() => object.close?.())
          await readObject(object, { start: 0, end: size })
          assert.fail(`${size} bytes were given`)
        })
        assert.ok(failure === undefined || failure === 'CORRUPT', String(failure))
      }
    })

    await suite.test('a fired signal ends a read at once', { timeout: 180_000 }, async (t) => {
      const { object, content, store, name } = await setUp(t)
      const gone = AbortSignal.abort()
      await assert.rejects(readObject(object, { start: 0, end: 10 }, gone), (error) => isAnnexfsError(error, 'ABORTED'))
      await assert.rejects(store.open(name, gone), (error) => isAnnexfsError(error, 'ABORTED'))
      const stop = new AbortController()
      const started = performance.now()
      const failure = await failureOf(async () => {
        for await (const _ of object.read(
          { start: 0, end: content.length },
          { urgency: 'read', signal: stop.signal },
        )) {
          stop.abort()
        }
      })
      // What was already at hand may still come; nothing may hang.
      assert.ok(failure === undefined || failure === 'ABORTED', String(failure))
      measured(t, 'ended after', performance.now() - started, { mark: 1000, alarm: 45_000 })
    })

    await suite.test('an early return lets go, and the object can still be read', { timeout: 180_000 }, async (t) => {
      const { object, content } = await setUp(t)
      for (let round = 0; round < 10; round++) {
        const demand: Demand = { urgency: 'readahead', signal: soon() }
        for await (const _ of object.read({ start: 0, end: content.length }, demand)) break
        for await (const _ of object.all(content.length, demand)) break
      }
      const got = await readObject(object, { start: 100, end: 5_000 })
      assert.ok(got.equals(content.subarray(100, 5_000)))
    })
  })
}

async function failureOf(work: () => Promise<void>): Promise<ErrorCode | undefined> {
  try {
    await work()
    return undefined
  } catch (error) {
    if (isAnnexfsError(error)) return error.code
    throw error
  }
}

export async function readObject(object: StoredObject, range: ByteRange, signal = soon()): Promise<Buffer> {
  return gathered(object.read(range, { urgency: 'read', signal }))
}

export async function readWhole(object: StoredObject, most: number, signal = soon()): Promise<Buffer> {
  return gathered(object.all(most, { urgency: 'read', signal }))
}

async function gathered(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of body) parts.push(part)
  return Buffer.concat(parts)
}

function randomRange(random: () => number, length: number): ByteRange {
  const start = Math.floor(random() * length)
  const longest = random() < 0.5 ? 5_000 : length
  return { start, end: Math.min(length, start + 1 + Math.floor(random() * longest)) }
}
