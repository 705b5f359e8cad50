import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { truncate, writeFile, open } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { webSource } from '../../lib/sources/web.js'
import type { Source } from '../../lib/sources/source.js'
import { httpServer, misbehaving } from '../support/http.js'
import { startNginx } from '../support/nginx.js'
import { until } from '../support/peers.js'
import { readAll, sourceContract, spaceOf } from './contract.js'

function client(t: TestContext): HttpClient {
  const http = new HttpClient({ policy: anyAddress, log: silentLog })
  t.after(() => http.close())
  return http
}

function source(t: TestContext, url: string): Source {
  const made = webSource({ url, client: client(t), log: silentLog })
  t.after(() => made.close?.())
  return made
}

sourceContract('web (nginx)', async (t) => {
  const nginx = await startNginx(t)
  const content = randomBytes(3_000_001)
  await writeFile(join(nginx.root, 'f.bin'), content)
  return { source: webSource({ url: `${nginx.url}/f.bin`, client: client(t), log: silentLog }), content }
})

sourceContract('web (a server without ranges)', async (t) => {
  const content = randomBytes(6_000_001)
  const server = await httpServer(t, misbehaving(content, 'no ranges'))
  return { source: webSource({ url: server.url, client: client(t), log: silentLog }), content }
})

test('what is fetched from nginx is what is asked for', { timeout: 180_000 }, async (t) => {
  const nginx = await startNginx(t)
  const path = join(nginx.root, 'large.bin')
  await writeFile(path, '')
  await truncate(path, 5 * 1024 ** 3)
  const file = await open(path, 'r+')
  const mark = randomBytes(1000)
  const at = 4.5 * 1024 ** 3
  await file.write(mark, 0, mark.length, at)
  await file.close()
  const web = source(t, `${nginx.url}/large.bin`)
  const holding = await web.find(spaceOf(5 * 1024 ** 3), AbortSignal.timeout(60_000))
  assert.ok(holding)
  const got = await readAll(holding, { start: at - 100, end: at + 65_436 })
  assert.ok(got.subarray(100, 1100).equals(mark))
  await readAll(holding, { start: 0, end: 131_072 })
  // nginx writes its log when an answer is done.
  await until('both are logged', async () => (await nginx.log()).length >= 2)
  const sent = (await nginx.log()).map(({ status, bytes }) => ({ status, bytes }))
  assert.deepEqual(sent, [
    { status: 206, bytes: 65_536 },
    { status: 206, bytes: 131_072 },
  ])
})

test(
  'an nginx that gives no ranges is read from the start, once for reads in order',
  { timeout: 180_000 },
  async (t) => {
    const nginx = await startNginx(t)
    const content = randomBytes(2_000_000)
    await writeFile(join(nginx.root, 'f.bin'), content)
    const web = source(t, `${nginx.url}/stop/f.bin`)
    const holding = await web.find(spaceOf(content.length), AbortSignal.timeout(60_000))
    assert.ok(holding)
    for (let start = 0; start < content.length; start += 131_072) {
      const range = { start, end: Math.min(start + 131_072, content.length) }
      assert.ok((await readAll(holding, range)).equals(content.subarray(range.start, range.end)))
    }
    await until('both are logged', async () => (await nginx.log()).length >= 2)
    await new Promise((resolve) => setTimeout(resolve, 100))
    assert.equal((await nginx.log()).length, 2)
  },
)

test(
  'size and validator are learned by HEAD, or by the first byte where HEAD is refused',
  { timeout: 180_000 },
  async (t) => {
    const nginx = await startNginx(t)
    await writeFile(join(nginx.root, 'f.bin'), randomBytes(12_345))
    const measured = await source(t, `${nginx.url}/f.bin`).measure?.(AbortSignal.timeout(60_000))
    assert.equal(measured?.size, 12_345)
    assert.match(measured?.validator ?? '', /^etag:"/)

    const content = randomBytes(777)
    const noHead = await httpServer(t, (request, response) => {
      if (request.method === 'HEAD') response.writeHead(405).end()
      else misbehaving(content, 'none')(request, response)
    })
    assert.deepEqual(await source(t, noHead.url).measure?.(AbortSignal.timeout(60_000)), {
      size: 777,
      validator: 'etag:"first"',
    })
  },
)

test('content of another version than was measured is refused', { timeout: 180_000 }, async (t) => {
  const content = randomBytes(50_000)
  const server = await httpServer(t, misbehaving(content, 'none'))
  const web = webSource({ url: server.url, client: client(t), log: silentLog, validator: 'etag:"older"' })
  const holding = await web.find(spaceOf(content.length), AbortSignal.timeout(60_000))
  assert.ok(holding)
  await assert.rejects(readAll(holding, { start: 0, end: 10 }), /has changed/)
})

test('a redirect is asked once, and again when its target has gone', { timeout: 180_000 }, async (t) => {
  const content = randomBytes(50_000)
  let place = 1
  const server = await httpServer(t, (request, response) => {
    if (request.url === '/') response.writeHead(302, { location: `/place${place}` }).end()
    else if (request.url === `/place${place}`) misbehaving(content, 'none')(request, response)
    else response.writeHead(403).end()
  })
  const web = source(t, server.url)
  const holding = await web.find(spaceOf(content.length), AbortSignal.timeout(60_000))
  assert.ok(holding)
  for (const move of [false, false, true, false]) {
    if (move) place++
    assert.ok((await readAll(holding, { start: 5, end: 500 })).equals(content.subarray(5, 500)))
  }
  const asked = server.requests.map((request) => request.url)
  assert.deepEqual(asked, ['/', '/place1', '/place1', '/place1', '/', '/place2', '/place2'])
})

test('a source that said not found is not asked again soon', { timeout: 180_000 }, async (t) => {
  const server = await httpServer(t, misbehaving(randomBytes(10), '404'))
  const web = source(t, server.url)
  const holding = await web.find(spaceOf(10), AbortSignal.timeout(60_000))
  assert.ok(holding)
  await assert.rejects(readAll(holding, { start: 0, end: 10 }), /answered 404/)
  assert.equal(holding.has({ start: 0, end: 10 }), false)
  assert.equal(await web.find(spaceOf(10), AbortSignal.timeout(60_000)), undefined)
  assert.equal(server.requests.length, 1)
})
