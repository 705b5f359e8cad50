import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { httpServer } from '../support/http.js'
import { freePort, makeTorrent, startLibtorrent, startTracker, until, type MadeTorrent } from '../support/peers.js'
import { holdingOf, MIB, openSwarm, readPiece, residentBytes } from './open-swarm.js'

const KIB = 1024
const PIECE = 64 * KIB

async function seededBy(t: TestContext, host: string, tracker: string, isPrivate = false): Promise<MadeTorrent> {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [tracker], private: isPrivate })
  await startLibtorrent(t, { host, torrent, seed: true })
  return torrent
}

for (const kind of ['http', 'udp'] as const) {
  test(`finds peers by an ${kind} tracker`, async (t) => {
    const tracker = await startTracker(t, '127.0.0.61')
    const torrent = await seededBy(t, '127.0.0.62', tracker[kind], kind === 'udp')
    const swarm = openSwarm(t, { trackers: true })
    const holding = await holdingOf(swarm, torrent.metainfo)
    // The seeder may announce itself after us.
    let bytes: Uint8Array | undefined
    await until(
      'a piece came',
      async () => {
        bytes = await readPiece(holding, 5, 3000).catch(() => undefined)
        return bytes !== undefined
      },
      90_000,
    )
    assert.ok(torrent.content.subarray(5 * PIECE, 6 * PIECE).equals(bytes ?? Buffer.alloc(0)))
  })
}

test('resolves a magnet by a tracker from a libtorrent peer', async (t) => {
  const tracker = await startTracker(t, '127.0.0.63')
  const torrent = await seededBy(t, '127.0.0.64', tracker.http)
  const swarm = openSwarm(t, { trackers: true })
  const info = await swarm.resolveMagnet(
    {
      infohash: torrent.metainfo.infohash,
      displayName: undefined,
      trackers: [tracker.http],
      webSeeds: [],
      peers: [],
      exactSources: [],
    },
    AbortSignal.timeout(90_000),
  )
  assert.ok(info.equals(torrent.metainfo.infoBytes))
})

test('goal 24: a tracker at a forbidden address is not connected to, neither is one that it redirects to', async (t) => {
  const canary = await httpServer(t, (_, response) => response.end('d8:intervali60e5:peers0:e'), { host: '127.0.0.66' })
  const redirecting = await httpServer(
    t,
    (_, response) => response.writeHead(302, { location: `${canary.url}/announce` }).end(),
    { host: '127.0.0.65' },
  )
  const udp = createSocket('udp4')
  let packets = 0
  udp.on('message', () => packets++)
  await new Promise<void>((resolve) => udp.bind(0, '127.0.0.66', resolve))
  t.after(() => udp.close())
  const torrent = await makeTorrent(t, {
    length: MIB,
    pieceLength: PIECE,
    trackers: [
      `${canary.url}/announce`,
      `${redirecting.url}/announce`,
      `udp://127.0.0.66:${udp.address().port}/announce`,
      `http://0x7f000042:${canary.port}/announce`,
      `ws://127.0.0.66:${canary.port}`,
      'file:///etc/passwd',
    ],
  })
  const swarm = openSwarm(t, {
    trackers: true,
    stallTimeout: 3000,
    allowAddress: (address) => address === '127.0.0.65',
  })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await assert.rejects(readPiece(holding, 0), (error) => isAnnexfsError(error, 'UNAVAILABLE'))
  assert.ok(redirecting.connections > 0)
  assert.equal(canary.connections, 0)
  assert.equal(packets, 0)
})

test('a peer on this machine that a tracker names is not connected to when the policy forbids it', async (t) => {
  const canary = await httpServer(t, (_, response) => response.end(), { host: '127.0.0.67' })
  const peers = Buffer.from([127, 0, 0, 67, canary.port >> 8, canary.port & 255])
  const tracker = await httpServer(
    t,
    (_, response) => response.end(Buffer.concat([Buffer.from('d8:intervali60e5:peers6:'), peers, Buffer.from('e')])),
    { host: '127.0.0.68' },
  )
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [`${tracker.url}/announce`] })
  const swarm = openSwarm(t, {
    trackers: true,
    stallTimeout: 3000,
    allowAddress: (address) => address === '127.0.0.68',
  })
  await assert.rejects(readPiece(await holdingOf(swarm, torrent.metainfo), 0))
  assert.equal(tracker.requests.length > 0, true)
  assert.match(tracker.requests[0]?.url ?? '', /info_hash=%.*event=started/)
  assert.equal(canary.connections, 0)
})

const ANSWERS: Readonly<Record<string, Buffer>> = {
  'a string of negative length': Buffer.from('l-3:e'),
  'a million nested lists': Buffer.alloc(1_000_000, 'l'),
  'a dictionary of the prototype': Buffer.from('d9:__proto__d5:peers6:abcdefee'),
  nothing: Buffer.alloc(0),
}

for (const [name, answer] of Object.entries(ANSWERS)) {
  test(`goal 31: a tracker that answers with ${name} costs neither the process nor memory`, async (t) => {
    await withHostileTracker(t, (send) => send(answer))
  })
}

test('goal 31: a tracker that never stops answering costs neither the process nor memory', async (t) => {
  await withHostileTracker(t, (send) => {
    const timer = setInterval(() => send(Buffer.alloc(MIB, 'l'), false), 1)
    t.after(() => clearInterval(timer))
  })
})

async function withHostileTracker(
  t: TestContext,
  behave: (send: (bytes: Buffer, end?: boolean) => void) => void,
): Promise<void> {
  const tracker = await httpServer(
    t,
    (request, response) => {
      if (request.url?.startsWith('/good') === true) response.end('d8:intervali60e5:peers0:e')
      else behave((bytes, end = true) => (end ? response.end(bytes) : response.write(bytes)))
    },
    { host: '127.0.0.69' },
  )
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [`${tracker.url}/announce`] })
  const quiet = await makeTorrent(t, { length: MIB, pieceLength: PIECE, name: 'quiet' })
  const seeder = await startLibtorrent(t, { host: '127.0.0.70', torrent: quiet, seed: true })
  const swarm = openSwarm(t, { trackers: true, peers: [seeder.address] })
  // The HTTP client is loaded by the first tracker: not what is measured.
  for (const name of ['first', 'second', 'third']) {
    const trackers = [1, 2, 3, 4].map((number) => `${tracker.url}/good/${number}`)
    const other = await makeTorrent(t, { length: MIB, pieceLength: PIECE, name, trackers })
    void readPiece(await holdingOf(swarm, other.metainfo), 0, 1000).catch(() => undefined)
  }
  await readPiece(await holdingOf(swarm, quiet.metainfo), 0)
  await until('the good tracker was asked', () => tracker.requests.length >= 12)
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const { pid = 0 } = await swarm.status()
  const before = residentBytes(pid)
  void readPiece(await holdingOf(swarm, torrent.metainfo), 0, 3000).catch(() => undefined)
  await until('the tracker was asked', () => tracker.requests.length > 12)
  let most = 0
  for (let look = 0; look < 20; look++) {
    most = Math.max(most, residentBytes(pid))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.ok(most - before < 16 * MIB, `${Math.round((most - before) / MIB)} MiB more`)
  await readPiece(await holdingOf(swarm, quiet.metainfo), 1)
  assert.equal((await swarm.status()).pid, pid)
}

test('goal 31: DHT packets that are bombs do not end the process', async (t) => {
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE })
  const seeder = await startLibtorrent(t, { host: '127.0.0.71', torrent, seed: true })
  const port = await freePort('0.0.0.0')
  const swarm = openSwarm(t, { peers: [seeder.address], dht: true, dhtBootstrap: ['127.0.0.72:9'], port })
  const holding = await holdingOf(swarm, torrent.metainfo)
  await readPiece(holding, 0)
  const { pid = 0 } = await swarm.status()
  const before = residentBytes(pid)
  const socket = createSocket('udp4')
  t.after(() => socket.close())
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.73', resolve))
  const bombs = [
    'l-3:e',
    'l'.repeat(60_000),
    'd'.repeat(60_000),
    'd1:y1:qe',
    'd1:q4:ping1:t2:aa1:y1:qe',
    'd1:ade1:q9:find_node1:t2:aa1:y1:qe',
    'd1:ai5e1:q4:ping1:t2:aa1:y1:qe',
    'd1:ad2:idi7ee1:q4:ping1:t2:aa1:y1:qe',
    'd1:ad2:id3:abce1:q9:find_node1:t2:aa1:y1:qe',
    'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaa9:info_hashi3ee1:q9:get_peers1:t2:aa1:y1:qe',
    'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaa4:port2:xxe1:q13:announce_peer1:t2:aa1:y1:qe',
    'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q3:get1:t2:aa1:y1:qe',
    'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaae1:q3:put1:t2:aa1:y1:qe',
    'd1:ad2:id20:aaaaaaaaaaaaaaaaaaaa1:v0:5:token3:abce1:q3:put1:t2:aa1:y1:qe',
    'd1:rd2:idi5ee1:t2:aa1:y1:re',
    'd1:ri5e1:t2:aa1:y1:re',
    'd1:t2:aa1:y1:re',
    'd1:eli201ee1:t2:aa1:y1:ee',
    'd1:qi5e1:t2:aa1:y1:qe',
    'd1:ql4:pinge1:ti5e1:y1:qe',
    'd1:yi5ee',
    'i5e',
    '4:ping',
  ]
  for (const bomb of bombs) socket.send(bomb, port, '127.0.0.1')
  await new Promise((resolve) => setTimeout(resolve, 1000))
  await readPiece(holding, 1)
  const after = await swarm.status()
  assert.equal(after.pid, pid, 'it is the same process')
  assert.ok(residentBytes(pid) - before < 16 * MIB)
})
