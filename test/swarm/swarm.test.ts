import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseMagnet } from '../../lib/torrent/magnet.js'
import { makeTorrent, startLibtorrent, startTransmission } from '../support/peers.js'
import { holdingOf, MIB, openSwarm, readAll, readPiece } from './open-swarm.js'

test('reads from a libtorrent seeder, and only the wanted pieces', async (t) => {
  const torrent = await makeTorrent(t, { length: 8 * MIB + 12_345, pieceLength: 256 * 1024 })
  const seeder = await startLibtorrent(t, { host: '127.0.0.41', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  const holding = await holdingOf(swarm, torrent.metainfo)
  for (const index of [17, 0, 32]) {
    const bytes = await readPiece(holding, index)
    const start = index * 256 * 1024
    assert.ok(torrent.content.subarray(start, start + bytes.byteLength).equals(bytes))
  }
  const status = await swarm.status()
  assert.equal(status.downloaded, 2 * 256 * 1024 + 12_345)
  assert.equal((await seeder.status()).uploaded, status.downloaded)
  assert.match(status.torrents[0]?.peers[0]?.client ?? '', /libtorrent/)
})

test('reads everything from transmission', async (t) => {
  const torrent = await makeTorrent(t, { length: 20 * MIB, pieceLength: 128 * 1024 })
  const seeder = await startTransmission(t, { host: '127.0.0.42', torrent })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  const holding = await holdingOf(swarm, torrent.metainfo)
  const got: Uint8Array[] = []
  await readAll(holding, 160, (_, bytes) => got.push(bytes))
  assert.ok(Buffer.concat(got).equals(torrent.content))
})

test('a magnet of a torrent that is open needs no peer, also when it was asked for before', async (t) => {
  const { metainfo } = await makeTorrent(t, { length: MIB, pieceLength: 256 * 1024 })
  const swarm = openSwarm(t)
  const magnet = parseMagnet(`magnet:?xt=urn:btih:${metainfo.infohash}`)
  const before = swarm.resolveMagnet(magnet, AbortSignal.timeout(60_000))
  const stop = new AbortController()
  const holding = await holdingOf(swarm, metainfo)
  const piece = holding.piece?.(0, { urgency: 'read', signal: stop.signal })
  const stopped = assert.rejects(async () => piece)
  assert.deepEqual(Buffer.from(await before), metainfo.infoBytes)
  assert.deepEqual(Buffer.from(await swarm.resolveMagnet(magnet, AbortSignal.timeout(60_000))), metainfo.infoBytes)
  stop.abort()
  await stopped
})
