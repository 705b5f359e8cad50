import assert from 'node:assert/strict'
import { test } from 'node:test'
import { measured } from '../support/marks.js'
import { makeTorrent, startLibtorrent, until } from '../support/peers.js'
import { MESSAGE, startRawPeer } from '../support/raw-peer.js'
import { holdingOf, MIB, openSwarm, readAll, readPiece } from './open-swarm.js'

const KIB = 1024
const PIECE = 64 * KIB

/** libtorrent's `enc_policy` and `enc_level`. */
const FORCED = 0
const RC4 = 2
const PLAINTEXT = 1

for (const [name, level] of [
  ['RC4', RC4],
  ['plain text after an encrypted handshake', PLAINTEXT],
] as const) {
  test(`reads from a libtorrent seeder that takes encrypted connections alone (${name})`, async (t) => {
    const torrent = await makeTorrent(t, { length: 4 * MIB, pieceLength: PIECE })
    const settings = {
      in_enc_policy: FORCED,
      out_enc_policy: FORCED,
      allowed_enc_level: level,
      prefer_rc4: level === RC4,
    }
    const seeder = await startLibtorrent(t, { host: '127.0.0.171', torrent, seed: true, settings })
    const swarm = openSwarm(t, { peers: [seeder.address] })
    await readAll(await holdingOf(swarm, torrent.metainfo), 64, (index, bytes) => {
      assert.ok(torrent.content.subarray(index * PIECE, (index + 1) * PIECE).equals(bytes), `piece ${index}`)
    })
  })
}

test('a libtorrent leecher that makes encrypted connections alone is served', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.172', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  await readAll(await holdingOf(swarm, torrent.metainfo), 16, () => undefined)
  const settings = { in_enc_policy: FORCED, out_enc_policy: FORCED, allowed_enc_level: RC4 }
  const leecher = await startLibtorrent(t, { host: '127.0.0.173', torrent, seed: false, settings })
  await leecher.connect('127.0.0.1', (await swarm.status()).port ?? 0)
  const end = Date.now() + 60_000
  while ((await leecher.status()).pieces < 16) {
    assert.ok(Date.now() < end, 'it has not got everything in a minute')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
})

test('reads from a libtorrent seeder over IPv6', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '::1', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address] })
  const bytes = await readPiece(await holdingOf(swarm, torrent.metainfo), 5)
  assert.ok(torrent.content.subarray(5 * PIECE, 6 * PIECE).equals(bytes))
  const [status] = (await swarm.status()).torrents
  assert.equal(status?.peers[0]?.address, seeder.address)
})

test('resolves a magnet by the DHT', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.174', torrent, seed: true, dht: true })
  const swarm = openSwarm(t, { dht: true, dhtBootstrap: [seeder.address], stallTimeout: 150_000 })
  const { infohash, infoBytes } = torrent.metainfo
  const magnet = { infohash, displayName: undefined, trackers: [], webSeeds: [], peers: [], exactSources: [] }
  assert.ok((await swarm.resolveMagnet(magnet, AbortSignal.timeout(150_000))).equals(infoBytes))
})

test('the download limit holds', async (t) => {
  const limit = 512 * KIB
  const torrent = await makeTorrent(t, { length: 4 * MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.175', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address], downloadLimit: limit })
  const holding = await holdingOf(swarm, torrent.metainfo)
  const started = Date.now()
  await readAll(holding, 64, (index, bytes) => {
    assert.ok(torrent.content.subarray(index * PIECE, (index + 1) * PIECE).equals(bytes), `piece ${index}`)
  })
  const seconds = (Date.now() - started) / 1000
  // A second's worth may come at once.
  assert.ok(seconds > 6, `4 MiB came in ${seconds} s`)
  measured(t, '4 MiB came in', seconds * 1000, { mark: 20_000, alarm: 120_000 })
})

test('no more connections are made than allowed', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const peers = await Promise.all(
    Array.from({ length: 8 }, async (_, at) => {
      return await startRawPeer(t, `127.0.0.${180 + at}`, torrent.metainfo.infohash, () => undefined)
    }),
  )
  const swarm = openSwarm(t, { peers: peers.map(({ address }) => address), maxConnections: 3, stallTimeout: 4000 })
  const piece = readPiece(await holdingOf(swarm, torrent.metainfo), 0)
  piece.catch(() => undefined)
  let most = 0
  for (let look = 0; look < 35 || (most < 3 && look < 600); look++) {
    most = Math.max(
      most,
      peers.reduce((total, peer) => total + peer.open.size, 0),
    )
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await assert.rejects(piece)
  assert.equal(most, 3)
})

test('what a slow peer was asked for comes from a fast one that is found later', async (t) => {
  const torrent = await makeTorrent(t, { length: 2 * MIB, pieceLength: MIB })
  let given = 0
  const slow = await startRawPeer(t, '127.0.0.190', torrent.metainfo.infohash, (wire) => {
    const asked: Buffer[] = []
    wire.send(MESSAGE.bitfield, Buffer.from([0xc0]))
    wire.send(MESSAGE.unchoke)
    wire.onMessage = (id, payload) => {
      if (id === MESSAGE.request) asked.push(payload)
    }
    const timer = setInterval(() => {
      const request = asked.shift()
      if (request === undefined) return
      const at = request.readUInt32BE(0) * MIB + request.readUInt32BE(4)
      const block = torrent.content.subarray(at, at + request.readUInt32BE(8))
      wire.send(MESSAGE.piece, Buffer.concat([request.subarray(0, 8), block]))
      given += 1
    }, 700)
    void wire.closed.then(() => clearInterval(timer))
  })
  const fast = await startLibtorrent(t, { host: '127.0.0.191', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [slow.address], stallTimeout: 60_000 })
  const holding = await holdingOf(swarm, torrent.metainfo)
  const piece = readPiece(holding, 0, 60_000)
  piece.catch(() => undefined)
  await until('the slow one gave something', () => given >= 3)
  const before = given
  await fast.connect('127.0.0.1', (await swarm.status()).port ?? 0)
  assert.ok(torrent.content.subarray(0, MIB).equals(await piece))
  t.diagnostic(`${before} blocks of 64 before the fast one came, ${given - before} after`)
  // Alone it would need 45 s for the 64 blocks.
  assert.ok(given < 30, `the slow one gave ${given} blocks`)
})

test('what has come is acknowledged at once when nothing else is to be said', async (t) => {
  const torrent = await makeTorrent(t, { length: 4 * PIECE, pieceLength: PIECE })
  const peer = await startRawPeer(t, '127.0.0.174', torrent.metainfo.infohash, (wire) => {
    const asked: Buffer[] = []
    wire.send(MESSAGE.bitfield, Buffer.from([0xf0]))
    wire.send(MESSAGE.unchoke)
    const give = (payload: Buffer): void => {
      const at = payload.readUInt32BE(0) * PIECE + payload.readUInt32BE(4)
      const bytes = torrent.content.subarray(at, at + payload.readUInt32BE(8))
      wire.send(MESSAGE.piece, Buffer.concat([payload.subarray(0, 8), bytes]))
    }
    wire.onMessage = (id, payload) => {
      if (id !== MESSAGE.request) return
      asked.push(Buffer.from(payload))
      if (asked.length < PIECE / (16 * KIB)) return
      // As a system does that waits for an acknowledgement before it sends the rest (RFC 896).
      const [first, ...rest] = asked
      if (first === undefined) return
      wire.socket.once('data', (data) => {
        // A keep-alive, not the same request once more because nothing came.
        if (data.equals(Buffer.alloc(4))) for (const one of rest) give(one)
      })
      give(first)
    }
  })
  const swarm = openSwarm(t, { peers: [peer.address] })
  const bytes = await readPiece(await holdingOf(swarm, torrent.metainfo), 2)
  assert.ok(torrent.content.subarray(2 * PIECE, 3 * PIECE).equals(bytes))
})
