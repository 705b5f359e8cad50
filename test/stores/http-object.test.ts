import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { firstFound } from '../../lib/stores/first-found.js'
import { httpObject, type HttpObjectOptions } from '../../lib/stores/http-object.js'
import type { StoredObject } from '../../lib/stores/store.js'
import { askedRange, httpServer, misbehaving } from '../support/http.js'
import { measured } from '../support/marks.js'
import { until } from '../support/peers.js'
import { readObject, readWhole } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(500_000)

function object(t: TestContext, url: string, options: Partial<HttpObjectOptions> = {}): StoredObject {
  const client = new HttpClient({ policy: anyAddress, log: silentLog, idleTimeout: 2_000 })
  const made = httpObject({ client, url, name: 'here (kind)', log: silentLog, ...options })
  t.after(async () => {
    made.close?.()
    await client.close()
  })
  return made
}

async function code(work: Promise<unknown>): Promise<ErrorCode> {
  try {
    await work
  } catch (error) {
    assert.ok(isAnnexfsError(error), String(error))
    return error.code
  }
  assert.fail('it did not fail')
}

test('what is not there and what is forbidden are told apart', LIMIT, async (t) => {
  const server = await httpServer(t, (request, response) => {
    response.writeHead(Number(/\d+/.exec(request.url ?? '')?.[0]), { 'content-length': 0 }).end()
  })
  const codes: Readonly<Record<number, ErrorCode>> = {
    404: 'NOT_FOUND',
    410: 'NOT_FOUND',
    401: 'FORBIDDEN',
    403: 'FORBIDDEN',
    402: 'UNAVAILABLE',
    416: 'CORRUPT',
  }
  for (const [status, expected] of Object.entries(codes)) {
    for (const size of [{}, { size: 100 }]) {
      const made = object(t, `${server.url}/${status}`, { advice: 'say please', ...size })
      if (status !== '416') assert.equal(await code(readObject(made, { start: 0, end: 10 })), expected, status)
      assert.equal(await code(readWhole(made, 100)), expected, status)
    }
  }
  const forbidden = object(t, `${server.url}/403?token=canary`, { advice: 'say please' })
  await assert.rejects(readWhole(forbidden, 100), /^AnnexfsError: here \(kind\): .*\(403\); say please$/)
  await assert.rejects(readWhole(forbidden, 100), (error) => !String(error).includes('canary'))
})

test('all of an object comes whether or not its size is told', LIMIT, async (t) => {
  const server = await httpServer(t, (request, response) => {
    if (request.url === '/told') response.setHeader('content-length', CONTENT.length)
    response.flushHeaders()
    response.end(request.method === 'HEAD' ? undefined : CONTENT)
  })
  for (const path of ['/told', '/chunked']) {
    assert.ok((await readWhole(object(t, server.url + path), CONTENT.length)).equals(CONTENT), path)
    assert.equal(await code(readWhole(object(t, server.url + path), CONTENT.length - 1)), 'CORRUPT', path)
  }
  assert.equal(await code(readObject(object(t, `${server.url}/chunked`), { start: 0, end: 1 })), 'UNAVAILABLE')
})

test('goal 22: all of an object of unknown size, from servers that err', LIMIT, async (t) => {
  const right = ['none', 'no ranges', 'cut off once', '503 once'] as const
  for (const how of right) {
    const server = await httpServer(t, misbehaving(CONTENT, how))
    assert.ok((await readWhole(object(t, server.url), CONTENT.length)).equals(CONTENT), how)
  }
  const wrong = {
    gzip: 'CORRUPT',
    'cut off always': 'UNAVAILABLE',
    'hang in the body': 'TIMED_OUT',
    'hang before the answer': 'TIMED_OUT',
    'redirect loop': 'UNAVAILABLE',
    'ten gibibytes for a range': 'CORRUPT',
    'ten gibibytes with a right head': 'CORRUPT',
    'not HTTP': 'UNAVAILABLE',
    '404': 'NOT_FOUND',
  } as const
  for (const [how, expected] of Object.entries(wrong)) {
    const server = await httpServer(t, misbehaving(CONTENT, how as keyof typeof wrong))
    assert.equal(await code(readWhole(object(t, server.url), 2 * CONTENT.length)), expected, how)
  }
})

test('an object that changes while all of it is read is an error', LIMIT, async (t) => {
  let asked = 0
  const server = await httpServer(t, (request, response) => {
    asked++
    const range = askedRange(request, CONTENT.length)
    const head = { etag: `"${asked}"`, 'content-length': CONTENT.length - (range?.start ?? 0) }
    if (range === undefined) {
      response.writeHead(200, head).write(CONTENT.subarray(0, 200_000), () => response.socket?.destroy())
    } else {
      const contentRange = `bytes ${range.start}-${CONTENT.length - 1}/${CONTENT.length}`
      response.writeHead(206, { ...head, 'content-range': contentRange }).end(CONTENT.subarray(range.start))
    }
  })
  assert.equal(await code(readWhole(object(t, server.url), CONTENT.length)), 'CORRUPT')
})

test(
  'an authorisation that a challenge asks for is given, and a place that an answer names is asked',
  LIMIT,
  async (t) => {
    const server = await httpServer(t, (request, response) => {
      if (request.url === '/old') response.writeHead(400, { 'x-new': '/new' }).end()
      else if (request.headers['x-pass'] !== 'two') response.writeHead(401, { 'x-wants': 'two' }).end()
      else misbehaving(CONTENT, 'none')(request, response)
    })
    let pass = 'one'
    const seen: (string | undefined)[] = []
    const made = object(t, `${server.url}/old`, {
      size: CONTENT.length,
      authorize: () => Promise.resolve({ 'x-pass': pass }),
      refused: (answer, sent) => {
        seen.push(sent['x-pass'])
        pass = answer.header('x-wants') ?? pass
        return Promise.resolve(`${server.url}/new`)
      },
    })
    assert.ok((await readObject(made, { start: 10, end: 400_000 })).equals(CONTENT.subarray(10, 400_000)))
    assert.deepEqual(seen, ['one', 'one'])
    assert.ok((await readWhole(made, CONTENT.length)).equals(CONTENT))
    assert.equal(server.requests.length, 4)
  },
)

test('a challenge that is never satisfied ends', LIMIT, async (t) => {
  const server = await httpServer(t, (_, response) => response.writeHead(401).end())
  const made = object(t, server.url, { size: 10, refused: (answer) => Promise.resolve(answer.url.href) })
  assert.equal(await code(readObject(made, { start: 0, end: 1 })), 'UNAVAILABLE')
  assert.equal(server.requests.length, 4)
})

test('a fired signal ends a read whose authorisation is still waited for', LIMIT, async (t) => {
  const server = await httpServer(t, (_, response) => response.writeHead(401, { 'content-length': 0 }).end())
  const never = new Promise<never>(() => undefined)
  for (const options of [{ authorize: () => never }, { refused: () => never }]) {
    const made = object(t, server.url, { size: CONTENT.length, ...options })
    const started = performance.now()
    assert.equal(await code(readObject(made, { start: 0, end: 10 }, AbortSignal.timeout(200))), 'TIMED_OUT')
    measured(t, 'ended after', performance.now() - started, { mark: 1000, alarm: 45_000 })
  }
})

test('of several places the first that has the object is read, and remembered', LIMIT, async (t) => {
  const server = await httpServer(t, (request, response) => {
    if (request.url === '/good') misbehaving(CONTENT, 'none')(request, response)
    else response.writeHead(Number(request.url?.slice(1))).end()
  })
  const places = ['/404', '/403', '/good', '/500'].map((path) => object(t, server.url + path, { size: CONTENT.length }))
  const found = firstFound(places)
  assert.ok((await readObject(found, { start: 1, end: 1000 })).equals(CONTENT.subarray(1, 1000)))
  assert.ok((await readWhole(found, CONTENT.length)).equals(CONTENT))
  assert.deepEqual(
    server.requests.map(({ url }) => url),
    ['/404', '/403', '/good', '/good'],
  )
  const none = firstFound([object(t, `${server.url}/404`, { size: 5 }), object(t, `${server.url}/403`, { size: 5 })])
  assert.equal(await code(readObject(none, { start: 0, end: 1 })), 'FORBIDDEN')
})

test('goal 23: a server that asks for quiet says until when, so that others are asked first', LIMIT, async (t) => {
  const server = await httpServer(t, (_request, response) => {
    response.writeHead(503, { 'retry-after': '30', 'content-length': 0 }).end()
  })
  const closed = firstFound([
    object(t, `${server.url}/x`, { size: 1000 }),
    object(t, `${server.url}/y`, { size: 1000 }),
  ])
  assert.ok((closed.closedUntil?.() ?? 0) <= performance.now())
  const stop = new AbortController()
  const reading = code(readObject(closed, { start: 0, end: 10 }, stop.signal))
  await until('it says so', () => (closed.closedUntil?.() ?? 0) > performance.now())
  const left = (closed.closedUntil?.() ?? 0) - performance.now()
  stop.abort()
  await reading
  assert.ok(left > 10_000 && left <= 31_000, `${left} ms`)
})
