import assert from 'node:assert/strict'
import { open, readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { annexWorld } from '../support/annex.js'
import { askedRange, httpServer } from '../support/http.js'
import { measured } from '../support/marks.js'
import { isMountedAt } from '../support/mount.js'
import { pseudoRandom, until } from '../support/peers.js'
import { startReader } from '../support/readers.js'
import { REACH_NGINX } from '../support/sample.js'
import { mountSession, within, type MountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const SIZE = 40_000_000

interface HungWorld {
  readonly mount: MountSession
  /** A file whose server takes requests and never answers them. */
  readonly hung: string
  /** Requests for its bytes that wait for an answer now. */
  readonly pending: ReadonlySet<ServerResponse>
  /** A file at another server, which answers. */
  readonly good: string
  readonly content: Buffer
}

async function hungWorld(t: TestContext, options: readonly string[]): Promise<HungWorld> {
  const world = await annexWorld(t)
  const content = pseudoRandom(4_000_000, 'good')
  const pending = new Set<ServerResponse>()
  let hangs = false
  const bad = await httpServer(t, (request, response) => {
    if (!hangs || request.method === 'HEAD') {
      response.writeHead(200, { 'content-length': SIZE, 'accept-ranges': 'bytes', etag: '"one"' }).end()
      return
    }
    pending.add(response)
    response.on('close', () => pending.delete(response))
  })
  const fine = await httpServer(t, (request, response) => {
    const range = askedRange(request, content.length)
    const part = range === undefined ? content : content.subarray(range.start, range.end)
    const head = { etag: '"g"', 'accept-ranges': 'bytes', 'content-length': part.length }
    if (range === undefined) response.writeHead(200, head).end(request.method === 'HEAD' ? undefined : part)
    else {
      const shown = `bytes ${range.start}-${range.end - 1}/${content.length}`
      response.writeHead(206, { ...head, 'content-range': shown }).end(part)
    }
  })
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=hung', `${bad.url}/hung`)
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=good', `${fine.url}/good`)
  await world.git('a', 'commit', '--quiet', '-m', 'urls')
  hangs = true
  const mount = await mountSession(t, [repository], { options: [...REACH_NGINX, ...options] })
  // The first open of a URL asks the server which version it has; what is looked at here are reads.
  try {
    await (await open(join(mount.path, 'hung'))).close()
  } catch (error) {
    const { exitCode, signalCode } = mount.process
    throw new Error(`the first open failed; process ${String(exitCode ?? signalCode)}: ${mount.log()}`, {
      cause: error,
    })
  }
  return { mount, hung: join(mount.path, 'hung'), good: join(mount.path, 'good'), pending, content }
}

test('goal 7: killed readers are gone within 1 s, and their fetches end within 5 s', LIMIT, async (t) => {
  const { mount, hung, pending, good, content } = await hungWorld(t, ['--read-timeout', '90s'])
  const readers = Array.from({ length: 12 }, (_, index) => startReader(t, hung, index * 3_000_000 + 7, 5_000))
  await Promise.all(readers.map((reader) => reader.opened))
  await until('the server has requests', () => pending.size >= 1)
  await sleep(500)
  const killed = performance.now()
  for (const reader of readers) reader.process.kill('SIGKILL')
  const ends = await Promise.all(readers.map((reader) => reader.ended))
  measured(t, 'gone after', performance.now() - killed, { mark: 1000, alarm: 20_000 })
  for (const { result } of ends) assert.equal(result, 'SIGKILL')
  await until('the requests have ended', () => pending.size === 0)
  measured(t, 'no fetch after', performance.now() - killed, { mark: 5000, alarm: 30_000 })
  assert.ok(content.equals(await within(60_000, 'read', readFile(good))))
  assert.equal(await mount.stop(), 0, mount.log())
})

test('goal 8: a remote that hangs is ETIMEDOUT at the deadline, and delays nobody else', LIMIT, async (t) => {
  const { mount, hung, good, content } = await hungWorld(t, ['--read-timeout', '10s'])
  const readers = Array.from({ length: 8 }, (_, index) => startReader(t, hung, index * 4_000_000, 5_000))
  const waits: number[] = []
  const file = await open(good)
  const own = Buffer.alloc(4_096)
  try {
    for (let read = 0; read < 20; read++) {
      const offset = (read * 199_999) % (content.length - own.length)
      const started = performance.now()
      await within(60_000, 'a read of another file', file.read(own, 0, own.length, offset))
      waits.push(performance.now() - started)
      assert.ok(own.equals(content.subarray(offset, offset + own.length)))
      await sleep(50)
    }
  } finally {
    await file.close()
  }
  measured(t, 'slowest read of another file:', Math.max(...waits), { mark: 1000, alarm: 8000 })
  const ends = await Promise.all(readers.map((reader) => reader.ended))
  for (const { result, took } of ends) {
    assert.equal(result, 'ETIMEDOUT')
    assert.ok(took > 9_000, `${took} ms for a deadline of 10 s`)
  }
  measured(t, 'ETIMEDOUT after', Math.max(...ends.map(({ took }) => took)), { mark: 11_000, alarm: 45_000 })
  const line = await mount.logged(/cannot read .*hung/)
  assert.match(line, /127\.0\.0\.1:\d+/, 'says what was tried')
})

test('goal 11: a mount with 64 blocked readers ends within 10 s', LIMIT, async (t) => {
  const { mount, hung, pending } = await hungWorld(t, ['--read-timeout', '150s'])
  const readers = Array.from({ length: 64 }, (_, index) => startReader(t, hung, index * 600_000, 1_000))
  await Promise.all(readers.map((reader) => reader.opened))
  await until('the server has requests', () => pending.size >= 1)
  const started = performance.now()
  const code = await within(60_000, 'unmounting', mount.stop())
  assert.equal(code, 0, mount.log())
  assert.equal(await isMountedAt(mount.path), false)
  await within(60_000, 'the readers', Promise.all(readers.map((reader) => reader.ended)))
  measured(t, 'ended after', performance.now() - started, { mark: 10_000, alarm: 60_000 })
})
