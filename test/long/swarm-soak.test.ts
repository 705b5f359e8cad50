import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { test } from 'node:test'
import { makeTorrent, startLibtorrent, until } from '../support/peers.js'
import { holdingOf, MIB, openSwarm, readAll, readPiece, residentBytes } from '../swarm/open-swarm.js'

const KIB = 1024

test('reads 1 GiB from one libtorrent seeder with bounded memory', async (t) => {
  const folder = mkdtempSync('/dev/shm/annexfs-test-')
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const torrent = await makeTorrent(t, { length: 1024 * MIB, pieceLength: MIB, folder })
  const seeder = await startLibtorrent(t, { host: '127.0.0.111', torrent, seed: true })
  const cache = { folder: `${folder}/cache`, limitBytes: 1280 * MIB, minFreeBytes: 0 }
  const swarm = openSwarm(t, { peers: [seeder.address], cache })
  const holding = await holdingOf(swarm, torrent.metainfo)
  const began = performance.now()
  await readPiece(holding, 700)
  const first = performance.now()
  let wrong = 0
  await readAll(holding, 1024, (index, bytes) => {
    if (!torrent.content.subarray(index * MIB, (index + 1) * MIB).equals(bytes)) wrong += 1
  })
  const seconds = (performance.now() - first) / 1000
  assert.equal(wrong, 0)
  const { pid = 0, downloaded } = await swarm.status()
  assert.equal(downloaded, 1024 * MIB)
  const memory = residentBytes(pid)
  t.diagnostic(`first piece of 1 MiB, process not started before: ${Math.round(first - began)} ms`)
  t.diagnostic(`1 GiB in ${seconds.toFixed(1)} s: ${Math.round((1024 * MIB) / 1e6 / seconds)} MB/s`)
  t.diagnostic(`memory of the process: ${Math.round(memory / MIB)} MiB`)
  assert.ok(memory < 400 * MIB)
})

test('goal 30: while the cache evicts what it offered, a leecher gets right bytes only and nobody is banned', async (t) => {
  const torrent = await makeTorrent(t, { length: 32 * MIB, pieceLength: 64 * KIB })
  const seeder = await startLibtorrent(t, { host: '127.0.0.112', torrent, seed: true })
  const folder = mkdtempSync('/dev/shm/annexfs-test-')
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const swarm = openSwarm(t, {
    peers: [seeder.address],
    cache: { folder: `${folder}/cache`, limitBytes: 6 * MIB, minFreeBytes: 0 },
  })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readPiece(holding, 0)
  const { port = 0 } = await swarm.status()
  // The only peer that the leecher knows is us; it gets what we read, as long as we have it.
  const leecher = await startLibtorrent(t, { host: '127.0.0.113', torrent, seed: false, peers: [['127.0.0.1', port]] })
  await until('it has met us', async () => (await leecher.status()).peers.length > 0)
  let wrong = 0
  for (let round = 0; round < 4; round++) {
    await readAll(
      holding,
      512,
      (index, bytes) => {
        const start = index * 64 * KIB
        if (!torrent.content.subarray(start, start + bytes.byteLength).equals(bytes)) wrong += 1
      },
      16,
    )
  }
  const status = await leecher.status()
  assert.equal(wrong, 0)
  assert.equal(status.failedBytes, 0)
  assert.ok(status.pieces > 0)
  t.diagnostic(`the leecher has ${status.pieces} of 512 pieces, through a cache of 6 MiB`)
  assert.deepEqual((await swarm.status()).banned, [])
})
