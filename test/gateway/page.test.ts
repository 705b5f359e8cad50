import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, get, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { AnnexfsError } from '../../lib/errors.js'
import { pageHandler, type PageOptions } from '../../lib/gateway/page/page.js'
import type { Snapshot } from '../../lib/status/snapshot.js'
import { until } from '../support/peers.js'
import { origin, pieceMap, setStation, type SetStation } from '../support/station.js'

/** The page alone on a server. */
async function serve(t: TestContext, station: SetStation, options: PageOptions = {}): Promise<string> {
  const handler = pageHandler(station, options)
  const server = createServer((request, response) => {
    void Promise.resolve(handler(request, response)).then((done) => (done ? undefined : response.writeHead(404).end()))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

interface Event {
  readonly name: string
  readonly data: Record<string, unknown>
}

/** Reads events until the stream is closed by the test's end. */
async function* events(t: TestContext, url: string): AsyncGenerator<Event> {
  const sent = get(url)
  sent.on('error', () => undefined)
  t.after(() => sent.destroy())
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  assert.equal(response.statusCode, 200)
  assert.match(response.headers['content-type'] ?? '', /^text\/event-stream/)
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) {
    text += String(chunk)
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const found = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, end))
      text = text.slice(end + 2)
      if (found !== null) yield { name: found[1] ?? '', data: JSON.parse(found[2] ?? '') as Record<string, unknown> }
    }
  }
}

async function next(stream: AsyncGenerator<Event>): Promise<Event> {
  const { value, done } = await stream.next()
  assert.ok(done !== true, 'the stream has ended')
  return value
}

test('everything below /-/ that is the page is served under a strict policy, and nothing else is', async (t) => {
  const url = await serve(t, setStation())
  const page = await fetch(`${url}/-/`)
  assert.equal(page.status, 200)
  const html = await page.text()
  const policy = page.headers.get('content-security-policy') ?? ''
  for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "form-action 'none'"]) {
    assert.ok(policy.includes(part), part)
  }
  assert.ok(!policy.includes('unsafe'))
  assert.doesNotMatch(html, /<style|style=|\son\w+=|<script(?![^>]*src=)/, 'nothing inline')
  assert.doesNotMatch(html, /(src|href)="(https?:)?\/\//, 'nothing from elsewhere')
  for (const [, path] of html.matchAll(/(?:src|href)="([^"#:]+\.[a-z]+)"/g)) {
    const part = await fetch(`${url}/-/${path}`)
    assert.equal(part.status, 200, path)
    assert.equal(part.headers.get('x-content-type-options'), 'nosniff')
    await part.body?.cancel()
  }
  for (const path of ['/-/..%2f..%2fpackage.json', '/-/page.ts', '/-/tsconfig.json', '/other', '/-/metrics']) {
    const other = await fetch(url + path)
    assert.equal(other.status, 404, path)
    await other.body?.cancel()
  }
  const moved = await fetch(`${url}/-`, { redirect: 'manual' })
  assert.equal(moved.headers.get('location'), '/-/')
  const posted = await fetch(`${url}/-/snapshot`, { method: 'POST' })
  assert.equal(posted.status, 405)
})

test('a browser that has the page is not sent it again', async (t) => {
  const url = await serve(t, setStation())
  const first = await fetch(`${url}/-/page.css`)
  const etag = first.headers.get('etag') ?? ''
  assert.ok((await first.text()).length > 1000)
  const again = await fetch(`${url}/-/page.css`, { headers: { 'If-None-Match': etag } })
  assert.equal(again.status, 304)
  assert.equal(await again.text(), '')
  const head = await fetch(`${url}/-/page.css`, { method: 'HEAD' })
  assert.equal(head.status, 200)
})

/** As it goes over the wire: `fetch` would undo the compression. */
async function sent(url: string, accepted?: string): Promise<{ readonly headers: IncomingHttpHeaders; body: Buffer }> {
  const asked = get(url, { headers: accepted === undefined ? {} : { 'Accept-Encoding': accepted } })
  const [response] = (await once(asked, 'response')) as [IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { headers: response.headers, body: Buffer.concat(chunks) }
}

test('the page is sent compressed to who can read that, and plain to others', async (t) => {
  const url = await serve(t, setStation())
  for (const name of ['', 'page.mjs', 'page.css']) {
    const plain = await sent(`${url}/-/${name}`)
    assert.equal(plain.headers['content-encoding'], undefined)
    assert.equal(plain.headers.vary, 'Accept-Encoding')
    const cases: [string, string | undefined, (body: Buffer) => Buffer][] = [
      ['gzip, deflate, br', 'br', brotliDecompressSync],
      ['gzip', 'gzip', gunzipSync],
      ['*', 'br', brotliDecompressSync],
      ['br;q=0.2, gzip;q=0.9', 'gzip', gunzipSync],
      ['br;q=0, *', 'gzip', gunzipSync],
      ['gzip;q=0, deflate', undefined, (body) => body],
      ['br;q=rubbish', undefined, (body) => body],
      ['identity', undefined, (body) => body],
    ]
    for (const [accepted, coding, open] of cases) {
      const { headers, body } = await sent(`${url}/-/${name}`, accepted)
      assert.equal(headers['content-encoding'], coding, accepted)
      assert.equal(headers['content-length'], String(body.length))
      assert.equal(headers.etag === plain.headers.etag, coding === undefined, 'other bytes, another tag')
      assert.ok(open(body).equals(plain.body), accepted)
    }
  }
})

test('the snapshot and the map of a file are JSON, and failures say why', async (t) => {
  const station = setStation()
  station.maps.set('key:a b&c', pieceMap('key:a b&c', [['verified', 3, -1]]))
  const url = await serve(t, station)
  const snapshot = (await (await fetch(`${url}/-/snapshot`)).json()) as Snapshot
  assert.equal(snapshot.pid, 4242)
  const map = await fetch(`${url}/-/pieces?id=${encodeURIComponent('key:a b&c')}`)
  assert.equal(map.headers.get('cache-control'), 'no-store')
  assert.deepEqual(((await map.json()) as { runs: unknown }).runs, [['verified', 3, -1]])
  assert.equal(await (await fetch(`${url}/-/pieces?id=other`)).json(), null)
  assert.equal((await fetch(`${url}/-/pieces`)).status, 400)
  assert.equal((await fetch(`${url}/-/pieces?id=${'x'.repeat(5000)}`)).status, 400)
  assert.equal((await fetch(`${url}/-/pieces?id=%ff%`)).status, 200)
  station.before = () => Promise.reject(new AnnexfsError('SYSTEM', 'the engine has stopped'))
  const failed = await fetch(`${url}/-/snapshot`)
  assert.equal(failed.status, 500)
  assert.deepEqual(await failed.json(), { error: 'the engine has stopped' })
})

test('only so many maps are made at a time, and none for who has left', async (t) => {
  const station = setStation()
  const signals: AbortSignal[] = []
  station.pieceMap = (_id, signal) => {
    signals.push(signal)
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new AnnexfsError('ABORTED', 'left')))
    })
  }
  const url = await serve(t, station)
  const leave = new AbortController()
  const asked = Array.from({ length: 8 }, () =>
    fetch(`${url}/-/pieces?id=x`, { signal: leave.signal }).catch(() => undefined),
  )
  while (signals.length < 8) await sleep(10)
  const more = await fetch(`${url}/-/pieces?id=x`)
  assert.equal(more.status, 503)
  assert.equal(more.headers.get('retry-after'), '1')
  leave.abort()
  await Promise.all(asked)
  while (!signals.every((signal) => signal.aborted)) await sleep(10)
})

test('a stream begins with a snapshot and goes on with what is new, while somebody looks', async (t) => {
  const station = setStation({ origins: [origin('swarm', { history: [1, 2, 3] })] })
  const url = await serve(t, station, { interval: 30 })
  const stream = events(t, `${url}/-/events`)
  const first = await next(stream)
  assert.equal(first.name, 'snapshot')
  assert.equal(first.data['pid'], 4242)
  station.state = { ...station.state, readBytes: 77, origins: [origin('swarm', { history: [1, 2, 3, 9] })] }
  let second = await next(stream)
  while (second.data['readBytes'] === undefined) second = await next(stream)
  assert.equal(second.name, 'change')
  assert.deepEqual(Object.keys(second.data).sort(), ['now', 'origins', 'readBytes'])
  const third = await next(stream)
  assert.deepEqual(Object.keys(third.data), ['now'], 'a heartbeat when nothing is new')

  const late = events(t, `${url}/-/events`)
  assert.equal((await next(late)).name, 'snapshot', 'who comes later begins with all of it')
  await stream.return(undefined)
  await late.return(undefined)
  await until('nothing is asked, for nobody looks', async () => {
    const { snapshots } = station.asked
    await sleep(150)
    return station.asked.snapshots === snapshots
  })
})

test('many who look cost one snapshot at a time; too many are told to come back', async (t) => {
  const station = setStation()
  const url = await serve(t, station, { interval: 200, clients: 3 })
  const streams = [1, 2, 3].map(() => events(t, `${url}/-/events`))
  for (const stream of streams) await next(stream)
  const { snapshots } = station.asked
  for (let turn = 0; turn < 4; turn++) for (const stream of streams) await next(stream)
  assert.ok(station.asked.snapshots - snapshots <= 6, `${station.asked.snapshots - snapshots} snapshots`)
  const refused = await fetch(`${url}/-/events`)
  assert.equal(refused.status, 503)
  await refused.body?.cancel()
  await streams[0]?.return(undefined)
  await until('there is room again', () =>
    next(events(t, `${url}/-/events`)).then(
      () => true,
      () => false,
    ),
  )
})

test('who does not read gets no backlog, and a whole snapshot when reading again', async (t) => {
  const station = setStation()
  const errors = Array.from({ length: 200 }, (_, index) => ({
    time: index,
    path: `/${'x'.repeat(2000)}`,
    reason: 'no',
  }))
  const url = await serve(t, station, { interval: 5 })
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  t.after(() => socket.destroy())
  socket.on('error', () => undefined)
  socket.write('GET /-/events HTTP/1.1\r\nHost: x\r\n\r\n')
  await once(socket, 'readable')
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed
  // Each change is 400 KiB; 400 of them would be 160 MiB.
  for (let turn = 0; turn < 400; turn++) {
    station.state = { ...station.state, errors: errors.map((error) => ({ ...error, time: error.time + turn })) }
    await sleep(5)
  }
  const grown = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before
  assert.ok(grown < 80 * 2 ** 20, `${Math.round(grown / 2 ** 20)} MiB more`)
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) {
    text = (text + String(chunk)).slice(-1_000_000)
    if (/event: snapshot\ndata: [^\n]*"time":399,/.test(text)) break
  }
})

test('a state that cannot be told is told, and does not end the stream', async (t) => {
  const station = setStation()
  station.before = () => Promise.reject(new AnnexfsError('SYSTEM', 'out of order'))
  const url = await serve(t, station, { interval: 20 })
  const stream = events(t, `${url}/-/events`)
  assert.deepEqual(await next(stream), { name: 'trouble', data: { reason: 'out of order' } })
  station.before = () => Promise.resolve()
  let news = await next(stream)
  while (news.name === 'trouble') news = await next(stream)
  assert.equal(news.name, 'snapshot')
})

test('the end of the gateway ends all streams', async (t) => {
  const ending = new AbortController()
  const url = await serve(t, setStation(), { interval: 20, signal: ending.signal })
  const stream = events(t, `${url}/-/events`)
  await next(stream)
  ending.abort()
  while ((await stream.next()).done !== true);
  const request = httpRequest(`${url}/-/events`).end()
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  assert.equal(answer.statusCode, 503)
  answer.resume()
})
