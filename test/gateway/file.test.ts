import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenFile } from '../../lib/engine/volume.js'
import { AnnexfsError } from '../../lib/errors.js'
import { bytesOf, MemoryVolume } from '../fuse/memory-volume.js'
import { ask, rawConnection, startGateway } from './world.js'

const LIMIT = { timeout: 180_000 }
const SIZE = 1_000_000
const FILE = { size: SIZE, seed: 7, mtime: Date.UTC(2021, 4, 5, 6, 7, 8) }

test('GET gives the whole file, HEAD the same headers without it', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/film.mp4': FILE, '/empty': { size: 0 } })
  const { port } = await startGateway(t, volume)
  const got = await ask(port, '/film.mp4')
  assert.equal(got.status, 200)
  assert.ok(got.body.equals(bytesOf(7, 0, SIZE)))
  const head = await ask(port, '/film.mp4', { method: 'HEAD' })
  assert.equal(head.body.length, 0)
  for (const name of ['etag', 'last-modified', 'content-length', 'content-type', 'accept-ranges']) {
    assert.ok(got.headers[name] !== undefined, name)
    assert.equal(head.headers[name], got.headers[name], name)
  }
  assert.equal(got.headers['content-length'], String(SIZE))
  assert.equal(got.headers['content-type'], 'video/mp4')
  assert.equal(got.headers['last-modified'], 'Wed, 05 May 2021 06:07:08 GMT')
  const empty = await ask(port, '/empty', { headers: { Range: 'bytes=0-' } })
  assert.deepEqual([empty.status, empty.body.length, empty.broken], [200, 0, false])
  assert.equal(volume.opens, volume.closes)
})

test('ranges: one, the last bytes, past the end, malformed, of an empty selection', LIMIT, async (t) => {
  const { port } = await startGateway(t, new MemoryVolume({ '/f': FILE }))
  const content = bytesOf(7, 0, SIZE)
  const cases: readonly (readonly [string, number, number, number])[] = [
    ['bytes=0-0', 206, 0, 1],
    ['bytes=100-299', 206, 100, 300],
    ['bytes=999999-', 206, SIZE - 1, SIZE],
    ['bytes=500000-99999999', 206, 500_000, SIZE],
    ['bytes=-1', 206, SIZE - 1, SIZE],
    ['bytes=-1000', 206, SIZE - 1000, SIZE],
    ['bytes=-5000000', 206, 0, SIZE],
    ['bytes= 5-9', 206, 5, 10],
    ['Bytes=5-9', 206, 5, 10],
    ['bytes=0-9,10-19', 206, 0, 20],
    ['bytes=5-9,7-8', 206, 5, 10],
    ['bytes=0-9,2000000-', 206, 0, 10],
    [`bytes=0-${'9'.repeat(300)}`, 206, 0, SIZE],
    ['lines=0-1', 200, 0, SIZE],
    ['bytes=a-b', 200, 0, SIZE],
    ['bytes', 200, 0, SIZE],
    ['bytes=', 200, 0, SIZE],
    ['bytes=1-2-3', 200, 0, SIZE],
    ['bytes=0x10-0x20', 200, 0, SIZE],
    ['bytes=-', 200, 0, SIZE],
  ]
  for (const [range, status, start, end] of cases) {
    const got = await ask(port, '/f', { headers: { Range: range } })
    assert.equal(got.status, status, range)
    assert.ok(got.body.equals(content.subarray(start, end)), `${range}: ${got.body.length} bytes`)
    if (status === 206) assert.equal(got.headers['content-range'], `bytes ${start}-${end - 1}/${SIZE}`)
  }
  for (const range of ['bytes=1000000-', 'bytes=-0', 'bytes=5-4', `bytes=${'9'.repeat(300)}-`]) {
    const got = await ask(port, '/f', { headers: { Range: range } })
    assert.equal(got.status, 416, range)
    assert.equal(got.headers['content-range'], `bytes */${SIZE}`)
  }
  const head = await ask(port, '/f', { method: 'HEAD', headers: { Range: 'bytes=0-0' } })
  assert.deepEqual([head.status, head.headers['content-length']], [200, String(SIZE)])
})

test('several ranges come as multipart/byteranges of the announced length', LIMIT, async (t) => {
  const { port } = await startGateway(t, new MemoryVolume({ '/f.txt': FILE }))
  const got = await ask(port, '/f.txt', { headers: { Range: 'bytes=900000-, 0-9 ,500-599' } })
  assert.equal(got.status, 206)
  assert.equal(got.headers['content-length'], String(got.body.length))
  const boundary = /^multipart\/byteranges; boundary=(.+)$/.exec(got.headers['content-type'] ?? '')?.[1] ?? '?'
  const parts = got.body.toString('latin1').split(`--${boundary}`)
  assert.equal(parts.at(-1), '--\r\n')
  const expected = [
    [900_000, SIZE],
    [0, 10],
    [500, 600],
  ] as const
  assert.equal(parts.length, expected.length + 2)
  for (const [index, [start, end]] of expected.entries()) {
    const part = parts[index + 1] ?? ''
    const split = part.indexOf('\r\n\r\n')
    assert.match(part.slice(0, split), /^\r\nContent-Type: text\/plain; charset=utf-8\r\n/)
    assert.ok(part.slice(0, split).endsWith(`Content-Range: bytes ${start}-${end - 1}/${SIZE}`))
    assert.ok(Buffer.from(part.slice(split + 4, -2), 'latin1').equals(bytesOf(7, start, end)))
  }
})

test(
  'conditional requests: If-None-Match, If-Modified-Since, If-Match, If-Unmodified-Since, If-Range',
  LIMIT,
  async (t) => {
    const { port } = await startGateway(t, new MemoryVolume({ '/f': FILE }))
    const { headers } = await ask(port, '/f', { method: 'HEAD' })
    const etag = headers.etag ?? ''
    assert.match(etag, /^"[\w-]{32}"$/)
    const same = 'Wed, 05 May 2021 06:07:08 GMT'
    const before = 'Wed, 05 May 2021 06:07:07 GMT'
    const cases: readonly (readonly [Record<string, string>, number])[] = [
      [{ 'If-None-Match': etag }, 304],
      [{ 'If-None-Match': `"a", W/${etag}` }, 304],
      [{ 'If-None-Match': '*' }, 304],
      [{ 'If-None-Match': '"other"' }, 200],
      [{ 'If-None-Match': '"other"', 'If-Modified-Since': same }, 200],
      [{ 'If-None-Match': etag, 'If-Modified-Since': before }, 304],
      [{ 'If-Modified-Since': same }, 304],
      [{ 'If-Modified-Since': before }, 200],
      [{ 'If-Modified-Since': 'not a date' }, 200],
      [{ 'If-Match': etag }, 200],
      [{ 'If-Match': '*' }, 200],
      [{ 'If-Match': `"a", ${etag}` }, 200],
      [{ 'If-Match': `W/${etag}` }, 412],
      [{ 'If-Match': '"other"' }, 412],
      [{ 'If-Unmodified-Since': same }, 200],
      [{ 'If-Unmodified-Since': before }, 412],
      [{ 'If-Unmodified-Since': 'not a date' }, 200],
      [{ Range: 'bytes=0-9', 'If-Range': etag }, 206],
      [{ Range: 'bytes=0-9', 'If-Range': '"other"' }, 200],
      [{ Range: 'bytes=0-9', 'If-Range': `W/${etag}` }, 200],
      [{ Range: 'bytes=0-9', 'If-Range': same }, 200],
      [{ Range: 'bytes=0-9', 'If-None-Match': etag }, 304],
    ]
    for (const [given, status] of cases) {
      for (const method of ['GET', 'HEAD']) {
        const got = await ask(port, '/f', { method, headers: given })
        const expected = method === 'HEAD' && status === 206 ? 200 : status
        assert.equal(got.status, expected, `${method} ${JSON.stringify(given)}`)
        assert.equal(got.headers.etag, etag)
        if (status === 304) assert.equal(got.body.length, 0)
      }
    }
  },
)

test('another content at the same path has another tag', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/f': FILE })
  const { port } = await startGateway(t, volume)
  const first = await ask(port, '/f')
  volume.set('/f', { ...FILE, seed: 8 })
  const second = await ask(port, '/f', { headers: { 'If-None-Match': first.headers.etag ?? '' } })
  assert.equal(second.status, 200)
  assert.ok(second.body.equals(bytesOf(8, 0, SIZE)))
})

test('what cannot be read has a status that says so, and is not cached', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({
      '/gone': { size: 10, fails: 'UNAVAILABLE' },
      '/corrupt': { size: 10, fails: 'CORRUPT' },
      '/late': { size: 10, fails: 'TIMED_OUT' },
      '/short': { size: 10, short: true },
    }),
  )
  for (const [path, status] of [
    ['/gone', 503],
    ['/corrupt', 502],
    ['/late', 504],
    ['/short', 502],
    ['/nothing', 404],
  ] as const) {
    const got = await ask(port, path)
    assert.equal(got.status, status, path)
    assert.equal(got.headers['cache-control'], 'no-store')
    assert.equal(got.headers.etag, undefined)
  }
})

test('a read that fails in the middle breaks the connection: nothing looks complete', LIMIT, async (t) => {
  class FailsLater extends MemoryVolume {
    override async open(...args: Parameters<MemoryVolume['open']>): Promise<OpenFile> {
      const file = await super.open(...args)
      return {
        ...file,
        read: (offset, length, into, signal) => {
          if (offset > 300_000) throw new AnnexfsError('UNAVAILABLE', 'the source went away')
          return file.read(offset, length, into, signal)
        },
      }
    }
  }
  const volume = new FailsLater({ '/f': FILE })
  const { port } = await startGateway(t, volume)
  for (const headers of [{}, { Range: 'bytes=10-' }, { Range: 'bytes=0-9,20-999000' }]) {
    const got = await ask(port, '/f', { headers })
    assert.equal(got.broken, true)
    assert.ok(got.body.length < SIZE)
  }
  assert.equal(volume.opens, volume.closes)
})

test('who gets all of a file that turns out to be wrong does not get its end', LIMIT, async (t) => {
  class Wrong extends MemoryVolume {
    override async open(...args: Parameters<MemoryVolume['open']>): Promise<OpenFile> {
      const file = await super.open(...args)
      return { ...file, settled: () => Promise.reject(new AnnexfsError('CORRUPT', 'not what its key says')) }
    }
  }
  const { port } = await startGateway(t, new Wrong({ '/f': FILE, '/small': { size: 5 } }))
  const whole = await ask(port, '/f')
  assert.equal(whole.broken, true)
  assert.ok(whole.body.length < SIZE)
  assert.equal((await ask(port, '/small')).status, 502)
  const part = await ask(port, '/f', { headers: { Range: 'bytes=0-99' } })
  assert.deepEqual([part.status, part.body.length, part.broken], [206, 100, false])
})

test('a read without bytes fails at the deadline', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/never': { size: 10, delay: 'never' } })
  const { port } = await startGateway(t, volume, { readTimeout: 300 })
  const got = await ask(port, '/never')
  assert.equal(got.status, 504)
  assert.match(got.text, /300 ms/)
  assert.equal(volume.aborted, 1)
  assert.equal(volume.opens, volume.closes)
})

test('a client that leaves ends its reads', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/slow': { size: 10, delay: 'abortable' } })
  const { port } = await startGateway(t, volume)
  const connection = await rawConnection(t, port, 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n')
  for (let tries = 0; volume.reads === 0 && tries < 6_000; tries++) await sleep(10)
  assert.equal(volume.reads, 1)
  connection.socket.destroy()
  for (let tries = 0; volume.closes === 0 && tries < 6_000; tries++) await sleep(10)
  assert.deepEqual([volume.aborted, volume.closes], [1, 1])
})

test('a client that does not read holds the reads back', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/huge': { size: 2 ** 40, fill: 1 } })
  const { port } = await startGateway(t, volume)
  const connection = await rawConnection(t, port)
  connection.socket.pause()
  connection.socket.write('GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n')
  let before = -1
  // What the kernel's buffers take, and then no more.
  for (let tries = 0; before !== volume.reads && tries < 60; tries++) {
    before = volume.reads
    await sleep(250)
  }
  assert.ok(volume.reads > 0 && volume.reads < 200, `${volume.reads} reads`)
  connection.socket.destroy()
  for (let tries = 0; volume.closes === 0 && tries < 6_000; tries++) await sleep(10)
  assert.equal(volume.closes, 1)
})

test('closing the gateway ends what waits and what flows', LIMIT, async (t) => {
  const volume = new MemoryVolume({ '/slow': { size: 10, delay: 'abortable' }, '/huge': { size: 2 ** 40, fill: 1 } })
  const served = await startGateway(t, volume)
  const waiting = await rawConnection(t, served.port, 'GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const flowing = await rawConnection(t, served.port)
  flowing.socket.pause()
  flowing.socket.write('GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n')
  for (let tries = 0; volume.opens < 2 && tries < 6_000; tries++) await sleep(10)
  await served.close()
  flowing.socket.destroy()
  assert.equal(await waiting.ended(60_000), true)
  for (let tries = 0; volume.closes < 2 && tries < 6_000; tries++) await sleep(10)
  assert.equal(volume.closes, 2)
})

test('many clients that take nothing cost little memory each', LIMIT, async (t) => {
  const warnings: string[] = []
  const onWarning = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const volume = new MemoryVolume({ '/huge': { size: 2 ** 40, fill: 1 } })
  const { port } = await startGateway(t, volume)
  const before = process.memoryUsage().rss
  for (let index = 0; index < 100; index++) {
    const connection = await rawConnection(t, port)
    connection.socket.pause()
    connection.socket.write('GET /huge HTTP/1.1\r\nHost: localhost\r\n\r\n')
  }
  let reads = -1
  for (let tries = 0; (reads !== volume.reads || volume.opens < 100) && tries < 240; tries++) {
    reads = volume.reads
    await sleep(250)
  }
  assert.equal(volume.opens, 100)
  const grown = (process.memoryUsage().rss - before) / 2 ** 20
  // Two buffers of 256 KiB for each, and something for the sockets of both sides.
  assert.ok(grown < 160, `${grown} MiB for 100 clients`)
  assert.deepEqual(warnings, [])
})
