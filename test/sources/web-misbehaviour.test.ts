import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import type { Holding } from '../../lib/sources/source.js'
import { webSource } from '../../lib/sources/web.js'
import type { ByteRange } from '../../lib/space/space.js'
import { httpServer, misbehaving, type Misbehaviour, type TestServer } from '../support/http.js'
import { measured } from '../support/marks.js'
import { readAll, spaceOf } from './contract.js'

const CONTENT = randomBytes(4 * 1024 * 1024)
const MIB: ByteRange = { start: 1024 * 1024, end: 2 * 1024 * 1024 }

async function holdingAt(t: TestContext, how: Misbehaviour, idleTimeout = 1_500): Promise<[Holding, TestServer]> {
  const server = await httpServer(t, misbehaving(CONTENT, how))
  const http = new HttpClient({ policy: anyAddress, log: silentLog, idleTimeout })
  t.after(() => http.close())
  const source = webSource({ url: `${server.url}/a`, client: http, log: silentLog })
  t.after(() => source.close?.())
  const holding = await source.find(spaceOf(CONTENT.length), AbortSignal.timeout(60_000))
  assert.ok(holding)
  return [holding, server]
}

/** What a read of a mebibyte gives: the right bytes, or an error of that code. */
const ROWS: readonly (readonly [Misbehaviour, ...('bytes' | ErrorCode)[]])[] = [
  ['none', 'bytes'],
  ['no ranges', 'bytes'],
  ['short body', 'CORRUPT'],
  ['long body', 'bytes', 'CORRUPT'],
  ['wrong Content-Range start', 'CORRUPT'],
  ['wrong Content-Range total', 'CORRUPT'],
  ['no Content-Range', 'CORRUPT'],
  ['gzip', 'CORRUPT'],
  ['416', 'CORRUPT'],
  ['cut off always', 'UNAVAILABLE'],
  ['cut off once', 'bytes'],
  ['hang before the answer', 'TIMED_OUT'],
  ['hang in the body', 'TIMED_OUT'],
  ['one byte a second', 'TIMED_OUT'],
  ['redirect loop', 'UNAVAILABLE'],
  ['ten gibibytes for a range', 'CORRUPT'],
  ['ten gibibytes with a right head', 'bytes', 'CORRUPT'],
  ['endless header', 'UNAVAILABLE'],
  ['not HTTP', 'UNAVAILABLE'],
  ['503 once', 'bytes'],
  ['404', 'UNAVAILABLE'],
]

/** What is never answered ends there; what can be answered, or refused, must not meet it on a slow machine. */
const deadlineOf = (expected: readonly ('bytes' | ErrorCode)[]): number =>
  expected.includes('TIMED_OUT') ? 4_000 : 60_000

for (const [how, ...expected] of ROWS) {
  test(
    `goal 22: ${how}: the right bytes or an error, by the deadline, in little memory`,
    { timeout: 180_000 },
    async (t) => {
      const [holding] = await holdingAt(t, how, how === 'one byte a second' ? 5_000 : 1_500)
      const memory = peakMemory()
      const started = performance.now()
      const outcome = await readAll(holding, MIB, AbortSignal.timeout(deadlineOf(expected))).catch(
        (error: unknown) => error,
      )
      const took = performance.now() - started
      const grown = memory.stop()
      measured(t, 'took', took, { mark: 5000, alarm: 45_000 })
      assert.ok(grown < 16 * 1024 * 1024, `${grown} bytes of memory`)
      if (Buffer.isBuffer(outcome)) {
        assert.ok(outcome.equals(CONTENT.subarray(MIB.start, MIB.end)), 'the bytes are right')
        assert.ok(expected.includes('bytes'), 'bytes were expected')
      } else {
        assert.ok(isAnnexfsError(outcome), String(outcome))
        assert.ok(expected.includes(outcome.code), `${outcome.code}: ${outcome.message}`)
      }
    },
  )
}

/** Buffers of this process above what they were, sampled; the servers' own share is constant. */
function peakMemory(): { stop(): number } {
  const buffers = (): number => process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  const before = buffers()
  let peak = before
  const timer = setInterval(() => (peak = Math.max(peak, buffers())), 5)
  return {
    stop: () => {
      clearInterval(timer)
      return peak - before
    },
  }
}

test('goal 22: content that changes midway is refused, and never mixed', { timeout: 180_000 }, async (t) => {
  const [holding] = await holdingAt(t, 'changed midway')
  assert.ok((await readAll(holding, MIB)).equals(CONTENT.subarray(MIB.start, MIB.end)))
  for (let round = 0; round < 3; round++) {
    await assert.rejects(readAll(holding, MIB), (error) => isAnnexfsError(error, 'CORRUPT'))
  }
})

test('goal 22: a read that was cut off goes on where it stopped', { timeout: 180_000 }, async (t) => {
  const [holding, server] = await holdingAt(t, 'cut off once')
  assert.ok((await readAll(holding, MIB)).equals(CONTENT.subarray(MIB.start, MIB.end)))
  assert.equal(server.requests.length, 2)
  assert.match(server.requests[1]?.headers.range ?? '', /^bytes=15\d{5}-2097151$/)
  assert.equal(server.requests[1]?.headers['if-range'], '"first"')
})

test(
  'goal 22: a server that never sends anything useful is asked five times at most',
  { timeout: 180_000 },
  async (t) => {
    const server = await httpServer(t, (_, response) => response.writeHead(503, { 'content-length': 0 }).end())
    const http = new HttpClient({ policy: anyAddress, log: silentLog })
    t.after(() => http.close())
    const holding = await webSource({ url: server.url, client: http, log: silentLog }).find(
      spaceOf(10),
      AbortSignal.timeout(60_000),
    )
    assert.ok(holding)
    await assert.rejects(readAll(holding, { start: 0, end: 10 }), /answered 503 \(tried 5 times\)/)
    assert.equal(server.requests.length, 5)
  },
)

test('goal 23: Retry-After is waited for by every read, in seconds and as a date', { timeout: 180_000 }, async (t) => {
  const now = new Date('2001-02-03T04:05:06Z')
  const later = new Date(now.getTime() + 1_000)
  for (const [status, after] of [
    [429, '1'],
    [503, later.toUTCString()],
  ] as const) {
    const content = randomBytes(1000)
    const times: number[] = []
    const server = await httpServer(t, (request, response) => {
      times.push(performance.now())
      response.setHeader('date', now.toUTCString())
      if (times.length === 1) response.writeHead(status, { 'retry-after': after, 'content-length': 0 }).end()
      else misbehaving(content, 'none')(request, response)
    })
    const http = new HttpClient({ policy: anyAddress, log: silentLog })
    t.after(() => http.close())
    const holding = await webSource({ url: server.url, client: http, log: silentLog }).find(
      spaceOf(1000),
      AbortSignal.timeout(60_000),
    )
    assert.ok(holding)
    const first = readAll(holding, { start: 0, end: 10 })
    await new Promise((resolve) => setTimeout(resolve, 200))
    await Promise.all([first, readAll(holding, { start: 10, end: 20 })])
    assert.equal(times.length, 3)
    for (const time of times.slice(1))
      assert.ok(time - (times[0] ?? 0) >= 990, `asked again after ${time - (times[0] ?? 0)} ms`)
  }
})

test(
  'goal 23: a Retry-After beyond the deadline is an error then, one of hours at once',
  { timeout: 180_000 },
  async (t) => {
    for (const [after, deadline, code, mark] of [
      ['30', 2_000, 'TIMED_OUT', 3_000],
      ['7200', 60_000, 'UNAVAILABLE', 2_000],
    ] as const) {
      const server = await httpServer(t, (_, response) => {
        response.writeHead(429, { 'retry-after': after, 'content-length': 0 }).end()
      })
      const http = new HttpClient({ policy: anyAddress, log: silentLog })
      t.after(() => http.close())
      const holding = await webSource({ url: server.url, client: http, log: silentLog }).find(
        spaceOf(1000),
        AbortSignal.timeout(60_000),
      )
      assert.ok(holding)
      const started = performance.now()
      await assert.rejects(readAll(holding, { start: 0, end: 10 }, AbortSignal.timeout(deadline)), (error: unknown) => {
        return isAnnexfsError(error, code) && error.message.includes('answered 429')
      })
      measured(t, `an error, with Retry-After: ${after}, after`, performance.now() - started, { mark, alarm: 20_000 })
      // Honoured by the reads that follow too.
      await assert.rejects(readAll(holding, { start: 0, end: 10 }, AbortSignal.timeout(300)))
      assert.equal(server.requests.length, 1)
    }
  },
)
