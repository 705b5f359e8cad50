import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { addressPolicy, anyAddress } from '../../lib/net/address-policy.js'
import type { HttpBody } from '../../lib/net/http-body.js'
import { HttpClient, type HttpClientOptions } from '../../lib/net/http-client.js'
import { httpServer, misbehaving } from '../support/http.js'

function client(t: TestContext, options: Partial<HttpClientOptions> = {}): HttpClient {
  const made = new HttpClient({ policy: addressPolicy({ allow: [] }), log: silentLog, ...options })
  t.after(() => made.close())
  return made
}

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

async function text(body: HttpBody): Promise<string> {
  const chunks: Uint8Array[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

function refusedWith(code: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isAnnexfsError(error), String(error))
    assert.equal(error.code, code, error.message)
    return true
  }
}

test('goal 24: no form of a loopback address in a URL reaches a server there', { timeout: 180_000 }, async (t) => {
  const canary = await httpServer(t, (_, response) => response.end('secret'))
  const six = await httpServer(t, (_, response) => response.end('secret'), { host: '::1' })
  const http = client(t)
  const hosts = [
    '127.0.0.1',
    '127.1',
    '0x7f.0.0.1',
    '0x7f000001',
    '2130706433',
    '017700000001',
    '0177.0.0.1',
    '0177.0000.0000.0001',
    '127.0.0.1.',
    '%31%32%37.0.0.1',
    '①②⑦.0.0.1',
    '0',
    '0.0.0.0',
    'localhost',
    'LOCALHOST.',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[0:0:0:0:0:ffff:127.0.0.1]',
    '[::127.0.0.1]',
    '[64:ff9b::127.0.0.1]',
    '[2002:7f00:1::]',
  ]
  for (const host of hosts) {
    await assert.rejects(http.get(`http://${host}:${canary.port}/`, { signal: soon() }), refusedWith('FORBIDDEN'), host)
  }
  for (const host of ['[::1]', '[0:0:0:0:0:0:0:1]', '[::]']) {
    await assert.rejects(http.get(`http://${host}:${six.port}/`, { signal: soon() }), refusedWith('FORBIDDEN'), host)
  }
  assert.equal(canary.connections + six.connections, 0)
})

test('goal 24: file and other schemes are refused', { timeout: 180_000 }, async (t) => {
  const http = client(t, { policy: anyAddress })
  for (const url of [
    'file:///etc/passwd',
    'ftp://example.org/',
    'gopher://127.0.0.1/',
    'data:,x',
    'FILE:/etc/passwd',
  ]) {
    await assert.rejects(http.get(url, { signal: soon() }), refusedWith('FORBIDDEN'), url)
  }
  for (const url of [
    '/etc/passwd',
    'http://',
    '-oProxyCommand=x',
    'http://a\nb/',
    'http://a b/',
    `http://x/${'y'.repeat(9000)}`,
  ]) {
    await assert.rejects(http.get(url, { signal: soon() }), refusedWith('INVALID'), url.slice(0, 40))
  }
})

test('goal 24: a redirect to a forbidden address or scheme is not followed', { timeout: 180_000 }, async (t) => {
  const canary = await httpServer(t, (_, response) => response.end('secret'), { host: '127.0.0.2' })
  const targets = [`http://127.0.0.2:${canary.port}/`, `http://0x7f000002:${canary.port}/`, 'file:///etc/passwd']
  const outside = await httpServer(t, (request, response) => {
    const location = targets[Number(request.url?.slice(1))] ?? ''
    response.writeHead(302, { location }).end()
  })
  const http = client(t, { policy: addressPolicy({ allow: ['127.0.0.1'] }) })
  for (const index of targets.keys()) {
    await assert.rejects(http.get(`${outside.url}/${index}`, { signal: soon() }), refusedWith('FORBIDDEN'))
  }
  assert.equal(canary.connections, 0)
  assert.ok(outside.connections > 0)
})

test('goal 24: a URL that the user gave does not open the way for its redirects', { timeout: 180_000 }, async (t) => {
  const canary = await httpServer(t, (_, response) => response.end('secret'))
  const named = await httpServer(t, (request, response) => {
    if (request.url === '/stay') response.writeHead(302, { location: '/here' }).end()
    else if (request.url === '/here') response.end('fine')
    else response.writeHead(302, { location: `${canary.url}/` }).end()
  })
  const http = client(t, { policy: anyAddress, redirectPolicy: addressPolicy({ allow: [] }) })
  assert.equal(await text(await http.get(`${named.url}/stay`, { signal: soon() })), 'fine')
  await assert.rejects(http.get(`${named.url}/leave`, { signal: soon() }), refusedWith('FORBIDDEN'))
  assert.equal(canary.connections, 0)
})

test(
  'goal 24: a name is resolved once, and what was checked is what is connected to',
  { timeout: 180_000 },
  async (t) => {
    const allowed = await httpServer(t, (_, response) => response.end('fine'))
    const canary = await httpServer(t, (_, response) => response.end('secret'), { host: '127.0.0.2' })
    let asked = 0
    const http = client(t, {
      policy: addressPolicy({ allow: ['127.0.0.1'] }),
      resolve: () => Promise.resolve([asked++ % 2 === 0 ? '127.0.0.1' : '127.0.0.2']),
    })
    assert.equal(await text(await http.get(`http://flip.test:${allowed.port}/`, { signal: soon() })), 'fine')
    assert.equal(asked, 1)
    await assert.rejects(http.get(`http://flip.test:${canary.port}/`, { signal: soon() }), refusedWith('FORBIDDEN'))
    assert.equal(asked, 2)
    assert.equal(canary.connections, 0)
  },
)

test('goal 24: of several addresses only the allowed are tried', { timeout: 180_000 }, async (t) => {
  const allowed = await httpServer(t, (_, response) => response.end('fine'))
  const policy = addressPolicy({ allow: ['127.0.0.1'] })
  const http = client(t, { policy, resolve: () => Promise.resolve(['127.0.0.2', '::1', 'nonsense', '127.0.0.1']) })
  assert.equal(await text(await http.get(`http://many.test:${allowed.port}/`, { signal: soon() })), 'fine')
  const none = client(t, { policy, resolve: () => Promise.resolve([]) })
  await assert.rejects(none.get('http://none.test/', { signal: soon() }), refusedWith('FORBIDDEN'))
})

test(
  'goal 25: user and password go to the origin that they are for, and to no other',
  { timeout: 180_000 },
  async (t) => {
    const other = await httpServer(t, (_, response) => response.end('fine'), { host: '127.0.0.2' })
    const first = await httpServer(t, (request, response) => {
      if (request.url === '/here') response.writeHead(302, { location: `${first.url}/leave` }).end()
      else response.writeHead(302, { location: `http://evil:secret@127.0.0.2:${other.port}/` }).end()
    })
    const http = client(t, { policy: anyAddress })
    const answer = await http.get(`http://us%20er:pass@127.0.0.1:${first.port}/here`, { signal: soon() })
    assert.equal(await text(answer), 'fine')
    const basic = `Basic ${Buffer.from('us er:pass').toString('base64')}`
    assert.deepEqual(
      first.requests.map((request) => request.headers.authorization),
      [basic, basic],
    )
    assert.deepEqual(
      other.requests.map((request) => request.headers.authorization),
      [undefined],
    )
  },
)

test('messages show no credentials and no query', { timeout: 180_000 }, async (t) => {
  const http = client(t)
  const url = 'http://user:password@127.0.0.1:1/path?signature=hidden#part'
  await assert.rejects(http.get(url, { signal: soon() }), (error: Error) => !/password|hidden|user/.test(error.message))
  const any = client(t, { policy: anyAddress })
  await assert.rejects(any.get(url, { signal: soon() }), (error: unknown) => {
    assert.ok(isAnnexfsError(error, 'UNAVAILABLE'))
    assert.match(error.message, /^http:\/\/127\.0\.0\.1:1\/path\?…: no connection: .*ECONNREFUSED/)
    return true
  })
})

test('redirects are followed five times at most, and not in a circle', { timeout: 180_000 }, async (t) => {
  const server = await httpServer(t, (request, response) => {
    const left = Number(request.url?.slice(1))
    if (left === 0) response.end('there')
    else response.writeHead(307, { location: `/${left - 1}` }).end()
  })
  const http = client(t, { policy: anyAddress })
  assert.equal(await text(await http.get(`${server.url}/5`, { signal: soon() })), 'there')
  await assert.rejects(http.get(`${server.url}/6`, { signal: soon() }), refusedWith('UNAVAILABLE'))
  const loop = await httpServer(t, misbehaving(Buffer.from('x'), 'redirect loop'))
  await assert.rejects(http.get(`${loop.url}/a`, { signal: soon() }), /in a circle/)
  assert.equal(loop.requests.length, 2)
})

test('a request asks for no compression and for exactly its range', { timeout: 180_000 }, async (t) => {
  const server = await httpServer(t, misbehaving(Buffer.from('0123456789'), 'none'))
  const http = client(t, { policy: anyAddress })
  const answer = await http.get(`${server.url}/`, { range: { start: 2, end: 5 }, ifRange: '"first"', signal: soon() })
  assert.equal(answer.status, 206)
  assert.equal(await text(answer), '234')
  const headers = server.requests[0]?.headers
  assert.equal(headers?.['accept-encoding'], 'identity')
  assert.equal(headers?.range, 'bytes=2-4')
  assert.equal(headers?.['if-range'], '"first"')
})

test('connections are used again, and there are at most eight to an origin', { timeout: 180_000 }, async (t) => {
  const server = await httpServer(t, (_, response) => void setTimeout(() => response.end('x'), 20))
  const http = client(t, { policy: anyAddress })
  for (let round = 0; round < 5; round++) await text(await http.get(server.url, { signal: soon() }))
  // The next request may come a moment before the last one's connection is free again.
  assert.ok(server.connections <= 2, `${server.connections} connections`)
  await Promise.all(Array.from({ length: 40 }, async () => text(await http.get(server.url, { signal: soon() }))))
  assert.ok(server.connections <= 8, `${server.connections} connections`)
})

test('a head without end, and what is not HTTP, are errors', { timeout: 180_000 }, async (t) => {
  const http = client(t, { policy: anyAddress })
  for (const how of ['endless header', 'not HTTP'] as const) {
    const server = await httpServer(t, misbehaving(Buffer.from('x'), how))
    await assert.rejects(http.get(server.url, { signal: soon() }), refusedWith('UNAVAILABLE'), how)
  }
})

test('a silent server is given up after the idle time', { timeout: 180_000 }, async (t) => {
  const http = client(t, { policy: anyAddress, idleTimeout: 200 })
  const mute = await httpServer(t, misbehaving(Buffer.from('x'), 'hang before the answer'))
  await assert.rejects(http.get(mute.url, { signal: soon() }), refusedWith('TIMED_OUT'))
  const stalls = await httpServer(t, misbehaving(Buffer.alloc(1000), 'hang in the body'))
  await assert.rejects(text(await http.get(stalls.url, { signal: soon() })), refusedWith('TIMED_OUT'))
})

test('the signal ends a request that waits, and a body that is read', { timeout: 180_000 }, async (t) => {
  const http = client(t, { policy: anyAddress })
  const mute = await httpServer(t, misbehaving(Buffer.from('x'), 'hang before the answer'))
  await assert.rejects(http.get(mute.url, { signal: AbortSignal.timeout(100) }), refusedWith('TIMED_OUT'))
  const stalls = await httpServer(t, misbehaving(Buffer.alloc(1000), 'hang in the body'))
  const stop = new AbortController()
  const body = await http.get(stalls.url, { signal: stop.signal })
  setTimeout(() => stop.abort(), 100)
  await assert.rejects(text(body), refusedWith('ABORTED'))
  await assert.rejects(http.get(mute.url, { signal: AbortSignal.abort() }), refusedWith('ABORTED'))
})

test('a body that nobody takes is not read into memory', { timeout: 180_000 }, async (t) => {
  const server = await httpServer(t, misbehaving(Buffer.from('x'), 'ten gibibytes for a range'))
  const http = client(t, { policy: anyAddress })
  const body = await http.get(server.url, { signal: soon() })
  await new Promise((resolve) => setTimeout(resolve, 300))
  const before = process.memoryUsage()
  await new Promise((resolve) => setTimeout(resolve, 700))
  const after = process.memoryUsage()
  assert.ok(after.arrayBuffers + after.external - before.arrayBuffers - before.external < 16 * 1024 * 1024)
  body.cancel()
})

test('closing the client ends what is under way', { timeout: 180_000 }, async (t) => {
  const mute = await httpServer(t, misbehaving(Buffer.from('x'), 'hang before the answer'))
  const http = client(t, { policy: anyAddress })
  const asked = assert.rejects(http.get(mute.url, { signal: soon() }), refusedWith('ABORTED'))
  await new Promise((resolve) => setTimeout(resolve, 100))
  await http.close()
  await asked
  await assert.rejects(http.get(mute.url, { signal: soon() }))
})

test(
  'what is allowed on one port only is reached there alone, by address and by name',
  { timeout: 180_000 },
  async (t) => {
    const open = await httpServer(t, (_, response) => response.end('welcome'))
    const closed = await httpServer(t, (_, response) => response.end('secret'))
    const policy = addressPolicy({ allow: [`[127.0.0.1]:${open.port}`] })
    const http = client(t, { policy, resolve: () => Promise.resolve(['127.0.0.1']) })
    for (const host of ['127.0.0.1', 'name.example']) {
      assert.equal(await text(await http.get(`http://${host}:${open.port}/`, { signal: soon() })), 'welcome')
      await assert.rejects(
        http.get(`http://${host}:${closed.port}/`, { signal: soon() }),
        refusedWith('FORBIDDEN'),
        host,
      )
    }
  },
)
