import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Engine, EngineOptions } from '../../lib/engine/engine.js'
import type { OpenFile } from '../../lib/engine/volume.js'
import { annexWorld } from '../support/annex.js'
import { engineFor } from '../support/engine.js'
import { httpServer, misbehaving } from '../support/http.js'
import { measured } from '../support/marks.js'
import { pseudoRandom } from '../support/peers.js'
import { makeSample } from '../support/sample.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }

/** An engine that may reach the servers of the test. */
async function engineOf(
  t: TestContext,
  sources: readonly string[],
  options: Partial<EngineOptions> = {},
): Promise<Engine> {
  return engineFor(t, sources, { allowAddresses: ['127.0.0.0/8'], ...options })
}

async function openAt({ volume }: Engine, path: string, timeout = 10_000): Promise<OpenFile> {
  const signal = AbortSignal.timeout(timeout)
  const node = await volume.lookup(path, signal)
  assert.ok(node !== undefined, path)
  return volume.open(node, path, signal)
}

async function readAll(file: OpenFile): Promise<Buffer> {
  const parts: Buffer[] = []
  const own = Buffer.alloc(128 * 1024)
  for (let at = 0; at < file.size;) {
    const result = await file.read(at, own.length, own, AbortSignal.timeout(60_000))
    const bytes = typeof result === 'number' ? Buffer.from(own.subarray(0, result)) : Buffer.from(result)
    assert.ok(bytes.length > 0)
    parts.push(bytes)
    at += bytes.length
  }
  return Buffer.concat(parts)
}

test('many opens of a key without a size ask its server once', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(300_000, 'x')
  const server = await httpServer(t, misbehaving(content, 'none'))
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const before = server.requests.length
  const engine = await engineOf(t, [repository])
  assert.equal((await engine.volume.lookup('/x', AbortSignal.timeout(60_000)))?.kind, 'file')
  const files = await Promise.all(Array.from({ length: 20 }, () => openAt(engine, '/x')))
  assert.equal(server.requests.length - before, 1)
  for (const file of files) assert.equal(file.size, content.length)
  assert.ok(content.equals(await readAll(files[7] ?? assert.fail())))
  const node = await engine.volume.lookup('/x', AbortSignal.timeout(60_000))
  assert.equal(node?.kind === 'file' ? node.size : undefined, content.length)
  for (const file of files) file.close()
})

test('a key that says its size opens soon although its server says nothing', LIMIT, async (t) => {
  const world = await annexWorld(t)
  let hangs = false
  const server = await httpServer(t, (request, response) => {
    if (!hangs) misbehaving(pseudoRandom(300_000, 'x'), 'none')(request, response)
  })
  const repository = await world.repository('a')
  const key = 'URL-s300000--http&c%%example.com%x'
  await world.annex('a', 'fromkey', '--quiet', '--force', key, 'x')
  await world.annex('a', 'registerurl', key, `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  hangs = true
  const engine = await engineOf(t, [repository])
  const started = Date.now()
  const file = await openAt(engine, '/x', 30_000)
  measured(t, 'open after', Date.now() - started, { mark: 6000, alarm: 25_000 })
  assert.equal(file.size, 300_000)
  file.close()
})

test(
  'content that has changed at its URL is an error for who has it open, and new when opened again',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    const contents = [pseudoRandom(600_000, 'old'), pseudoRandom(600_000, 'new')]
    let version = 0
    const server = await httpServer(t, (request, response) => {
      const answer = misbehaving(contents[version] ?? Buffer.alloc(0), 'none')
      const writeHead = response.writeHead.bind(response)
      response.writeHead = ((status: number, head: Record<string, string | number>) =>
        writeHead(status, { ...head, etag: `"v${version}"` })) as typeof response.writeHead
      answer(request, response)
    })
    const repository = await world.repository('a')
    await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${server.url}/x`)
    await world.git('a', 'commit', '--quiet', '-m', 'url')
    const engine = await engineOf(t, [repository], { readahead: 0 })
    const file = await openAt(engine, '/x')
    const own = Buffer.alloc(1000)
    const first = await file.read(0, 1000, own, AbortSignal.timeout(60_000))
    assert.ok(contents[0]?.subarray(0, 1000).equals(typeof first === 'number' ? own : first))
    version = 1
    await assert.rejects(async () => file.read(500_000, 1000, own, AbortSignal.timeout(60_000)), /has changed since/)
    file.close()
    const again = await openAt(engine, '/x')
    assert.notEqual(again.contentId, file.contentId)
    assert.ok(contents[1]?.equals(await readAll(again)))
    again.close()
  },
)

test('content that is at another URL now is not mixed with what the first one gave', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const [old, fresh] = [pseudoRandom(600_000, 'old'), pseudoRandom(600_000, 'new')]
  const [first, second] = [
    await httpServer(t, misbehaving(old, 'none')),
    await httpServer(t, misbehaving(fresh, 'none')),
  ]
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${first.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const cacheFolder = join(await temporaryFolder(t), 'cache')
  const own = Buffer.alloc(1000)
  const before = await engineOf(t, [repository], { readahead: 0, cacheFolder })
  const file = await openAt(before, '/x')
  const start = await file.read(0, 1000, own, AbortSignal.timeout(60_000))
  assert.ok(old.subarray(0, 1000).equals(typeof start === 'number' ? own : start))
  file.close()
  await before.volume.close()
  const key = await world.annex('a', 'lookupkey', 'x')
  await world.annex('a', 'unregisterurl', key, `${first.url}/x`)
  await world.annex('a', 'registerurl', key, `${second.url}/x`)
  const after = await engineOf(t, [repository], { readahead: 0, cacheFolder })
  const opened = await openAt(after, '/x')
  await assert.rejects(async () => opened.read(500_000, 1000, own, AbortSignal.timeout(60_000)), /has changed since/)
  opened.close()
  const again = await openAt(after, '/x')
  assert.ok(fresh.equals(await readAll(again)))
  again.close()
})

test('what the repository has itself is read in place, and what it fetched is counted by source', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 700_000 })
  const engine = await engineOf(t, [sample.repository])
  for (const [path, content] of sample.files) {
    const file = await openAt(engine, `/${path}`)
    assert.ok(content.equals(await readAll(file)), path)
    file.close()
  }
  assert.deepEqual([...engine.fetched.keys()].map((name) => name.split(' ')[0]).sort(), ['b', 'shelf', 'web'])
  for (const bytes of engine.fetched.values()) assert.ok(bytes >= 700_000)
  const usage = await engine.store.usage()
  assert.ok(usage.usedBytes < 3.5 * 700_000, 'local content is not copied')
})

test('strict verification refuses content without a hash, with a reason', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const server = await httpServer(t, misbehaving(pseudoRandom(300_000, 'x'), 'none'))
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=x', `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const engine = await engineOf(t, [repository], { verify: 'strict' })
  await assert.rejects(
    async () => readAll(await openAt(engine, '/x')),
    (error: Error & { code: string }) => {
      assert.equal(error.code, 'FORBIDDEN')
      assert.match(error.message, /no hash to check it against/)
      return true
    },
  )
})

test('what a source said is told once, and nothing of ways that there are not', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const server = await httpServer(t, (request, response) => {
    response.writeHead(request.method === 'HEAD' ? 200 : 503, { 'content-length': 300_000 }).end()
  })
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=x', `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const engine = await engineOf(t, [repository])
  await assert.rejects(
    async () => readAll(await openAt(engine, '/x')),
    (error: Error) => {
      assert.match(error.message, /no source could give this content: web \(/)
      const said = error.message.split('; ')
      assert.equal(new Set(said).size, said.length, error.message)
      assert.doesNotMatch(error.message, /torrent/)
      return true
    },
  )
})

test('a key without a size whose server says nothing is TIMED_OUT', LIMIT, async (t) => {
  const world = await annexWorld(t)
  let hangs = false
  const server = await httpServer(t, (request, response) => {
    if (!hangs) misbehaving(pseudoRandom(300_000, 'x'), 'none')(request, response)
  })
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  hangs = true
  const engine = await engineOf(t, [repository])
  await assert.rejects(openAt(engine, '/x', 1_000), { code: 'TIMED_OUT' })
})
