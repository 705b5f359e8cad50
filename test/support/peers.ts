import { createHash } from 'node:crypto'
import { closeSync, mkdirSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { joinAddress } from '../../lib/swarm/peer-address.js'
import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'
import { parseMetainfo, type Metainfo } from '../../lib/torrent/metainfo.js'
import { startProcess, type TestProcess } from './process.js'
import { temporaryFolder } from './temp.js'

/** Real peers for tests, each on an address of 127.0.0.0/8 of its own, gone when the test ends. */

type Context = Pick<TestContext, 'after'>

// Compiled tests run from an output folder; the script stays beside its source.
const SCRIPT = fileURLToPath(import.meta.url).replace(
  /dist[^/]*\/test\/support\/[^/]*$/,
  'test/support/libtorrent-peer.py',
)
const WEBTORRENT = fileURLToPath(new URL('webtorrent-peer.js', import.meta.url))
const TRACKER = fileURLToPath(
  new URL('cmd.js', import.meta.resolve('bittorrent-tracker').replace(/index\.js$/, 'bin/')),
)

export interface MadeTorrent {
  readonly metainfo: Metainfo
  readonly content: Buffer
  /** The `.torrent` file. */
  readonly file: string
  /** The folder that a client gets as the place of the content, which is there. */
  readonly folder: string
}

export interface MakeTorrentOptions {
  readonly length: number
  readonly pieceLength: number
  readonly trackers?: readonly string[]
  readonly private?: boolean
  readonly name?: string
  /** Default: a temporary folder. */
  readonly folder?: string
}

/** A torrent of one file with pseudo-random content, which lies in `folder`. */
export async function makeTorrent(t: Context, options: MakeTorrentOptions): Promise<MadeTorrent> {
  const { length, pieceLength, trackers = [], name = 'content.bin' } = options
  const folder = options.folder ?? (await temporaryFolder(t))
  const content = pseudoRandom(length, name)
  const hashes: Buffer[] = []
  for (let at = 0; at < length; at += pieceLength) {
    hashes.push(
      createHash('sha1')
        .update(content.subarray(at, at + pieceLength))
        .digest(),
    )
  }
  const info: Record<string, Encodable> = {
    name,
    length,
    'piece length': pieceLength,
    pieces: Buffer.concat(hashes),
  }
  if (options.private === true) info['private'] = 1
  const root: Record<string, Encodable> = { info }
  const [first] = trackers
  if (first !== undefined) {
    root['announce'] = first
    root['announce-list'] = trackers.map((tracker) => [tracker])
  }
  const bytes = encodeBencode(root)
  const file = join(folder, `${name}.torrent`)
  writeFileSync(file, bytes)
  const fd = openSync(join(folder, name), 'w')
  writeSync(fd, content)
  closeSync(fd)
  return { metainfo: parseMetainfo(bytes), content, file, folder }
}

/** Bytes that depend on `seed` alone, in blocks that all differ. */
export function pseudoRandom(length: number, seed: string): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = createHash('sha256').update(seed).digest().readUInt32LE(0) | 1
  let at = 0
  for (; at + 4 <= length; at += 4) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes.writeInt32LE(state, at)
  }
  bytes.fill(0x5a, at)
  return bytes
}

export interface LibtorrentStatus {
  readonly state: string
  readonly pieces: number
  readonly total: number
  readonly uploaded: number
  readonly downloaded: number
  readonly failedBytes: number
  readonly metadata: boolean
  readonly peers: readonly { readonly address: string; readonly client: string; readonly pieces: number }[]
  readonly dhtNodes: number
}

export interface TestPeer {
  /** `127.0.0.x:port` */
  readonly address: string
  readonly port: number
  stop(): Promise<void>
}

export interface LibtorrentPeer extends TestPeer {
  status(): Promise<LibtorrentStatus>
  connect(host: string, port: number): Promise<void>
}

export interface LibtorrentOptions {
  /** Its address, e.g. 127.0.0.5. */
  readonly host: string
  readonly torrent: Pick<MadeTorrent, 'file' | 'folder'>
  /** True: the content is there (not checked); false: an empty folder of its own. */
  readonly seed: boolean
  readonly peers?: readonly (readonly [string, number])[]
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  readonly magnet?: string
  readonly dht?: boolean
  readonly nodes?: readonly (readonly [string, number])[]
  readonly lsd?: boolean
}

/** A libtorrent 2 peer (Debian's python3-libtorrent). */
export async function startLibtorrent(t: Context, options: LibtorrentOptions): Promise<LibtorrentPeer> {
  const folder = options.seed ? options.torrent.folder : await temporaryFolder(t)
  const told = {
    ...options,
    torrent: options.torrent.file,
    folder,
    listen: joinAddress(options.host, await freePort(options.host)),
  }
  const program = startProcess(t, '/usr/bin/python3', [SCRIPT, JSON.stringify(told)])
  const { port } = JSON.parse(await program.line()) as { port: number }
  const ask = async (command: object): Promise<LibtorrentStatus> => {
    program.write(`${JSON.stringify(command)}\n`)
    return JSON.parse(await program.line()) as LibtorrentStatus
  }
  return {
    address: joinAddress(options.host, port),
    port,
    stop: () => program.stop(),
    status: () => ask({}),
    connect: async (host, to) => void (await ask({ connect: [host, to] })),
  }
}

/** A transmission-daemon that seeds the torrent. */
export async function startTransmission(
  t: Context,
  options: { readonly host: string; readonly torrent: MadeTorrent },
): Promise<TestPeer> {
  const { host, torrent } = options
  const folder = await temporaryFolder(t)
  const [peerPort, rpcPort] = [await freePort(host), await freePort(host)]
  mkdirSync(join(folder, 'watch'))
  writeFileSync(join(folder, 'watch', 'one.torrent'), torrent.metainfo.raw)
  const settings = {
    'bind-address-ipv4': host,
    'bind-address-ipv6': '::1',
    'dht-enabled': false,
    'download-dir': torrent.folder,
    encryption: 0,
    'incomplete-dir-enabled': false,
    'lpd-enabled': false,
    'peer-port': peerPort,
    'pex-enabled': false,
    'port-forwarding-enabled': false,
    'rpc-bind-address': host,
    'rpc-port': rpcPort,
    'rpc-whitelist-enabled': false,
    'trash-original-torrent-files': false,
    'utp-enabled': false,
    'watch-dir': join(folder, 'watch'),
    'watch-dir-enabled': true,
  }
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings))
  const program = startProcess(t, 'transmission-daemon', ['-f', '-g', folder, '--no-portmap', '--no-dht', '--no-lpd'], {
    HOME: folder,
  })
  await until('transmission has checked the content', () =>
    transmissionSeeds(`http://${host}:${rpcPort}/transmission/rpc`),
  )
  return { address: `${host}:${peerPort}`, port: peerPort, stop: () => program.stop() }
}

async function transmissionSeeds(url: string): Promise<boolean> {
  const body = JSON.stringify({ method: 'torrent-get', arguments: { fields: ['percentDone', 'status'] } })
  try {
    const first = await fetch(url, { method: 'POST', body })
    await first.arrayBuffer()
    const session = first.headers.get('x-transmission-session-id') ?? ''
    const answer = await fetch(url, { method: 'POST', body, headers: { 'x-transmission-session-id': session } })
    const { arguments: found } = (await answer.json()) as {
      arguments: { torrents: { percentDone: number; status: number }[] }
    }
    // 6: seeding
    return found.torrents.some((torrent) => torrent.percentDone === 1 && torrent.status === 6)
  } catch {
    // Not listening yet.
    return false
  }
}

/** A webtorrent client that seeds the torrent to WebRTC peers, bound to `host`, which its ws trackers name. */
export async function startWebTorrent(
  t: Context,
  options: { readonly host: string; readonly torrent: MadeTorrent; readonly trackers: readonly string[] },
): Promise<Pick<TestPeer, 'stop'>> {
  const { host, torrent, trackers } = options
  const told = { host, trackers, torrent: torrent.file, folder: torrent.folder }
  const program = startProcess(t, process.execPath, [WEBTORRENT, JSON.stringify(told)])
  await program.line()
  return { stop: () => program.stop() }
}

/** A bittorrent-tracker server for http, udp and ws at `host`. */
export async function startTracker(t: Context, host: string): Promise<{ http: string; udp: string; ws: string }> {
  const port = await freePort(host)
  const kinds = ['--http', '--udp', '--ws']
  const where = ['--port', String(port), '--http-hostname', host]
  const program: TestProcess = startProcess(t, process.execPath, [TRACKER, ...where, ...kinds])
  while (!/WebSocket tracker/.test(await program.line()));
  return {
    http: `http://${host}:${port}/announce`,
    // Its UDP socket is bound to no address, so answers come from this one.
    udp: `udp://127.0.0.1:${port}/announce`,
    ws: `ws://${host}:${port}`,
  }
}

/** A TCP port of `host` that is free now. */
export async function freePort(host: string): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, host, resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Waits until `look` says true; throws after `timeout` milliseconds. */
export async function until(what: string, look: () => Promise<boolean> | boolean, timeout = 60_000): Promise<void> {
  const end = Date.now() + timeout
  while (!(await look())) {
    if (Date.now() > end) throw new Error(`waited ${timeout} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
