import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { after, test, type TestContext } from 'node:test'
import type { WebSocket } from 'ws'
import { textLog } from '../../lib/log/log.js'
import { DataConnection } from '../../lib/swarm/data-connection.js'
import { safeDescription } from '../../lib/swarm/sdp.js'
import { WebRtc } from '../../lib/swarm/web-rtc.js'
import { makeTorrent, startLibtorrent, startTracker, startWebTorrent, until } from '../support/peers.js'
import { startHostileTracker } from '../support/ws-tracker.js'
import { holdingOf, MIB, openSwarm, readAll, readPiece, residentBytes } from './open-swarm.js'

// The library's threads would keep this process from ending.
after(async () => (await import('node-datachannel')).cleanup())

const PIECE = 64 * 1024

for (const isPrivate of [false, true]) {
  test(`reads ${isPrivate ? 'a private torrent' : 'a torrent'} from a WebRTC peer that a ws tracker names`, async (t) => {
    const tracker = await startTracker(t, '127.0.0.161')
    const trackers = [tracker.ws]
    const torrent = await makeTorrent(t, { length: 8 * MIB, pieceLength: PIECE, trackers, private: isPrivate })
    await startWebTorrent(t, { host: '127.0.0.162', torrent, trackers })
    const lines: string[] = []
    const allowAddress = (address: string): boolean => address.startsWith('127.')
    const swarm = openSwarm(t, { trackers: true, allowAddress, stallTimeout: 100_000 }, lines)
    const holding = await holdingOf(swarm, torrent.metainfo)
    await readAll(holding, 128, (index, bytes) => {
      assert.ok(torrent.content.subarray(index * PIECE, (index + 1) * PIECE).equals(bytes), `piece ${index}`)
    })
    const [status] = (await swarm.status()).torrents
    assert.equal(status?.peers.length, 1)
    assert.match(status?.peers[0]?.address ?? '', /^127\.0\.0\.162:/)
    assert.deepEqual(
      lines.filter((line) => /warn|error/.test(line)),
      [],
    )
  })
}

test('resolves a magnet by a ws tracker from a WebRTC peer', async (t) => {
  const tracker = await startTracker(t, '127.0.0.163')
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [tracker.ws] })
  await startWebTorrent(t, { host: '127.0.0.164', torrent, trackers: [tracker.ws] })
  const swarm = openSwarm(t, { trackers: true })
  const { infohash, infoBytes } = torrent.metainfo
  const magnet = { infohash, displayName: undefined, trackers: [tracker.ws], webSeeds: [], peers: [], exactSources: [] }
  assert.ok((await swarm.resolveMagnet(magnet, AbortSignal.timeout(90_000))).equals(infoBytes))
})

test('no ws tracker is asked when trackers are off', async (t) => {
  const tracker = await startHostileTracker(t, '127.0.0.165', () => undefined)
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [tracker.url] })
  const swarm = openSwarm(t, { trackers: false, stallTimeout: 2000 })
  await assert.rejects(readPiece(await holdingOf(swarm, torrent.metainfo), 0))
  assert.equal(tracker.connections, 0)
})

/** A peer's description that names `host` as the place where it is. */
function descriptionAt(host: string, port: number, role: string): string {
  return [
    'v=0',
    `o=rtc 1 0 IN IP4 ${host}`,
    's=-',
    't=0 0',
    `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`,
    `m=application ${port} UDP/DTLS/SCTP webrtc-datachannel`,
    `c=IN IP4 ${host}`,
    'a=mid:0',
    'a=sctp-port:5000',
    `a=setup:${role}`,
    'a=ice-ufrag:67v3',
    'a=ice-pwd:oEbOLBq8W2amTSROgDg8QJ',
    `a=candidate:1 1 UDP 2114977791 ${host} ${port} typ host`,
    `a=candidate:2 1 UDP 2114977790 ::ffff:${host} ${port} typ host`,
    `a=candidate:3 1 UDP 2114977789 localhost ${port} typ host`,
    `a=candidate:4 1 TCP 2114977788 ${host} ${port} typ host tcptype passive`,
    '',
  ].join('\r\n')
}

/** How many packets reach a place that an offer and answers name, when the policy allows the tracker and `also`. */
async function packetsAtCanary(t: TestContext, also: string): Promise<number> {
  const canary = createSocket('udp4')
  let packets = 0
  canary.on('message', () => packets++)
  await new Promise<void>((resolve) => canary.bind(0, '127.0.0.166', resolve))
  t.after(() => canary.close())
  const { port } = canary.address()
  let answered = 0
  const tracker = await startHostileTracker(t, '127.0.0.165', (message, socket) => {
    if (message['answer'] !== undefined) answered += 1
    const offers = message['offers'] as { readonly offer_id: string }[] | undefined
    if (offers === undefined) return
    const say = (from: string, fields: object): void => {
      const head = { action: 'announce', info_hash: message['info_hash'], peer_id: from.repeat(20) }
      socket.send(JSON.stringify({ ...head, ...fields }))
    }
    const offer = { type: 'offer', sdp: descriptionAt('127.0.0.166', port, 'actpass') }
    say('a', { offer, offer_id: 'o'.repeat(20) })
    const answer = { type: 'answer', sdp: descriptionAt('127.0.0.166', port, 'passive') }
    for (const { offer_id: id } of offers) say('b', { answer, offer_id: id })
  })
  const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, trackers: [tracker.url] })
  const allowAddress = (address: string): boolean => address === '127.0.0.165' || address === also
  const swarm = openSwarm(t, { trackers: true, stallTimeout: 4000, allowAddress })
  await assert.rejects(readPiece(await holdingOf(swarm, torrent.metainfo), 0))
  assert.equal(answered, 1, 'the offer was answered')
  assert.equal(tracker.connections, 1)
  return packets
}

test('goal 24: an offer and answers that name a forbidden address make no connection there', async (t) => {
  assert.equal(await packetsAtCanary(t, 'none'), 0)
})

test('an offer and answers that name an allowed address are followed', async (t) => {
  assert.ok((await packetsAtCanary(t, '127.0.0.166')) > 0)
})

type Said = Readonly<Record<string, unknown>>

const SDP = descriptionAt('10.255.255.1', 9, 'actpass')

function flood(socket: WebSocket, text: () => string | Buffer, count: number): void {
  for (let at = 0; at < count && socket.readyState === 1; at++) socket.send(text())
}

/** What a hostile tracker says to an announcement; `head` is what makes a message one of this torrent. */
const RUBBISH: Readonly<Record<string, (socket: WebSocket, head: Said) => void>> = {
  nothing: () => undefined,
  'empty text': (socket) => socket.send(''),
  'no JSON': (socket) => socket.send('{"action":'),
  'a million brackets': (socket) => socket.send('['.repeat(1_000_000)),
  'as many brackets as fit': (socket) => socket.send('['.repeat(60_000)),
  null: (socket) => socket.send('null'),
  'a list': (socket) => socket.send('[1,2]'),
  'a number': (socket) => socket.send('1e999'),
  'the prototype': (socket, head) => socket.send(`{"__proto__":{"action":1},${JSON.stringify(head).slice(1)}`),
  'bytes that are no UTF-8': (socket) => socket.send(Buffer.alloc(5000, 0xff)),
  'odd types': (socket, head) => {
    socket.send(JSON.stringify({ ...head, peer_id: 7, offer: 7, offer_id: {}, interval: 'soon', answer: [] }))
  },
  'an interval of nothing': (socket, head) => socket.send(JSON.stringify({ ...head, interval: 1e-300 })),
  'an endless interval': (socket, head) => socket.send(`${JSON.stringify(head).slice(0, -1)},"interval":1e400}`),
  'a failure': (socket, head) => socket.send(JSON.stringify({ ...head, 'failure reason': 'x'.repeat(60_000) })),
  'an offer that is no description': (socket, head) => {
    const peer = { ...head, peer_id: 'c'.repeat(20), offer_id: 'o'.repeat(20) }
    for (const sdp of ['', 'v=0', 7, null, 'm=application 9', `${SDP}m=audio 9 x 1\r\n`, SDP.replace('67v3', '\0')]) {
      socket.send(JSON.stringify({ ...peer, offer: { type: 'offer', sdp } }))
    }
  },
  'answers to offers that nobody made': (socket, head) => {
    const answer = { type: 'answer', sdp: SDP }
    const message = { ...head, peer_id: 'd'.repeat(20), answer, offer_id: 'x'.repeat(20) }
    flood(socket, () => JSON.stringify(message), 90)
  },
  'a peer id that is an address': (socket, head) => {
    socket.send(
      JSON.stringify({ ...head, peer_id: '127.0.0.1:1234567890', offer: { type: 'offer', sdp: SDP }, offer_id: '' }),
    )
  },
  'offers without end': (socket, head) => {
    const offer = { type: 'offer', sdp: SDP }
    let peer = 0
    const next = (): string =>
      JSON.stringify({ ...head, peer_id: `peer${String(peer++).padStart(16, '0')}`, offer, offer_id: 'o' })
    flood(socket, next, 5000)
  },
  'long messages without end': (socket, head) => {
    flood(socket, () => JSON.stringify({ ...head, warning: 'w'.repeat(60_000) }), 2000)
  },
  'pings without end': (socket) => {
    for (let at = 0; at < 5000 && socket.readyState === 1; at++) socket.ping()
  },
  'a message of 64 MiB': (socket) => socket.send(Buffer.alloc(64 * MIB, 0x20)),
  'a hang up': (socket) => socket.terminate(),
}

test('goal 31: a ws tracker that talks rubbish costs neither the process nor memory', async (t) => {
  const kinds = Object.values(RUBBISH)
  const reached = new Set<string>()
  const tracker = await startHostileTracker(t, '127.0.0.167', (message, socket, path) => {
    if (message['event'] !== 'started') return
    reached.add(path)
    const head = { action: 'announce', info_hash: message['info_hash'] }
    if (path.startsWith('/good')) socket.send(JSON.stringify({ ...head, interval: 60 }))
    else kinds[Number(path.slice(1))]?.(socket, head)
  })
  const quiet = await makeTorrent(t, {
    length: MIB,
    pieceLength: PIECE,
    name: 'quiet',
    trackers: [`${tracker.url}/good`],
  })
  const seeder = await startLibtorrent(t, { host: '127.0.0.168', torrent: quiet, seed: true })
  const swarm = openSwarm(t, { trackers: true, peers: [seeder.address] })
  const holding = await holdingOf(swarm, quiet.metainfo)
  await readPiece(holding, 0)
  await until('the libraries are loaded', () => reached.has('/good'))
  const { pid = 0 } = await swarm.status()
  const before = residentBytes(pid)
  for (const [name, from] of [
    ['first', 0],
    ['second', 12],
  ] as const) {
    const trackers = kinds.map((_, kind) => `${tracker.url}/${kind}`).slice(from, from + 12)
    const torrent = await makeTorrent(t, { length: MIB, pieceLength: PIECE, name, trackers })
    void readPiece(await holdingOf(swarm, torrent.metainfo), 0, 10_000).catch(() => undefined)
  }
  await until('every kind was tried', () => reached.size === kinds.length + 1)
  let most = 0
  for (let look = 0; look < 50; look++) {
    most = Math.max(most, residentBytes(pid))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  t.diagnostic(`${kinds.length} kinds, ${Math.round((most - before) / MIB)} MiB more`)
  assert.ok(most - before < 32 * MIB, `${Math.round((most - before) / MIB)} MiB more`)
  await readPiece(holding, 1)
  assert.equal((await swarm.status()).pid, pid)
})

for (const honest of [true, false]) {
  test(`a WebRTC peer ${honest ? 'with the announced' : 'with another than the announced'} certificate is ${honest ? 'taken' : 'refused'}`, async () => {
    const library = await import('node-datachannel')
    const allows = async (): Promise<boolean> => await Promise.resolve(true)
    const here = (sdp: string): string => sdp.replaceAll(/( UDP \d+) \S+ /g, '$1 127.0.0.1 ')
    const offer = await DataConnection.offer(library)
    const other = `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`
    const told = honest ? offer.sdp : offer.sdp.replace(/a=fingerprint:\S+ \S+/, other)
    // Told no address, this side only answers. Were it the first to ask, the other one's library might have the certificate
    // before it has noted the answer that it is compared with (`accept` in data-connection.ts).
    const silent = told.replaceAll(/a=candidate:.*\r\n/g, '')
    const answer = await DataConnection.answer(library, await safeDescription(silent, allows))
    offer.connection.accept(await safeDescription(here(answer.sdp), allows))
    const gone = new Promise<void>((resolve) => answer.connection.once('close', resolve))
    if (honest) await answer.connection.opened()
    else await gone
    assert.equal(answer.connection.connected, honest)
    offer.connection.destroy()
    answer.connection.destroy()
    await gone
  })
}

test('says once that WebRTC peers cannot be reached when the library is not there', async () => {
  const lines: string[] = []
  const load = async (): Promise<never> => await Promise.reject(new Error('no binary for this platform'))
  const webRtc = new WebRtc({
    allows: async () => await Promise.resolve(true),
    log: textLog('info', (line) => lines.push(line)),
    load,
  })
  assert.equal(await webRtc.usable(), false)
  assert.equal(await webRtc.usable(), false)
  assert.equal(await webRtc.offer(), undefined)
  assert.equal(lines.length, 1)
  assert.match(lines[0] ?? '', /node-datachannel.*no binary for this platform/)
})
