import assert from 'node:assert/strict'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { authenticator } from '../../lib/gateway/authentication.js'
import { gateway } from '../../lib/gateway/gateway.js'
import { hostRule, isAllowedHost, isLoopback } from '../../lib/gateway/guard.js'
import { silentLog } from '../../lib/log/log.js'
import { MemoryVolume } from '../fuse/memory-volume.js'
import { ask, rawAnswer, rawConnection, startGateway } from './world.js'

const LIMIT = { timeout: 180_000 }
const volume = new MemoryVolume({
  '/f': { size: 5, text: 'hello' },
  '/dir/g': { size: 1 },
  '/page.html': { size: 0, text: '<script>x</script>' },
})

test('goal 41: only our own names and addresses are answered as Host', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume, { allowHosts: ['Films.Example'] })
  for (const host of [
    'localhost',
    'LocalHost:1234',
    'localhost.',
    '127.0.0.1',
    `127.0.0.1:${port}`,
    '127.9.9.9',
    '[::1]',
    '[::1]:80',
    'films.example:8080',
  ]) {
    const got = await ask(port, '/f', { headers: { Host: host } })
    assert.equal(got.status, 200, host)
  }
  for (const host of [
    'evil.example',
    'localhost.evil.example',
    'films.example.evil.example',
    'x.films.example',
    'localhost@evil.example',
    'evil.example#localhost',
    'localhost:80:80',
    'localhost, evil.example',
    '8.8.8.8',
    '0.0.0.0',
    '192.168.0.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '127.1',
    '[::ffff:8.8.8.8]',
    '[::]',
    '::1',
    '',
    ' ',
  ]) {
    for (const path of ['/f', '/', '/-/', '/dir']) {
      const text = await rawAnswer(t, port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
      assert.match(text, /^HTTP\/1\.1 40[03] /, `${host}: ${text.slice(0, 100)}`)
      assert.doesNotMatch(text, /hello/)
    }
  }
})

test('goal 41: no Host, two of them, and other servers as request target are refused', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  for (const [text, status] of [
    ['GET /f HTTP/1.1\r\n\r\n', 400],
    ['GET /f HTTP/1.0\r\n\r\n', 400],
    ['GET /f HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
    ['GET http://evil.example/f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 403],
    ['GET http://localhost/f HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n', 200],
    ['GET http://localhost/f HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 200],
    ['GET evil HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
    ['OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 200],
    ['GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n', 400],
  ] as const) {
    assert.equal(Number((await rawAnswer(t, port, text)).slice(9, 12)), status, text)
  }
  const connected = await rawConnection(t, port, 'CONNECT localhost:22 HTTP/1.1\r\nHost: localhost\r\n\r\n')
  assert.equal(await connected.ended(60_000), true)
  assert.doesNotMatch(connected.received(), / 200 /)
})

test('a Host may be the address that was connected to, and no other', () => {
  const rule = hostRule('0.0.0.0', [])
  assert.equal(isAllowedHost('192.0.2.7:8080', '192.0.2.7', rule), true)
  assert.equal(isAllowedHost('192.0.2.7', '::ffff:192.0.2.7', rule), true)
  assert.equal(isAllowedHost('192.0.2.8', '192.0.2.7', rule), false)
  assert.equal(isAllowedHost('[2001:db8:0::1]', '2001:db8::1', rule), true)
  assert.equal(isAllowedHost('192.0.2.8', '192.0.2.7', hostRule('192.0.2.8', [])), true)
  assert.deepEqual(['localhost', '127.0.0.1', '127.1.2.3', '::1', '[::1]', '::ffff:127.0.0.1'].map(isLoopback), [
    true,
    true,
    true,
    true,
    true,
    true,
  ])
  assert.deepEqual(['0.0.0.0', '::', '10.0.0.1', 'example.org', '', '127.1'].map(isLoopback), Array(6).fill(false))
})

test(
  'goal 41: requests that a page of another site makes are denied, and nothing is shared with it',
  LIMIT,
  async (t) => {
    const handled: string[] = []
    const { port } = await startGateway(t, volume, {
      handlers: [
        (request, response) => {
          handled.push(request.url ?? '')
          response.end('status')
          return true
        },
      ],
    })
    const own = `http://127.0.0.1:${port}`
    const denied: readonly Readonly<Record<string, string>>[] = [
      { Origin: 'https://evil.example' },
      { Origin: 'null' },
      { Origin: '' },
      { Origin: `http://127.0.0.1:${port + 1}` },
      { Origin: 'http://127.0.0.1' },
      { Origin: `http://localhost:${port}` },
      { Origin: `${own}.evil.example` },
      { Origin: `file://127.0.0.1:${port}` },
      { 'Sec-Fetch-Site': 'cross-site' },
      { 'Sec-Fetch-Site': 'same-site' },
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'no-cors', 'Sec-Fetch-Dest': 'image' },
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'iframe' },
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'cors', 'Sec-Fetch-Dest': 'empty' },
      { 'Sec-Fetch-Site': 'none', Origin: 'https://evil.example' },
    ]
    for (const headers of denied) {
      for (const path of ['/f', '/', '/-/', '/-/events', '/dir/?m3u']) {
        for (const method of ['GET', 'HEAD', 'OPTIONS']) {
          const got = await ask(port, path, { method, headers })
          assert.equal(got.status, 403, `${method} ${path} ${JSON.stringify(headers)}`)
        }
      }
    }
    assert.deepEqual(handled, [])
    const allowed: readonly Readonly<Record<string, string>>[] = [
      {},
      { Origin: own },
      { Origin: 'http://localhost', Host: 'localhost' },
      { Origin: 'https://localhost', Host: 'localhost' },
      { 'Sec-Fetch-Site': 'same-origin' },
      { 'Sec-Fetch-Site': 'none' },
      { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' },
    ]
    for (const headers of allowed) {
      for (const path of ['/f', '/', '/-/']) {
        const got = await ask(port, path, { headers })
        assert.equal(got.status, 200, `${path} ${JSON.stringify(headers)}`)
        for (const name of Object.keys(got.headers)) assert.doesNotMatch(name, /^access-control-/)
      }
    }
    const preflight = await ask(port, '/f', {
      method: 'OPTIONS',
      headers: {
        Origin: own,
        'Access-Control-Request-Method': 'PROPFIND',
        'Access-Control-Request-Private-Network': 'true',
      },
    })
    for (const name of Object.keys(preflight.headers)) assert.doesNotMatch(name, /^access-control-/)
  },
)

test('goal 41: content belongs to no site, runs nothing, and is not guessed at', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume, { handlers: [(_, response) => (response.end('x'), true)] })
  for (const [path, policy] of [
    ['/page.html', /^sandbox$/],
    ['/f', /^sandbox$/],
    ['/', /^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'/],
    ['/-/', /frame-ancestors 'none'/],
  ] as const) {
    const { headers } = await ask(port, path)
    assert.match(String(headers['content-security-policy']), policy, path)
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['cross-origin-resource-policy'], 'same-origin')
    assert.equal(headers['x-frame-options'], 'DENY')
    assert.equal(headers['referrer-policy'], 'no-referrer')
  }
  assert.equal(
    (await ask(port, '/f', { headers: { Range: 'bytes=0-1' } })).headers['content-security-policy'],
    'sandbox',
  )
})

test('goal 41: odd paths find nothing, and lead nowhere', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  for (const path of [
    '/..',
    '/../f',
    '/%2e%2e/f',
    '/%2E%2e%2ff',
    '/dir/%2e%2e/f',
    '/./f',
    '/%2e/f',
    '//f',
    '///',
    '//evil.example/',
    '//evil.example',
    '/dir//g',
    '/dir//',
    '/f%00',
    '/%00',
    '/f%2f',
    '/dir%2fg',
    '/%c0%af',
    '/%ff%fe',
    '/%ed%a0%80',
    '/%',
    '/%f',
    '/%zz',
    '/\\..\\f',
    '/f/',
    '/f/..',
    '/f/g',
    '/dir/f',
    '/\xff\xfe',
    '/$(id)',
    '/-/nothing',
    '/-',
    `/${'a'.repeat(20_000)}`,
    `/${'a/'.repeat(10_000)}`,
    `/${'%41'.repeat(9_000)}`,
  ]) {
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`
    const text = await rawAnswer(t, port, request)
    const expected = path === '/-' ? /^HTTP\/1\.1 301 .*\r\nLocation: \/-\/\r\n/s : /^HTTP\/1\.1 (404|400) /
    assert.match(text, expected, path.slice(0, 50))
    assert.doesNotMatch(text, /hello|evil/)
  }
  const redirect = await ask(port, '/dir')
  assert.deepEqual([redirect.status, redirect.headers.location], [301, '/dir/'])
})

test('goal 41: hostile ranges cost little', LIMIT, async (t) => {
  const big = new MemoryVolume({ '/big': { size: 2 ** 40, fill: 3 } })
  const { port } = await startGateway(t, big)
  const many = (count: number, range: (index: number) => string): string =>
    `bytes=${Array.from({ length: count }, (_, index) => range(index)).join(',')}`
  for (const range of [
    many(33, (index) => `${2 * index}-${2 * index}`),
    many(2_000, () => '0-'),
    many(1_000, (index) => `-${index + 1}`),
    `bytes=${','.repeat(5_000)}`,
    `bytes=${'1'.repeat(5_000)}-`,
    `bytes=${' '.repeat(4_000)}${'-1 '.repeat(500)}`,
  ]) {
    const got = await ask(port, '/big', { headers: { Range: range } })
    assert.equal(got.status, 416, range.slice(0, 40))
  }
  assert.equal(big.reads, 0)
  // Ranges that overlap are sent once.
  const twice = await ask(port, '/big', { headers: { Range: many(32, () => '0-99') } })
  assert.deepEqual([twice.status, twice.body.length], [206, 100])
})

test('goal 41: requests that are too large or no HTTP are refused', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  const start = 'GET /f HTTP/1.1\r\nHost: localhost\r\n'
  for (const [text, status] of [
    [`${start}X: ${'a'.repeat(40_000)}\r\n\r\n`, 431],
    [`${start}${Array.from({ length: 5_000 }, (_, i) => `X${i}: y\r\n`).join('')}\r\n`, 431],
    ['\x16\x03\x01\x02\x00\x01\x00', 400],
    ['GET /f SSH/2\r\n\r\n', 400],
    [`${start}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, 400],
    [`${start}X : y\r\n\r\n`, 400],
    ['GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n', 400],
  ] as const) {
    assert.equal(Number((await rawAnswer(t, port, text)).slice(9, 12)), status, text.slice(0, 60))
  }
  const get = await ask(port, '/f')
  assert.equal(get.text, 'hello')
})

test('goal 41: who sends headers slowly, or none, is cut off', { timeout: 180_000 }, async (t) => {
  const { port } = await startGateway(t, volume)
  const slow = await rawConnection(t, port, 'GET /f HTTP/1.1\r\nHost: localhost\r\n')
  const drip = setInterval(() => slow.socket.write('X: y\r\n'), 200)
  t.after(() => clearInterval(drip))
  const silent = await rawConnection(t, port)
  const body = await rawConnection(
    t,
    port,
    'PROPFIND / HTTP/1.1\r\nHost: localhost\r\nDepth: 0\r\nContent-Length: 100\r\n\r\n<',
  )
  assert.equal(await slow.ended(60_000), true)
  assert.match(slow.received(), /^(HTTP\/1\.1 408 |$)/)
  assert.equal(await silent.ended(60_000), true)
  assert.equal(await body.ended(60_000), true)
  assert.equal((await ask(port, '/f')).text, 'hello')
})

test('goal 41: connections, and requests on one of them, are bounded', LIMIT, async (t) => {
  const slow = new MemoryVolume({ '/slow': { size: 10, delay: 'abortable' }, '/f': { size: 5, text: 'hello' } })
  const { port } = await startGateway(t, slow, { maxConnections: 5 })
  const many = await rawConnection(t, port, 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(200))
  assert.equal(await many.ended(60_000), true)
  assert.ok(slow.opens <= 8, `${slow.opens} files were opened`)
  for (let tries = 0; slow.closes < slow.opens && tries < 6_000; tries++) await sleep(10)
  const held = []
  for (let index = 0; index < 5; index++) held.push(await rawConnection(t, port, 'GET /f HTTP/1.1\r\n'))
  const sixth = await rawConnection(t, port)
  assert.equal(await sixth.ended(60_000), true)
  for (const { socket } of held) {
    socket.destroy()
    await once(socket, 'close')
  }
  for (let tries = 0; tries < 3_000; tries++) {
    const got = await ask(port, '/f').catch(() => undefined)
    if (got?.text === 'hello') return
    await sleep(20)
  }
  assert.fail('nothing is answered after the others have left')
})

test('a few requests may be sent at once on one connection', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  const one = 'GET /f HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const connection = await rawConnection(t, port, one.repeat(4))
  await connection.matched(/(hello.*){4}/s)
})

test('everything else than reading is refused, and what is sent with it is not read', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  for (const method of [
    'PUT',
    'POST',
    'DELETE',
    'MKCOL',
    'MOVE',
    'COPY',
    'PROPPATCH',
    'LOCK',
    'UNLOCK',
    'PATCH',
    'TRACE',
  ]) {
    for (const path of ['/f', '/new', '/-/']) {
      const got = await ask(port, path, { method })
      assert.equal(got.status, 405, `${method} ${path}`)
      assert.equal(got.headers.allow, path === '/-/' ? 'GET, HEAD' : 'OPTIONS, GET, HEAD, PROPFIND')
    }
  }
  const upload = await rawConnection(
    t,
    port,
    'PUT /new HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n',
  )
  assert.equal(await upload.ended(60_000), true)
  assert.match(upload.received(), /^HTTP\/1\.1 405 /)
})

test('goal 41: a token or a password lets in, and nothing else does', LIMIT, async (t) => {
  const secret = 'correct horse ü'
  const token = await startGateway(t, volume, {
    authentication: { secret: 'abcdefgh12345678' },
    handlers: [(_, response) => (response.end('x'), true)],
  })
  const basic = await startGateway(t, volume, { authentication: { user: 'ann', secret } })
  const of = (user: string, password: string): string =>
    `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  const cases: readonly (readonly [number, string, number])[] = [
    [token.port, 'Bearer abcdefgh12345678', 200],
    [token.port, 'bearer  abcdefgh12345678 ', 200],
    [token.port, of('', 'abcdefgh12345678'), 200],
    [token.port, of('anybody', 'abcdefgh12345678'), 200],
    [basic.port, of('ann', secret), 200],
    [basic.port, of('ann', 'correct horse u'), 401],
    [basic.port, of('bob', secret), 401],
    [basic.port, `Bearer ${Buffer.from(`ann:${secret}`).toString('latin1')}`, 401],
    [token.port, 'Bearer abcdefgh1234567', 401],
    [token.port, 'Bearer abcdefgh123456789', 401],
    [token.port, 'Digest abcdefgh12345678', 401],
    [token.port, 'abcdefgh12345678', 401],
    [token.port, of('abcdefgh12345678', ''), 401],
    [token.port, 'Basic ?', 401],
  ]
  await Promise.all(
    cases.map(async ([port, authorization, status]) => {
      const got = await ask(port, '/f', { headers: { Authorization: authorization } })
      assert.equal(got.status, status, authorization)
    }),
  )
  for (const path of ['/', '/f', '/nothing', '/-/', '/dir', '/f?token=abcdefgh12345678', '//', '*']) {
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'PROPFIND', 'PUT']) {
      const got = await ask(token.port, path, { method, headers: { Depth: '0' } })
      assert.equal(got.status, 401, `${method} ${path}`)
      assert.match(String(got.headers['www-authenticate']), /^Basic realm="annexfs"/)
      assert.doesNotMatch(got.text, /hello|abcdefgh/)
    }
  }
})

test('a secret that can be guessed, or not be sent, is refused', () => {
  for (const authentication of [
    { secret: 'short' },
    { secret: 'two\nlines here' },
    { user: 'a:b', secret: 'long enough' },
    { user: '', secret: 'long enough' },
  ]) {
    assert.throws(() => authenticator(authentication), { code: 'USAGE' })
  }
})

test('goal 41: without a secret nobody else than this machine is listened to', LIMIT, async () => {
  const outer = Object.values(networkInterfaces())
    .flat()
    .find((one) => one?.internal === false && one.family === 'IPv4')?.address
  for (const host of ['0.0.0.0', '::', ...(outer === undefined ? [] : [outer])]) {
    await assert.rejects(
      gateway({ volume, listen: { host, port: 0 }, readTimeout: 1_000, log: silentLog }),
      (error: Error) => /--token or --basic-auth/.test(error.message),
    )
  }
})

test('a port that is taken is an error that says so', LIMIT, async (t) => {
  const { port } = await startGateway(t, volume)
  await assert.rejects(
    gateway({ volume, listen: { host: '127.0.0.1', port }, readTimeout: 1_000, log: silentLog }),
    (error: Error) => /cannot listen on 127\.0\.0\.1:\d+.*choose another port/.test(error.message),
  )
})
