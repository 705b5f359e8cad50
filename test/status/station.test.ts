import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Engine, EngineOptions } from '../../lib/engine/engine.js'
import type { WatchedFile } from '../../lib/engine/activity-file.js'
import { AnnexfsError, isAnnexfsError } from '../../lib/errors.js'
import { textLog } from '../../lib/log/log.js'
import { metrics } from '../../lib/status/metrics.js'
import type { PieceMap, Station } from '../../lib/status/snapshot.js'
import { stationOf } from '../../lib/status/station.js'
import { shownSources } from '../../lib/status/sources.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { engineFor, QUIET_SWARM } from '../support/engine.js'
import { askedRange, httpServer } from '../support/http.js'
import { makeTorrent, pseudoRandom, startLibtorrent, until } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024
const KIB = 1024
const PIECE = 128 * KIB
const NO_SIGNAL = new AbortController().signal

interface Watched {
  readonly engine: Engine
  readonly station: Station
  readonly open: (path: string) => Promise<WatchedFile>
}

async function watched(t: TestContext, repository: string, options: Partial<EngineOptions> = {}): Promise<Watched> {
  const cacheFolder = join(await temporaryFolder(t), 'cache')
  const engine = await engineFor(t, repository, { cacheFolder, readahead: 0, ...options })
  const sources = await shownSources([repository])
  const station = stationOf({ engine, version: '1.2.3', cacheFolder, sources, mountpoint: '/mnt/x' })
  return {
    engine,
    station,
    open: async (path) => {
      const signal = AbortSignal.timeout(60_000)
      const node = await engine.volume.lookup(path, signal)
      assert.ok(node !== undefined)
      return engine.openWatched(node, path, signal)
    },
  }
}

async function read(file: WatchedFile, offset: number, length: number): Promise<Buffer> {
  const own = Buffer.alloc(length)
  const result = await file.read(offset, length, own, AbortSignal.timeout(60_000))
  return typeof result === 'number' ? own.subarray(0, result) : Buffer.from(result)
}

/** A repository whose one file is only at a directory remote. */
async function withShelf(world: AnnexWorld, files: Readonly<Record<string, Uint8Array>>): Promise<string> {
  const repository = await world.repository('a')
  await world.addAnnexed('a', files)
  await world.run('.', 'mkdir', ['shelf'])
  const shelf = join(world.folder, 'shelf')
  await world.annex('a', 'initremote', '--quiet', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', '.')
  return repository
}

function statesOf(map: PieceMap | undefined): string[] {
  return (map?.runs ?? []).flatMap(([state, cells]) => Array.from({ length: cells }, () => state))
}

test('a snapshot tells of open files, where they are read, and where bytes came from', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(2 * MIB, 'film')
  const { station, open } = await watched(t, await withShelf(world, { film: content, other: pseudoRandom(1000, 'o') }))
  const before = await station.snapshot()
  assert.deepEqual([before.files, before.waiting, before.errors, before.readBytes], [[], [], [], 0])
  assert.equal(before.version, '1.2.3')
  assert.equal(before.mountpoint, '/mnt/x')
  assert.deepEqual(
    before.sources.map(({ name, kind }) => [name, kind]),
    [['/', 'repository']],
  )

  const one = await open('/film')
  const two = await open('/film')
  assert.deepEqual(await read(one, 0, 1000), content.subarray(0, 1000))
  assert.deepEqual(await read(one, 1000, 500), content.subarray(1000, 1500))
  await read(one, 0, 10)
  const length = 6 * PIECE
  assert.equal((await read(two, content.length - 100, length)).length, 100)
  // Pieces are given to whoever waits for them before they are on disk.
  await until('the pieces are stored', async () => (await station.snapshot()).files[0]?.cached === 2 * PIECE)
  const after = await station.snapshot()
  const [file] = after.files
  assert.equal(file?.path, '/film')
  assert.equal(file?.size, content.length)
  assert.equal(file?.readers, 2)
  assert.equal(file?.cached, 2 * PIECE)
  assert.equal(file?.verified, 'pending')
  assert.deepEqual(file?.positions, [10, content.length])
  assert.deepEqual(file?.origins, ['shelf (directory)'])
  assert.equal(after.readBytes, 1610)
  assert.equal(after.fetchedBytes, 2 * PIECE)
  const [origin] = after.origins
  assert.equal(origin?.name, 'shelf (directory)')
  assert.equal(origin?.kind, 'remote')
  assert.equal(origin?.fetched, 2 * PIECE)
  assert.ok((origin?.latency ?? -1) >= 0)
  assert.equal(after.cache.limit, 256 * MIB)
  await until('the cache was measured', async () => (await station.snapshot()).cache.used >= 2 * PIECE)

  const map = await station.pieceMap(file?.id ?? '', NO_SIGNAL)
  assert.equal(map?.count, 16)
  assert.equal(map?.pieceLength, PIECE)
  assert.deepEqual(statesOf(map), ['have', ...Array.from({ length: 14 }, () => 'absent'), 'have'])
  assert.equal(map?.origins[map.runs[0]?.[2] ?? -1], 'shelf (directory)')
  for (let at = 0; at < content.length; at += PIECE) await read(one, at, PIECE)
  await one.settled()
  const whole = await station.pieceMap(file?.id ?? '', NO_SIGNAL)
  assert.ok(statesOf(whole).every((state) => state === 'verified'))
  one.close()
  two.close()
  await until('the files are gone', async () => (await station.snapshot()).files.length === 0)
  assert.equal(await station.pieceMap(file?.id ?? '', NO_SIGNAL), undefined)
})

test('a read that waits says for what, and one that failed is remembered', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(MIB, 'x')
  let mode: 'hang' | 'refuse' | 'serve' = 'serve'
  const server = await httpServer(t, (request, response) => {
    if (request.method === 'HEAD') {
      response.writeHead(200, { 'Content-Length': content.length, 'Accept-Ranges': 'bytes', ETag: '"1"' }).end()
      return
    }
    const range = askedRange(request, content.length) ?? { start: 0, end: content.length }
    if (mode === 'refuse') response.writeHead(403).end()
    if (mode !== 'serve') return
    const head = { ETag: '"1"', 'Content-Range': `bytes ${range.start}-${range.end - 1}/${content.length}` }
    response.writeHead(206, head).end(content.subarray(range.start, range.end))
  })
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${server.url}/x?token=secret`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const { station, open } = await watched(t, repository, { allowAddresses: ['127.0.0.0/8'] })
  const file = await open('/x')
  const stop = new AbortController()
  mode = 'hang'
  const own = Buffer.alloc(100)
  const waiting = Promise.resolve(file.read(300_000, 100, own, stop.signal))
  const ended = assert.rejects(waiting)
  await until('it asks', async () => (await station.snapshot()).waiting[0]?.what.includes('asked') === true)
  const { waiting: reads, files } = await station.snapshot()
  assert.equal(reads.length, 1)
  assert.equal(reads[0]?.path, '/x')
  assert.deepEqual(reads[0]?.range, { start: 300_000, end: 300_100 })
  assert.match(reads[0]?.what ?? '', /^piece 2: web \(http:\/\/127\.0\.0\.1:\d+\/x\?….*asked .* ago/)
  const map = await station.pieceMap(files[0]?.id ?? '', NO_SIGNAL)
  assert.equal(statesOf(map)[2], 'fetching')
  assert.equal(map?.origins[map.runs[1]?.[2] ?? -1], `web (${server.url})`)
  stop.abort()
  await ended
  await until('it waits no more', async () => (await station.snapshot()).waiting.length === 0)
  assert.deepEqual((await station.snapshot()).errors, [], 'who gave up by itself met no error')
  mode = 'refuse'
  await assert.rejects(async () => read(file, 0, 10))
  await until('it is told', async () => (await station.snapshot()).errors.length === 1)
  const { errors, origins } = await station.snapshot()
  assert.equal(errors[0]?.path, '/x')
  assert.match(errors[0]?.reason ?? '', /403|refused|forbidden/i)
  assert.ok((origins.find((one) => one.kind === 'web')?.failures ?? 0) > 0)
  const everything = JSON.stringify(await station.snapshot()) + (await metrics(station))
  assert.ok(!everything.includes('secret'), 'no query of a URL shows')
  mode = 'serve'
  file.close()
})

test('a read that waits because the server asked for patience says that', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(MIB, 'x')
  const server = await httpServer(t, (request, response) => {
    if (request.method === 'HEAD') {
      response.writeHead(200, { 'Content-Length': content.length, 'Accept-Ranges': 'bytes', ETag: '"1"' }).end()
    } else response.writeHead(429, { 'Retry-After': '25', 'Content-Length': 0 }).end()
  })
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x', `${server.url}/x`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const lines: string[] = []
  const log = textLog('info', (line) => lines.push(line))
  const { station, open } = await watched(t, repository, { allowAddresses: ['127.0.0.0/8'], log })
  const file = await open('/x')
  const over = new AbortController()
  const waiting = Promise.resolve(file.read(300_000, 100, Buffer.alloc(100), over.signal))
  const asked = String.raw`the server asked to wait \d+\.\d s more \(HTTP 429\)`
  const ended = assert.rejects(waiting, (error) => {
    assert.ok(isAnnexfsError(error, 'TIMED_OUT'))
    assert.match(error.message, new RegExp(`web \\(${server.url}/x\\): ${asked}`))
    return true
  })
  const what = async (): Promise<string> => (await station.snapshot()).waiting[0]?.what ?? ''
  await until('the status says it', async () => new RegExp(`asked \\d+\\.\\d s ago, ${asked}`).test(await what()))
  await until('the log says it', () => lines.some((line) => new RegExp(` waits for piece 2: .*${asked}`).test(line)))
  over.abort(new AnnexfsError('TIMED_OUT', 'reading /x took longer than 3000 ms'))
  await ended
  file.close()
})

test('what is kept of waiting, errors and positions is bounded', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(60 * MIB, 'x')
  const repository = await withShelf(world, { x: content })
  const { station, open, engine } = await watched(t, repository)
  const file = await open('/x')
  for (let n = 0; n < 12; n++) await read(file, n * 5 * MIB, 10)
  assert.equal(file.positions.length, 8)
  for (let n = 0; n < 130; n++) engine.activity.failed('/x', new Error(`${n} ${'long '.repeat(10_000)}`))
  await until('it is told', async () => (await station.snapshot()).errors.length > 0)
  const { errors } = await station.snapshot()
  assert.equal(errors.length, 50)
  assert.match(errors[0]?.reason ?? '', /^129 /)
  assert.ok(engine.activity.errors.length <= 100)
  assert.ok(errors.every(({ reason }) => reason.length <= 2_001))
  file.close()
})

test('evictions are counted', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await withShelf(world, { x: pseudoRandom(8 * MIB, 'x') })
  const { station, open } = await watched(t, repository, { cacheLimit: 2 * MIB })
  const file = await open('/x')
  for (let at = 0; at < 8 * MIB; at += PIECE) await read(file, at, 10)
  await until('it shows', async () => (await station.snapshot()).cache.evictions > 0)
  const { cache } = await station.snapshot()
  assert.ok(cache.evictions >= 40, String(cache.evictions))
  assert.ok(cache.evictedBytes >= cache.evictions * PIECE)
  file.close()
})

test('metrics are Prometheus text with the same facts', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const { station, open } = await watched(t, await withShelf(world, { x: pseudoRandom(MIB, 'x') }))
  const file = await open('/x')
  await read(file, 0, 1000)
  await until('it shows', async () => (await station.snapshot()).readBytes === 1000)
  const text = await metrics(station)
  const names = new Set<string>()
  for (const line of text.trim().split('\n')) {
    if (line === '') continue
    const help = /^# (HELP|TYPE) (annexfs_[a-z_]+) \S/.exec(line)
    if (help !== null) names.add(help[2] ?? '')
    else assert.match(line, /^annexfs_[a-z_]+(\{([a-z]+="([^"\\]|\\.)*",?)+\})? [-+.e\d]+$/)
  }
  assert.match(text, /^annexfs_info\{version="1\.2\.3"\} 1$/m)
  assert.match(text, /^annexfs_read_bytes_total 1000$/m)
  assert.match(text, /^annexfs_origin_fetched_bytes_total\{origin="shelf \(directory\)",kind="remote"\} 131072$/m)
  for (const name of ['annexfs_cache_used_bytes', 'annexfs_waiting_reads', 'annexfs_open_files']) {
    assert.ok(names.has(name), name)
  }
  file.close()
})

test('SOURCEs are shown without what is secret in them', async () => {
  const secret = 'https://user:hunter2@example.invalid/x.git?key=hunter2'
  const magnet = `magnet:?xt=urn:btih:${'a'.repeat(40)}&tr=http%3A%2F%2Ftracker%2Fhunter2%2Fannounce`
  const shown = await shownSources([secret, magnet, '/nowhere/at/all'])
  assert.ok(!JSON.stringify(shown).includes('hunter2'))
  assert.deepEqual(
    shown.map(({ kind }) => kind.replace(/:.*/, '')),
    ['clone-url', 'magnet', 'gone'],
  )
  assert.deepEqual(
    shown.map(({ name }) => name.startsWith('/')),
    [true, true, true],
  )
})

test('peers are shown with the name of their torrent', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 4 * PIECE, pieceLength: PIECE, name: 'night film.mkv' })
  const peer = await startLibtorrent(t, { host: '127.0.0.22', torrent, seed: true })
  const swarm = { ...QUIET_SWARM, peers: [peer.address] }
  const { station, open } = await watched(t, torrent.file, { swarm })
  const file = await open('/night film.mkv')
  assert.deepEqual(await read(file, 0, 1000), torrent.content.subarray(0, 1000))
  await until('the peer is seen', async () => (await station.snapshot()).peers.length > 0)
  const [seen] = (await station.snapshot()).peers
  assert.deepEqual(
    [seen?.address, seen?.torrent, seen?.name],
    [peer.address, torrent.metainfo.infohash, 'night film.mkv'],
  )
  file.close()
})
