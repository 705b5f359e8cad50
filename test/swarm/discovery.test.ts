import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makeTorrent, startLibtorrent, until } from '../support/peers.js'
import { extended, MESSAGE, startRawPeer } from '../support/raw-peer.js'
import { holdingOf, MIB, openSwarm, readPiece } from './open-swarm.js'

const PIECE = 64 * 1024

/** Runs this file's test `name` in a network namespace of its own, where multicast reaches nobody else. */
async function inNamespace(t: TestContext, name: string): Promise<boolean> {
  if (process.env['ANNEXFS_TEST_NAMESPACE'] === '1') return false
  const setUp = 'ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && exec "$@"'
  const run = [process.execPath, '--test', '--test-name-pattern', `^${name}$`, fileURLToPath(import.meta.url)]
  const child = spawn('unshare', ['-n', 'sh', '-c', setUp, 'sh', ...run], {
    // Node.js tells tests of its own runner from others by this.
    env: { ...process.env, ANNEXFS_TEST_NAMESPACE: '1', NODE_TEST_CONTEXT: undefined },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.on('data', (text: Buffer) => (output += text.toString()))
  child.stderr.on('data', (text: Buffer) => (output += text.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  assert.equal(code, 0, output)
  assert.match(output, /^# pass 1$/m)
  return true
}

test('finds a peer by the DHT', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.101', torrent, seed: true, dht: true })
  const swarm = openSwarm(t, { dht: true, dhtBootstrap: [seeder.address], stallTimeout: 150_000 })
  const bytes = await readPiece(await holdingOf(swarm, torrent.metainfo), 3, 150_000)
  assert.ok(torrent.content.subarray(3 * PIECE, 4 * PIECE).equals(bytes))
})

test('finds a peer of the same network by local discovery', async (t) => {
  if (await inNamespace(t, 'finds a peer of the same network by local discovery')) return
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.1', torrent, seed: true, lsd: true })
  const swarm = openSwarm(t, { lsd: true, stallTimeout: 150_000 })
  const bytes = await readPiece(await holdingOf(swarm, torrent.metainfo), 3, 150_000)
  assert.ok(torrent.content.subarray(3 * PIECE, 4 * PIECE).equals(bytes))
  assert.ok((await seeder.status()).uploaded > 0)
})

test('local discovery without a multicast route, or with rubbish on it, ends nothing', async (t) => {
  if (await inNamespace(t, 'local discovery without a multicast route, or with rubbish on it, ends nothing')) return
  const { createSocket } = await import('node:dgram')
  const { execFileSync } = await import('node:child_process')
  execFileSync('ip', ['route', 'del', '224.0.0.0/4'])
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.107', torrent, seed: true })
  const swarm = openSwarm(t, { peers: [seeder.address], lsd: true })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readPiece(holding, 0)
  const { pid } = await swarm.status()
  const socket = createSocket('udp4')
  t.after(() => socket.close())
  for (const rubbish of ['', 'x', 'BT-SEARCH * HTTP/1.1', 'BT-SEARCH * HTTP/1.1\r\nHost: 239.192.152.143:6771\r\n']) {
    socket.send(rubbish, 6771, '127.0.0.1')
  }
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await readPiece(holding, 1)
  assert.equal((await swarm.status()).pid, pid)
})

for (const isPrivate of [false, true]) {
  test(`peer exchange is ${isPrivate ? 'not offered for a private torrent' : 'used'}`, async (t) => {
    const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, private: isPrivate })
    const seeder = await startLibtorrent(t, { host: '127.0.0.103', torrent, seed: true })
    let offered: boolean | undefined
    const gossip = await startRawPeer(t, '127.0.0.104', torrent.metainfo.infohash, (wire) => {
      wire.send(MESSAGE.extended, extended(0, { m: { ut_pex: 9 } }))
      wire.onMessage = (id, payload) => {
        if (id !== MESSAGE.extended || payload[0] !== 0) return
        const number = /6:ut_pexi(\d+)e/.exec(payload.toString('latin1'))?.[1]
        offered = number !== undefined
        const added = Buffer.from([127, 0, 0, 103, seeder.port >> 8, seeder.port & 255])
        wire.send(MESSAGE.extended, extended(Number(number ?? 3), { added, 'added.f': Buffer.from([0]) }))
      }
    })
    const swarm = openSwarm(t, { peers: [gossip.address], pex: true, stallTimeout: 4000 })
    const piece = readPiece(await holdingOf(swarm, torrent.metainfo), 3)
    if (isPrivate) await assert.rejects(piece)
    else assert.ok(torrent.content.subarray(3 * PIECE, 4 * PIECE).equals(await piece))
    assert.equal(offered, !isPrivate)
  })
}

test('a private torrent is told to neither the DHT nor the local network', async (t) => {
  if (await inNamespace(t, 'a private torrent is told to neither the DHT nor the local network')) return
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, private: true })
  const open = await makeTorrent(t, { length: MIB, pieceLength: PIECE, name: 'open' })
  const heard = await listenForAnnouncements(t)
  const { createSocket } = await import('node:dgram')
  const node = createSocket('udp4')
  const queries: Buffer[] = []
  node.on('message', (message) => queries.push(message))
  await new Promise<void>((resolve) => node.bind(0, '127.0.0.105', resolve))
  t.after(() => node.close())
  const swarm = openSwarm(t, { dht: true, dhtBootstrap: [`127.0.0.105:${node.address().port}`], lsd: true })
  void readPiece(await holdingOf(swarm, torrent.metainfo), 0, 5000).catch(() => undefined)
  void readPiece(await holdingOf(swarm, open.metainfo), 0, 5000).catch(() => undefined)
  await until('the open one is announced', () => heard.some((text) => text.includes(open.metainfo.infohash)))
  await new Promise((resolve) => setTimeout(resolve, 1000))
  assert.ok(!heard.some((text) => text.includes(torrent.metainfo.infohash)))
  await until('the open one is looked for in the DHT', () => named(queries, open.metainfo.infohash))
  assert.ok(!named(queries, torrent.metainfo.infohash))
})

function named(packets: readonly Buffer[], infohash: string): boolean {
  return packets.some((packet) => packet.includes(Buffer.from(infohash, 'hex')))
}

/** BEP 14 announcements on the loopback, infohashes in lower case. */
async function listenForAnnouncements(t: TestContext): Promise<string[]> {
  const { createSocket } = await import('node:dgram')
  const socket = createSocket({ type: 'udp4', reuseAddr: true })
  const heard: string[] = []
  socket.on('message', (message) => heard.push(message.toString('latin1').toLowerCase()))
  await new Promise<void>((resolve) => socket.bind(6771, resolve))
  socket.addMembership('239.192.152.143', '127.0.0.1')
  t.after(() => socket.close())
  return heard
}
