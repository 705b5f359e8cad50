import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient, type HttpClientOptions } from '../../lib/net/http-client.js'
import { plainHeaders } from '../../lib/net/http-headers.js'
import { httpServer, type TestServer } from '../support/http.js'

const LIMIT = { timeout: 180_000 }
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

function client(t: TestContext, options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = new HttpClient({ policy: anyAddress, log: silentLog, ...options })
  t.after(() => made.close())
  return made
}

/** `/to/N` redirects to the Nth place, anything else tells what it got. */
async function redirecting(t: TestContext, places: () => readonly string[], status = 302): Promise<TestServer> {
  return httpServer(t, (request, response) => {
    const place = /^\/to\/(\d)$/.exec(request.url ?? '')?.[1]
    const location = place === undefined ? undefined : places()[Number(place)]
    if (location !== undefined) response.writeHead(location === '' ? 200 : status, { location }).end()
    else request.pipe(response)
  })
}

test('goal 25: headers of a request and the user go to the first origin alone', LIMIT, async (t) => {
  const other = await redirecting(t, () => [`${first.url}/back`])
  const first: TestServer = await redirecting(t, () => ['/stay', `${other.url}/left`, `${other.url}/to/0`])
  const http = client(t, {
    userAgent: 'mine/1',
    headers: [
      ['X-Configured', 'canary 1'],
      ['Authorization', 'canary 2'],
      ['Range', 'bytes=0-0'],
    ],
  })
  const headers = { 'X-Request': 'canary 3' }
  const authorize = ({ method, url }: { method: string; url: URL }): Promise<Record<string, string>> =>
    Promise.resolve({ 'X-Signed': `canary ${method} ${url.pathname}` })
  for (const path of ['/here', '/to/0', '/to/1', '/to/2']) {
    ;(await http.get(`${first.url}${path}`, { signal: soon(), headers, authorize })).cancel()
  }
  const personal = first.requests.map(({ url, headers: got }) => [
    url,
    got['x-configured'],
    got.authorization,
    got['x-request'],
    got['x-signed'],
  ])
  const given = (url: string): string[] => [url, 'canary 1', 'canary 2', 'canary 3', `canary GET ${url}`]
  assert.deepEqual(personal, [
    given('/here'),
    given('/to/0'),
    given('/stay'),
    given('/to/1'),
    given('/to/2'),
    ['/back', undefined, undefined, undefined, undefined],
  ])
  assert.equal(other.requests.length, 2)
  assert.ok(!JSON.stringify(other.requests).includes('canary'))
  assert.ok([...first.requests, ...other.requests].every(({ headers: got }) => got['user-agent'] === 'mine/1'))
  assert.ok(first.requests.every(({ headers: got }) => got.range === undefined))
})

test('goal 25: a place that was redirected to earlier gets no credentials when it is asked first', LIMIT, async (t) => {
  const [first, other] = [await redirecting(t, () => []), await redirecting(t, () => [])]
  const http = client(t, { headers: [['x-configured', 'canary']] })
  const origin = new URL(first.url)
  origin.username = 'canary'
  for (const server of [first, other]) {
    const answer = await http.get(`${server.url}/x`, {
      signal: soon(),
      redirectedFrom: origin,
      authorize: () => Promise.resolve({ 'x-signed': 'canary' }),
    })
    answer.cancel()
  }
  const headers = first.requests[0]?.headers
  assert.deepEqual([headers?.['x-configured'], headers?.['x-signed']], ['canary', 'canary'])
  assert.match(headers?.authorization ?? '', /^Basic /)
  assert.ok(!JSON.stringify(other.requests).includes('canary'))
  assert.equal(other.requests[0]?.headers.authorization, undefined)
})

test('a body is posted and the answer given whole, at most so much of it', LIMIT, async (t) => {
  const server = await redirecting(t, () => ['/echo', ''], 307)
  const http = client(t)
  const options = { body: '{"a":1}', headers: { 'content-type': 'application/json' }, signal: soon() }
  for (const path of ['/echo', '/to/0']) {
    const answer = await http.post(`${server.url}${path}`, options)
    assert.deepEqual([answer.status, answer.body.toString(), answer.url.pathname], [200, '{"a":1}', '/echo'])
  }
  assert.ok(server.requests.every(({ method, headers }) => method === 'POST' && headers['content-length'] === '7'))
  assert.ok(server.requests.every(({ headers }) => headers['content-type'] === 'application/json'))
  const large = http.post(`${server.url}/echo`, { ...options, body: 'x'.repeat(101), most: 100 })
  await assert.rejects(
    large,
    (error) => isAnnexfsError(error, 'INVALID') && /longer than 100 bytes/.test(error.message),
  )
})

test('a body is not posted to where only another request belongs', LIMIT, async (t) => {
  const server = await redirecting(t, () => ['/echo'], 303)
  const answer = await client(t).post(`${server.url}/to/0`, { body: 'secret', signal: soon() })
  assert.equal(answer.status, 303)
  assert.equal(server.requests.length, 1)
})

test('headers that cannot be sent are refused without their values being shown', () => {
  const bad: [string, string][] = [
    ['a b', 'canary'],
    ['', 'canary'],
    ['x', 'canary\r\nhost: evil'],
    ['x', 'canary\0'],
    ['x', 'canary €'],
    ['x', `canary${'y'.repeat(20_000)}`],
    ['x'.repeat(200), 'canary'],
  ]
  for (const header of bad) {
    assert.throws(
      () => plainHeaders([header]),
      (error) => isAnnexfsError(error, 'INVALID') && !error.message.includes('canary'),
    )
  }
  const plain = plainHeaders([
    ['X-A', ' b '],
    ['x-a', 'c'],
    ['Host', 'evil'],
    ['Transfer-Encoding', 'chunked'],
    ['__proto__', 'x'],
  ])
  assert.deepEqual(Object.entries(plain), [['x-a', 'c']])
})
