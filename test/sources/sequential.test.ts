import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { Awaited } from '../../lib/space/awaited.js'
import { SequentialBody } from '../../lib/sources/sequential.js'
import type { ByteRange } from '../../lib/space/space.js'
import { until } from '../support/peers.js'

const CONTENT = randomBytes(20 * 1024 * 1024)

/** A body over memory that counts how often it was opened and how far it was read. */
function body(length = CONTENT.length): { body: SequentialBody; opened: number; read: number; open: number } {
  const seen = {
    opened: 0,
    open: 0,
    read: 0,
    body: new SequentialBody(async function* (signal) {
      seen.opened++
      seen.open++
      try {
        for (let at = 0; at < CONTENT.length && !signal.aborted; at += 60_000) {
          seen.read = Math.max(seen.read, at)
          await new Promise((resolve) => setImmediate(resolve))
          yield CONTENT.subarray(at, at + 60_000)
        }
      } finally {
        seen.open--
      }
    }, length),
  }
  return seen
}

async function check(from: SequentialBody, range: ByteRange, signal = AbortSignal.timeout(60_000)): Promise<void> {
  const chunks: Uint8Array[] = []
  for await (const chunk of from.read(range, { signal })) chunks.push(chunk)
  assert.ok(Buffer.concat(chunks).equals(CONTENT.subarray(range.start, range.end)), `${range.start} to ${range.end}`)
}

const MIB = 1024 * 1024

test('reads in order share one stream, which runs no further than they need', { timeout: 180_000 }, async (t) => {
  const seen = body()
  t.after(() => seen.body.close())
  for (let start = 0; start < 4 * MIB; start += MIB / 4) await check(seen.body, { start, end: start + MIB / 4 })
  assert.equal(seen.opened, 1)
  assert.ok(seen.read <= 4 * MIB + 120_000)
})

test('a read a little behind is served from what was kept', { timeout: 180_000 }, async (t) => {
  const seen = body()
  t.after(() => seen.body.close())
  await check(seen.body, { start: 5 * MIB, end: 6 * MIB })
  await check(seen.body, { start: 3 * MIB, end: 4 * MIB })
  assert.equal(seen.opened, 1)
})

test('a read far behind starts a second stream, and never a third at once', { timeout: 180_000 }, async (t) => {
  const seen = body()
  t.after(() => seen.body.close())
  await check(seen.body, { start: 15 * MIB, end: 16 * MIB })
  await check(seen.body, { start: 0, end: MIB })
  assert.equal(seen.opened, 2)
  const most: number[] = []
  const sample = setInterval(() => most.push(seen.open), 1)
  const starts = [18, 1, 12, 0, 6, 19, 3, 0, 9, 15]
  await Promise.all(starts.map((at) => check(seen.body, { start: at * MIB, end: (at + 1) * MIB })))
  clearInterval(sample)
  assert.ok(Math.max(...most) <= 3, `${Math.max(...most)} streams`)
})

test('a slow reader holds the stream back rather than memory', { timeout: 180_000 }, async (t) => {
  const seen = body()
  t.after(() => seen.body.close())
  const { signal } = new AbortController()
  for await (const _ of seen.body.read({ start: 0, end: CONTENT.length }, { signal })) {
    await new Promise((resolve) => setTimeout(resolve, 300))
    break
  }
  assert.ok(seen.read < 2 * MIB, `${seen.read} bytes were read`)
})

test('a read that is given up leaves the stream to the others', { timeout: 180_000 }, async (t) => {
  const seen = body()
  t.after(() => seen.body.close())
  const stop = new AbortController()
  const given = assert.rejects(check(seen.body, { start: 19 * MIB, end: 20 * MIB }, stop.signal), (error) => {
    return isAnnexfsError(error, 'ABORTED')
  })
  const kept = check(seen.body, { start: MIB, end: 8 * MIB })
  setTimeout(() => stop.abort(), 5)
  await Promise.all([given, kept])
  assert.equal(seen.opened, 1)
})

test('a body of another length than expected is an error for who needs its end', { timeout: 180_000 }, async (t) => {
  for (const length of [CONTENT.length - 1, CONTENT.length + 1]) {
    const seen = body(length)
    t.after(() => seen.body.close())
    await check(seen.body, { start: 0, end: MIB })
    const end = seen.body.read({ start: length - 100_000, end: length }, { signal: AbortSignal.timeout(60_000) })
    await assert.rejects(
      async () => {
        for await (const _ of end) void _
      },
      (error) => isAnnexfsError(error, 'CORRUPT'),
    )
  }
})

test(
  'a read far ahead of a stream says how far that has come, and no more than that',
  { timeout: 180_000 },
  async (t) => {
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => (go = resolve))
    const slow = new SequentialBody(async function* () {
      for (let at = 0; at < CONTENT.length; at += MIB) {
        if (at === 5 * MIB) await gate
        yield CONTENT.subarray(at, at + MIB)
      }
    }, CONTENT.length)
    t.after(() => slow.close())
    const [far, near] = [new Awaited(), new Awaited()]
    const signal = AbortSignal.timeout(60_000)
    const read = async (start: number, awaited: Awaited): Promise<void> => {
      for await (const _ of slow.read({ start, end: start + MIB }, { signal, awaits: awaited.tell })) {
        assert.equal(awaited.now, undefined)
      }
    }
    const reads = [read(12 * MIB, far), read(5 * MIB, near)]
    const said = (): string | undefined => far.now
    await until(
      'it says so',
      () => said()?.startsWith('the whole content is coming from its start, 5.0 of 20.0 MiB') === true,
    )
    assert.equal(near.now, undefined)
    go()
    await Promise.all(reads)
    assert.equal(said(), undefined)
  },
)

test('closing ends its streams', { timeout: 180_000 }, async () => {
  const seen = body()
  await check(seen.body, { start: 0, end: MIB })
  seen.body.close()
  await until('they are closed', () => seen.open === 0)
})
