import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createServer, type AddressInfo } from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { openPieceStore } from '../../lib/cache/open.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { measured } from '../support/marks.js'
import { makeTorrent, startLibtorrent, until } from '../support/peers.js'
import { connectRaw, MESSAGE, numbers } from '../support/raw-peer.js'
import { temporaryFolder } from '../support/temp.js'
import { holdingOf, isRunning, MIB, newCacheFolder, openSwarm, readAll, readPiece } from './open-swarm.js'

const KIB = 1024
const PIECE = 64 * KIB

test('starts no process before something is read', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const swarm = openSwarm(t)
  await holdingOf(swarm, torrent.metainfo)
  assert.equal((await swarm.status()).running, false)
})

test('a reader that gives up gets its own error at once, and the others still get the piece', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const swarm = openSwarm(t, { peers: ['127.0.0.81:9'] })
  const holding = await holdingOf(swarm, torrent.metainfo)
  const began = Date.now()
  await assert.rejects(readPiece(holding, 1, 300), (error) => isAnnexfsError(error, 'TIMED_OUT'))
  measured(t, 'an error, with a deadline of 300 ms, after', Date.now() - began, { mark: 2000, alarm: 45_000 })
  const seeder = await startLibtorrent(t, { host: '127.0.0.82', torrent, seed: true })
  const other = openSwarm(t, { peers: [seeder.address] })
  const second = await holdingOf(other, torrent.metainfo)
  const patient = readPiece(second, 1)
  const gone = new AbortController()
  const impatient = second.piece?.(1, { urgency: 'read', signal: gone.signal })
  gone.abort()
  await assert.rejects(impatient ?? Promise.resolve(), (error) => isAnnexfsError(error, 'ABORTED'))
  assert.ok(torrent.content.subarray(PIECE, 2 * PIECE).equals(await patient))
})

test('a piece that no peer gives is unavailable after the stall timeout', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const swarm = openSwarm(t, { stallTimeout: 1000 })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await assert.rejects(
    readPiece(holding, 0),
    (error) => isAnnexfsError(error, 'UNAVAILABLE') && /no peer gave it/.test(error.message),
  )
})

test('reads fail over when the process is killed, and it comes back', async (t) => {
  const torrent = await makeTorrent(t, { length: 8 * MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.83', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  const holding = await holdingOf(swarm, torrent.metainfo)
  let kills = 0
  let failures = 0
  for (let index = 0; index < 128; index++) {
    if (index % 32 === 16) {
      const { pid } = await swarm.status()
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
      kills += 1
    }
    const wanted = Promise.allSettled([readPiece(holding, index), readPiece(holding, index)])
    for (const result of await wanted) {
      if (result.status === 'fulfilled') {
        assert.ok(torrent.content.subarray(index * PIECE, (index + 1) * PIECE).equals(result.value))
      } else {
        assert.ok(isAnnexfsError(result.reason, 'UNAVAILABLE'), String(result.reason))
        failures += 1
      }
    }
  }
  assert.equal(kills, 4)
  assert.ok(failures <= 2 * kills, `${failures} reads failed`)
  assert.ok(torrent.content.subarray(0, PIECE).equals(await readPiece(holding, 0)))
})

test('a port that is taken is not the end: another is used', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.95', torrent, seed: true })
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, resolve))
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const swarm = openSwarm(t, { peers: [seeder.address], port })
  const holding = await holdingOf(swarm, torrent.metainfo)
  let bytes: Uint8Array | undefined
  await until('a read succeeds', async () => {
    bytes = await readPiece(holding, 2).catch(() => undefined)
    return bytes !== undefined
  })
  assert.ok(torrent.content.subarray(2 * PIECE, 3 * PIECE).equals(bytes ?? Buffer.alloc(0)))
  assert.notEqual((await swarm.status()).port, port)
})

test('a torrent that is idle closes its connections, and comes back when it is read', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.84', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address], idleTimeout: 1000 })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readPiece(holding, 0)
  assert.equal((await swarm.status()).torrents.length, 1)
  await until('the torrent is removed', async () => (await swarm.status()).torrents.length === 0)
  await until('the seeder sees us go', async () => (await seeder.status()).peers.length === 0)
  assert.ok(torrent.content.subarray(PIECE, 2 * PIECE).equals(await readPiece(holding, 1)))
})

test('the process ends within a second of its parent', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const folder = await temporaryFolder(t)
  const parent = spawn(
    process.execPath,
    [fileURLToPath(new URL('short-lived.js', import.meta.url)), torrent.file, folder],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  t.after(() => parent.kill('SIGKILL'))
  const pid = await new Promise<number>((resolve) => {
    parent.stdout.once('data', (text: Buffer) => resolve(Number(text.toString())))
  })
  assert.ok(isRunning(pid))
  const killed = performance.now()
  parent.kill('SIGKILL')
  await until('it has ended', () => !isRunning(pid))
  measured(t, 'ended after', performance.now() - killed, { mark: 1000, alarm: 30_000 })
})

test('what was fetched is served to others, with the right bytes', async (t) => {
  const torrent = await makeTorrent(t, { length: 4 * MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.85', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readAll(holding, 32, () => undefined)
  await seeder.stop()
  const { port = 0 } = await swarm.status()
  const leecher = await startLibtorrent(t, { host: '127.0.0.86', torrent, seed: false, peers: [['127.0.0.1', port]] })
  await until('the leecher has what we have', async () => (await leecher.status()).pieces === 32)
  const status = await leecher.status()
  assert.equal(status.failedBytes, 0)
  assert.equal((await swarm.status()).uploaded, 2 * MIB)
})

for (const [name, options] of [
  ['an upload limit of 0', { uploadLimit: 0 }],
  ['seeding switched off', { seed: false }],
] as const) {
  test(`with ${name} nothing is offered or served, and reading still works`, async (t) => {
    const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
    const seeder = await startLibtorrent(t, { host: '127.0.0.87', torrent, seed: true })
    const swarm = openSwarm(t, { peers: [seeder.address], ...options })
    const holding = await holdingOf(swarm, torrent.metainfo)
    await readAll(holding, 16, () => undefined)
    const { port = 0 } = await swarm.status()
    const leecher = await startLibtorrent(t, { host: '127.0.0.88', torrent, seed: false, peers: [['127.0.0.1', port]] })
    await until('the leecher has met us', async () => (await leecher.status()).peers.length > 0)
    await new Promise((resolve) => setTimeout(resolve, 2000))
    const seen = await leecher.status()
    assert.equal(seen.downloaded, 0)
    assert.equal(seen.peers[0]?.pieces ?? 0, 0)
  })
}

test('the upload limit holds', async (t) => {
  const torrent = await makeTorrent(t, { length: 2 * MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.89', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address], uploadLimit: 256 * KIB })
  await readAll(await holdingOf(swarm, torrent.metainfo), 32, () => undefined)
  await seeder.stop()
  const { port = 0 } = await swarm.status()
  await startLibtorrent(t, { host: '127.0.0.90', torrent, seed: false, peers: [['127.0.0.1', port]] })
  const began = performance.now()
  await until('it goes on', async () => (await swarm.status()).uploaded > 2 * 256 * KIB)
  const { uploaded } = await swarm.status()
  const seconds = (performance.now() - began) / 1000
  // A second's worth may come at once, and it began a moment before.
  assert.ok(uploaded < (seconds + 2) * 256 * KIB, `${uploaded} bytes in ${seconds} s`)
})

test('pieces that are in the cache are offered without being fetched', async (t) => {
  const torrent = await makeTorrent(t, { length: 2 * MIB, pieceLength: PIECE })
  const folder = newCacheFolder()
  const cache = { folder, limitBytes: 64 * MIB, minFreeBytes: 0 }
  const seeder = await startLibtorrent(t, { host: '127.0.0.91', torrent, seed: true })
  const first = openSwarm(t, { peers: [seeder.address], cache })
  await readAll(await holdingOf(first, torrent.metainfo), 31, () => undefined)
  await first.close()
  const second = openSwarm(t, { peers: [seeder.address], cache })
  await readPiece(await holdingOf(second, torrent.metainfo), 31)
  assert.equal((await second.status()).downloaded, PIECE)
  await seeder.stop()
  const { port = 0 } = await second.status()
  const leecher = await startLibtorrent(t, { host: '127.0.0.92', torrent, seed: false, peers: [['127.0.0.1', port]] })
  await until('the leecher has everything', async () => (await leecher.status()).pieces === 32)
})

test('goal 30: a piece that the cache has evicted is never answered with other bytes, and nobody is banned for it', async (t) => {
  const torrent = await makeTorrent(t, { length: 2 * MIB, pieceLength: PIECE })
  const folder = newCacheFolder()
  const cache = { folder, limitBytes: 64 * MIB, minFreeBytes: 0 }
  const seeder = await startLibtorrent(t, { host: '127.0.0.93', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address], cache })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readAll(holding, 32, () => undefined)
  const { port = 0, pid } = await swarm.status()
  const wire = await connectRaw(t, '127.0.0.94', '127.0.0.1', port, torrent.metainfo.infohash)
  let answers = 0
  let wrong = 0
  wire.onMessage = (id, payload) => {
    if (id === MESSAGE.unchoke)
      for (let index = 0; index < 32; index++) wire.send(MESSAGE.request, numbers(index, 0, 16 * KIB))
    if (id !== MESSAGE.piece) return
    answers += 1
    const start = payload.readUInt32BE(0) * PIECE
    if (!torrent.content.subarray(start, start + 16 * KIB).equals(payload.subarray(8))) wrong += 1
  }
  // Another process of the same cache drops what we have offered.
  const store = await openPieceStore({ ...cache, log: silentLog })
  const space = store.open(torrent.metainfo.space)
  await space.drop()
  space.close()
  await store.close()
  wire.send(MESSAGE.interested)
  await new Promise((resolve) => setTimeout(resolve, 1500))
  assert.equal(wrong, 0)
  t.diagnostic(`${answers} of 32 blocks were answered`)
  // It can still be had, from the same seeder, by the same process.
  for (const index of [0, 31]) {
    assert.ok(torrent.content.subarray(index * PIECE, (index + 1) * PIECE).equals(await readPiece(holding, index)))
  }
  const after = await swarm.status()
  assert.deepEqual(after.banned, [])
  assert.equal(after.pid, pid)
})
