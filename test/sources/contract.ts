import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import type { Holding, Source } from '../../lib/sources/source.js'
import type { ByteRange, PieceSpace, SpaceId } from '../../lib/space/space.js'
import { measured } from '../support/marks.js'

export interface ContractSetup {
  readonly source: Source
  /** The content that the source has. */
  readonly content: Buffer
  readonly space?: PieceSpace
}

/** What every {@link Source} promises. `make` sets one up that has some hundred kilobytes or more. */
export function sourceContract(kind: string, make: (t: TestContext) => Promise<ContractSetup>): void {
  const setUp = async (t: TestContext): Promise<{ holding: Holding; content: Buffer; source: Source }> => {
    const { source, content, space = spaceOf(content.length) } = await make(t)
    t.after(() => source.close?.())
    const holding = await source.find(space, AbortSignal.timeout(60_000))
    assert.ok(holding, 'the source finds its content')
    return { holding, content, source }
  }

  test(`${kind}: gives exactly the bytes of random ranges`, { timeout: 180_000 }, async (t) => {
    const { holding, content } = await setUp(t)
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
    t.diagnostic(`seed ${seed}`)
    const random = randomNumbers(seed)
    const ranges = Array.from({ length: 40 }, () => randomRange(random, content.length))
    ranges.push(
      { start: 0, end: content.length },
      { start: content.length - 1, end: content.length },
      { start: 0, end: 1 },
    )
    for (const range of ranges) {
      assert.ok(holding.has(range))
      const got = await readAll(holding, range)
      assert.ok(got.equals(content.subarray(range.start, range.end)), `bytes ${range.start} to ${range.end}`)
    }
  })

  test(`${kind}: serves several reads at once`, { timeout: 180_000 }, async (t) => {
    const { holding, content } = await setUp(t)
    const random = randomNumbers(7)
    const ranges = Array.from({ length: 24 }, () => randomRange(random, content.length))
    const all = await Promise.all(ranges.map((range) => readAll(holding, range)))
    ranges.forEach((range, index) => assert.ok(all[index]?.equals(content.subarray(range.start, range.end))))
  })

  test(`${kind}: an empty range is no bytes`, { timeout: 180_000 }, async (t) => {
    const { holding } = await setUp(t)
    assert.equal((await readAll(holding, { start: 5, end: 5 })).length, 0)
  })

  test(`${kind}: refuses what lies past the end`, { timeout: 180_000 }, async (t) => {
    const { holding, content } = await setUp(t)
    for (const range of [
      { start: content.length - 10, end: content.length + 1 },
      { start: content.length + 5, end: content.length + 6 },
      { start: -1, end: 3 },
    ]) {
      assert.equal(holding.has(range), false)
      await assert.rejects(readAll(holding, range), (error) => isAnnexfsError(error, 'INVALID'))
    }
  })

  test(`${kind}: a fired signal ends a read at once`, { timeout: 180_000 }, async (t) => {
    const { holding, content } = await setUp(t)
    const gone = AbortSignal.abort()
    await assert.rejects(readAll(holding, { start: 0, end: 10 }, gone), (error) => isAnnexfsError(error, 'ABORTED'))
    const stop = new AbortController()
    const started = performance.now()
    const reading = (async () => {
      for await (const _ of holding.read({ start: 0, end: content.length }, { urgency: 'read', signal: stop.signal })) {
        stop.abort()
      }
    })()
    // What was already at hand may still come; nothing may hang.
    await reading.catch((error: unknown) => assert.ok(isAnnexfsError(error, 'ABORTED'), String(error)))
    measured(t, 'ended after', performance.now() - started, { mark: 1000, alarm: 45_000 })
  })

  test(`${kind}: an early return lets go, and the source still works`, { timeout: 180_000 }, async (t) => {
    const { holding, content } = await setUp(t)
    for (let round = 0; round < 20; round++) {
      const { signal } = new AbortController()
      for await (const _ of holding.read({ start: 0, end: content.length }, { urgency: 'readahead', signal })) break
    }
    const got = await readAll(holding, { start: 100, end: 5_000 })
    assert.ok(got.equals(content.subarray(100, 5_000)))
  })

  test(`${kind}: does not find content of another length`, { timeout: 180_000 }, async (t) => {
    const { source, content } = await make(t)
    t.after(() => source.close?.())
    const space = spaceOf(content.length + 1)
    const holding = await source.find(space, AbortSignal.timeout(60_000))
    if (holding !== undefined) {
      await assert.rejects(readAll(holding, { start: 0, end: 10 }), (error) => isAnnexfsError(error, 'CORRUPT'))
    }
  })
}

export function spaceOf(length: number): PieceSpace {
  return { id: 'key:SHA256--contract' as SpaceId, length, pieceLength: 128 * 1024 }
}

export async function readAll(
  holding: Holding,
  range: ByteRange,
  signal = AbortSignal.timeout(60_000),
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of holding.read(range, { urgency: 'read', signal })) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** mulberry32: small, and the same everywhere for a seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function randomRange(random: () => number, length: number): ByteRange {
  const start = Math.floor(random() * length)
  const longest = random() < 0.5 ? 5_000 : length
  return { start, end: Math.min(length, start + 1 + Math.floor(random() * longest)) }
}
