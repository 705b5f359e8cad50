import { createConnection, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'

/** A BitTorrent peer of a few lines, that can be as rude as a test needs. */

type Context = Pick<TestContext, 'after'>

export interface RawPeer {
  readonly address: string
  /** Connections so far. */
  connections: number
  /** Connections that are open now. */
  readonly open: Set<Socket>
}

/** One connection of it, after both handshakes. */
export interface RawWire {
  readonly socket: Socket
  /** Sends a message: id and payload. */
  send(id: number, payload?: Uint8Array): void
  /** Called for every message that comes, keep-alives left out. */
  onMessage: (id: number, payload: Buffer) => void
  readonly closed: Promise<void>
}

export const MESSAGE = {
  choke: 0,
  unchoke: 1,
  interested: 2,
  have: 4,
  bitfield: 5,
  request: 6,
  piece: 7,
  reject: 16,
  extended: 20,
} as const

/** Listens at `host` and does `behave` on every connection, once the other side has shaken hands. */
export async function startRawPeer(
  t: Context,
  host: string,
  infohash: string,
  behave: (wire: RawWire) => void,
): Promise<RawPeer> {
  const server = createServer((socket) => {
    peer.connections += 1
    peer.open.add(socket)
    socket.on('close', () => peer.open.delete(socket))
    speak(socket, infohash, behave)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, host, resolve)
  })
  t.after(async () => {
    for (const socket of peer.open) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const at = server.address()
  if (at === null || typeof at === 'string') throw new Error('no port')
  const peer: RawPeer = { address: `${host}:${at.port}`, connections: 0, open: new Set() }
  return peer
}

/** Connects from `from` to a peer. */
export async function connectRaw(
  t: Context,
  from: string,
  host: string,
  port: number,
  infohash: string,
): Promise<RawWire> {
  const socket = createConnection({ host, port, localAddress: from })
  t.after(() => socket.destroy())
  return await new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the peer hung up')))
    speak(socket, infohash, resolve)
  })
}

function speak(socket: Socket, infohash: string, behave: (wire: RawWire) => void): void {
  let buffer = Buffer.alloc(0)
  let shaken = false
  const wire: RawWire = {
    socket,
    send: (id, payload = new Uint8Array()) => {
      const head = Buffer.alloc(5)
      head.writeUInt32BE(payload.byteLength + 1, 0)
      head[4] = id
      socket.write(Buffer.concat([head, payload]))
    },
    onMessage: () => undefined,
    closed: new Promise((resolve) => socket.once('close', () => resolve())),
  }
  socket.on('error', () => undefined)
  socket.write(handshake(infohash))
  socket.on('data', (data) => {
    buffer = Buffer.concat([buffer, data])
    if (!shaken) {
      if (buffer.length < 68) return
      buffer = buffer.subarray(68)
      shaken = true
      behave(wire)
    }
    while (buffer.length >= 4 && buffer.length >= 4 + buffer.readUInt32BE(0)) {
      const length = buffer.readUInt32BE(0)
      const message = buffer.subarray(4, 4 + length)
      buffer = buffer.subarray(4 + length)
      if (length > 0) wire.onMessage(message[0] ?? 0, message.subarray(1))
    }
  })
}

function handshake(infohash: string): Buffer {
  // BEP 10 extensions; not BEP 6, so that the plain protocol is tested too.
  const reserved = Buffer.from([0, 0, 0, 0, 0, 0x10, 0, 0])
  const id = Buffer.from(`-RW0001-${Math.random().toString(16).slice(2).padEnd(12, '0').slice(0, 12)}`)
  return Buffer.concat([Buffer.from('\x13BitTorrent protocol', 'latin1'), reserved, Buffer.from(infohash, 'hex'), id])
}

/** Has all pieces and gives them as `block` says. */
export function seedRaw(
  wire: RawWire,
  pieces: number,
  block: (index: number, offset: number, length: number) => Uint8Array | undefined,
): void {
  const bitfield = Buffer.alloc(Math.ceil(pieces / 8), 0xff)
  if (pieces % 8 !== 0) bitfield[bitfield.length - 1] = (0xff << (8 - (pieces % 8))) & 0xff
  wire.send(MESSAGE.bitfield, bitfield)
  wire.send(MESSAGE.unchoke)
  wire.onMessage = (id, payload) => {
    if (id !== MESSAGE.request) return
    const [index, offset, length] = [payload.readUInt32BE(0), payload.readUInt32BE(4), payload.readUInt32BE(8)]
    const bytes = block(index, offset, length)
    if (bytes !== undefined) wire.send(MESSAGE.piece, Buffer.concat([payload.subarray(0, 8), bytes]))
  }
}

export function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, at * 4)
  return bytes
}

/** An extended message (BEP 10); number 0 is its handshake. */
export function extended(number: number, body: Encodable | Buffer): Buffer {
  return Buffer.concat([Buffer.from([number]), Buffer.isBuffer(body) ? body : encodeBencode(body)])
}
