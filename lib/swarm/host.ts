import WebTorrent, { type SwarmTorrent } from 'webtorrent'
import type { Wire } from 'bittorrent-protocol'
import type { PieceStore } from '../cache/store.js'
import { reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import type { AllowedAddresses } from './announce.js'
import { Announcer } from './announcer.js'
import { AssemblyMemory } from './assembly-memory.js'
import { Blame } from './blame.js'
import { plainAddress } from './link.js'
import { PORT_TAKEN, type ProcessOptions, type ProcessStatus, type ToParent, type TorrentMessage } from './messages.js'
import { LONGEST_METADATA } from './longest-metadata.js'
import { DataConnection } from './data-connection.js'
import { exchangeMetadata, type MetadataMemory } from './metadata-exchange.js'
import { guardLocalDiscovery } from './discovery-guard.js'
import { Encryption } from './encryption.js'
import { joinAddress, ordinaryPeer, splitAddress } from './peer-address.js'
import { guardPackets } from './packet-guard.js'
import { Session } from './session.js'
import { UploadAllowance } from './serving.js'
import { WebRtc } from './web-rtc.js'
import { guardWires } from './wire-guard.js'

const TICK = 250
const NAMED_PEERS_AGAIN = 3000
const MEMORY_FOR_ASSEMBLIES: Bytes = 96 * 1024 * 1024
const MEMORY_KEPT: Bytes = 16 * 1024 * 1024
/** Connections of one torrent; more of them cost more than they bring. */
const MOST_A_TORRENT = 55
/** Addresses that are remembered for one torrent, connected or not. */
const MOST_KNOWN_PEERS = 500
/** Asked of the policy at once, for peers with special addresses that strangers named. */
const MOST_QUESTIONS = 50
/** What we send most of is what others ask for; this is only for finding the size of a torrent by DHT and the like. */
const UNKNOWN_SIZE = 16 * 1024
const MOST_NODES = 20

export interface HostOptions {
  readonly options: ProcessOptions
  readonly store: PieceStore
  readonly send: (message: ToParent) => void
  readonly allowed: AllowedAddresses
  readonly log: Log
}

/** webtorrent's client, and the torrents that are active in it. Lives in the swarm's own process. */
export class Host {
  readonly #client: WebTorrent
  readonly #blame: Blame
  readonly #memory = new AssemblyMemory(MEMORY_FOR_ASSEMBLIES, MEMORY_KEPT)
  readonly #metadataMemory: MetadataMemory = { used: 0, most: 2 * LONGEST_METADATA }
  readonly #allowance: UploadAllowance
  readonly #sessions = new Map<string, Session>()
  /** Searches for metadata, from the moment that they were asked for until they end: they may be cancelled before they began. */
  readonly #resolving = new Map<
    number,
    { readonly torrent?: SwarmTorrent | undefined; readonly announcer?: Announcer | undefined }
  >()
  readonly #listening: Promise<void>
  readonly #encryption = new Encryption()
  readonly #webRtc: WebRtc
  #questions = 0
  #lastNamed = 0

  constructor(private readonly host: HostOptions) {
    const { options } = host
    guardWires()
    this.#blame = new Blame(options.banned)
    this.#allowance = new UploadAllowance(options.uploadLimit)
    this.#webRtc = new WebRtc({ allows: (address) => this.#mayConnect(address), log: host.log })
    this.#client = new WebTorrent({
      torrentPort: options.port,
      // The same number for both, as clients do: one hole in a firewall is enough.
      dhtPort: options.port,
      maxConns: Math.min(MOST_A_TORRENT, options.maxConnections),
      dht: options.dht ? { bootstrap: options.dhtBootstrap ?? undefined } : false,
      lsd: options.lsd,
      utPex: options.pex,
      // Trackers are told by our own announcer, whose every host is checked; web seeds are a source of their own.
      tracker: false,
      webSeeds: false,
      natUpnp: false,
      natPmp: false,
      utp: false,
      downloadLimit: options.downloadLimit ?? -1,
    })
    this.#client.blocked = { contains: (address) => this.#blame.banned(plainAddress(address)) }
    const { tcpServer } = this.#client._connPool
    tcpServer.maxConnections = options.maxConnections
    tcpServer.prependListener('connection', (socket) => {
      if (this.#blame.banned(plainAddress(socket.remoteAddress ?? ''))) socket.destroy()
      else socket.setNoDelay(true)
    })
    this.#client.on('error', (error: unknown) => this.#fatal(error))
    if (this.#client.dht !== false) {
      guardPackets(this.#client.dht._rpc.socket.socket, (error) => {
        host.log.debug('a DHT packet could not be handled', { reason: reasonOf(error) })
      })
      this.#client.dht.on('warning', (error) => host.log.debug('DHT', { reason: reasonOf(error) }))
    }
    this.#listening = new Promise((resolve) => {
      const ready = (): void => {
        host.send({ type: 'ready', port: this.#client.torrentPort })
        resolve()
      }
      if (this.#client.listening) ready()
      else this.#client.once('listening', ready)
    })
    setInterval(() => this.#tick(), TICK)
  }

  session(infohash: string): Session | undefined {
    return this.#sessions.get(infohash)
  }

  add(torrent: TorrentMessage): void {
    if (this.#sessions.has(torrent.infohash)) return
    const { options, store, send } = this.host
    // Someone may be resolving a magnet of the same torrent: webtorrent knows an infohash once.
    for (const [id, other] of this.#resolving) if (other.torrent?.infoHash === torrent.infohash) this.#endResolving(id)
    const session = new Session({
      client: this.#client,
      store,
      torrent,
      memory: this.#memory,
      metadataMemory: this.#metadataMemory,
      blame: this.#blame,
      allowance: this.#allowance,
      serves: options.seed && options.uploadLimit !== 0,
      stallTimeout: options.stallTimeout,
      events: {
        arrived: (index, bytes) => {
          send({ type: 'piece', infohash: torrent.infohash, index, ...(bytes === undefined ? {} : { bytes }) })
        },
        failed: (index, reason) => send({ type: 'failed', infohash: torrent.infohash, index, reason }),
        ban: (address) => this.#ban(address),
        broken: (error) => this.#fatal(error),
      },
    })
    this.#sessions.set(torrent.infohash, session)
    this.#guardPeers(session.torrent, torrent.private)
    session.torrent.once('ready', () => {
      session.announcer = this.#announcer(torrent.infohash, torrent.trackers, session.torrent, () => ({
        uploaded: session.uploaded,
        downloaded: session.downloaded,
        left: Math.max(0, torrent.length - session.downloaded),
      }))
      this.#addNamed(session.torrent)
      for (const peer of torrent.peers) session.torrent.addPeer(peer, 'manual')
      if (!torrent.private) void this.#addNodes(torrent.nodes)
    })
  }

  remove(infohash: string): void {
    this.#sessions.get(infohash)?.close()
    this.#sessions.delete(infohash)
  }

  /** BEP 9: asks all peers of the infohash; the first that gives bytes with that hash wins. */
  async resolve(id: number, infohash: string, trackers: readonly string[], peers: readonly string[]): Promise<void> {
    this.#resolving.set(id, {})
    await this.#listening
    if (!this.#resolving.has(id)) return
    const { send } = this.host
    if (this.#sessions.has(infohash)) {
      this.#resolving.delete(id)
      send({ type: 'metadata-failed', id, reason: 'the torrent is already known' })
      return
    }
    const torrent = this.#client.add(
      { infoHash: infohash, announce: [], urlList: [] },
      {
        store: undefined,
        storeCacheSlots: 0,
        deselect: true,
        private: false,
        uploads: 0,
        alwaysChokeSeeders: true,
      },
    )
    this.#resolving.set(id, { torrent })
    torrent.on('error', (error: unknown) => {
      if (!this.#resolving.has(id)) return
      this.#endResolving(id)
      send({ type: 'metadata-failed', id, reason: reasonOf(error) })
    })
    torrent.on('warning', () => undefined)
    torrent.on('wire', (wire: Wire) => {
      exchangeMetadata({
        wire,
        infohash,
        metadata: undefined,
        memory: this.#metadataMemory,
        found: (bytes) => {
          if (!this.#resolving.has(id)) return
          this.#endResolving(id)
          send({ type: 'metadata', id, bytes })
        },
      })
      wire.unchoke = () => undefined
    })
    this.#guardPeers(torrent, false)
    torrent.once('infoHash', () => {
      if (!this.#resolving.has(id)) return
      const progress = (): { uploaded: number; downloaded: number; left: number } => ({
        uploaded: 0,
        downloaded: 0,
        left: UNKNOWN_SIZE,
      })
      this.#resolving.set(id, { torrent, announcer: this.#announcer(infohash, [trackers], torrent, progress) })
      this.#addNamed(torrent)
      for (const peer of peers) torrent.addPeer(peer, 'manual')
    })
  }

  cancelResolve(id: number): void {
    this.#endResolving(id)
  }

  status(): ProcessStatus {
    const sessions = [...this.#sessions.values()]
    return {
      torrents: sessions.map((session) => session.status()),
      downloadSpeed: this.#client.downloadSpeed,
      uploadSpeed: this.#client.uploadSpeed,
      downloaded: sessions.reduce((total, session) => total + session.downloaded, 0),
      uploaded: sessions.reduce((total, session) => total + session.uploaded, 0),
      evicted: this.host.store.evicted,
    }
  }

  close(): void {
    for (const infohash of this.#sessions.keys()) this.remove(infohash)
    for (const id of this.#resolving.keys()) this.#endResolving(id)
  }

  #endResolving(id: number): void {
    const resolving = this.#resolving.get(id)
    if (resolving === undefined) return
    this.#resolving.delete(id)
    resolving.announcer?.close()
    const { torrent } = resolving
    if (torrent?.destroyed === false) torrent.destroy({ destroyStore: false }, () => undefined)
  }

  #announcer(
    infohash: string,
    trackers: readonly (readonly string[])[],
    torrent: SwarmTorrent,
    progress: () => { uploaded: Bytes; downloaded: Bytes; left: Bytes },
  ): Announcer | undefined {
    if (!this.host.options.trackers) return undefined
    return new Announcer({
      infohash,
      peerId: this.#client.peerId,
      port: this.#client.torrentPort,
      trackers,
      allowed: this.host.allowed,
      progress,
      peer: (address) => {
        if (!torrent.destroyed) torrent.addPeer(address, 'tracker')
      },
      webRtc: this.#webRtc,
      hasRoom: () => !torrent.destroyed && this.#hasRoom(torrent),
      connected: (connection) => {
        if (torrent.destroyed || torrent._addPeer(connection, 'webrtc', 'tracker') === null) connection.destroy()
      },
      log: this.host.log,
    })
  }

  /** All ways by which webtorrent comes to a peer lead through these: bans, bounds and the policy for addresses. */
  #guardPeers(torrent: SwarmTorrent, forPrivate: boolean): void {
    const addPeer = torrent.addPeer.bind(torrent)
    const inner = torrent._addPeer.bind(torrent)
    const incoming = torrent._addIncomingPeer.bind(torrent)
    const drain = torrent._drain.bind(torrent)
    torrent._addPeer = (peer, type, source) => {
      // Only the trackers make these, to addresses that were checked.
      if (peer instanceof DataConnection) return this.#hasRoom(torrent) ? inner(peer, type, source) : null
      const at = typeof peer === 'string' ? splitAddress(peer) : undefined
      if (typeof peer !== 'string' || at === undefined || this.#blame.banned(plainAddress(at.host))) return null
      const added = this.#encryption.apply(this.#client, peer, () => inner(peer, type, source))
      added?.once('connect', () => added.conn?.setNoDelay(true))
      return added
    }
    torrent.addPeer = (peer, source) => {
      const at = typeof peer === 'string' ? splitAddress(peer) : undefined
      if (at === undefined || torrent._peersLength >= MOST_KNOWN_PEERS) return false
      const address = joinAddress(at.host, at.port)
      if (source === 'manual' || ordinaryPeer(at.host)) return addPeer(address, source)
      void this.#policyAllows(at.host).then((allowed) => {
        if (allowed && !torrent.destroyed) addPeer(address, source)
      })
      return false
    }
    torrent._addIncomingPeer = (peer) => {
      if (torrent._numConns >= MOST_A_TORRENT) peer.destroy(new Error('too many connections'))
      else incoming(peer)
    }
    const discover = torrent._startDiscovery.bind(torrent)
    torrent._startDiscovery = () => {
      // BEP 27; webtorrent leaves out DHT and PEX by itself, and forgets LSD.
      this.#client.lsd = this.host.options.lsd && !forPrivate
      discover()
      guardLocalDiscovery(torrent, this.host.log)
    }
    torrent._drain = () => {
      if (this.#connections() < this.host.options.maxConnections) drain()
    }
  }

  #connections(): number {
    return this.#client.torrents.reduce((total, torrent) => total + torrent._numConns + torrent._numPending, 0)
  }

  #hasRoom(torrent: SwarmTorrent): boolean {
    return torrent._numConns < MOST_A_TORRENT && this.#connections() < this.host.options.maxConnections
  }

  /** For addresses that strangers named and that webtorrent does not connect to by itself. */
  async #mayConnect(address: string): Promise<boolean> {
    const plain = plainAddress(address)
    if (this.#blame.banned(plain)) return false
    return ordinaryPeer(plain) || (await this.#policyAllows(plain))
  }

  async #policyAllows(host: string): Promise<boolean> {
    if (this.#questions >= MOST_QUESTIONS) return false
    this.#questions += 1
    try {
      return (await this.host.allowed(host)).includes(host)
    } catch (error) {
      this.host.log.debug('a peer was not checked', { host, reason: reasonOf(error) })
      return false
    } finally {
      this.#questions -= 1
    }
  }

  #addNamed(torrent: SwarmTorrent): void {
    for (const peer of this.host.options.peers) torrent.addPeer(peer, 'manual')
  }

  async #addNodes(nodes: TorrentMessage['nodes']): Promise<void> {
    const { dht } = this.#client
    if (dht === false) return
    for (const { host, port } of nodes.slice(0, MOST_NODES)) {
      const [address] = await this.host.allowed(host)
      if (address !== undefined) dht.addNode({ host: address, port })
    }
  }

  #ban(address: string): void {
    this.host.log.warn('a peer gave wrong pieces and is banned', { address })
    this.host.send({ type: 'banned', address })
    for (const session of this.#sessions.values()) session.dropAddress(address)
  }

  #tick(): void {
    for (const session of this.#sessions.values()) session.tick()
    if (Date.now() - this.#lastNamed < NAMED_PEERS_AGAIN) return
    this.#lastNamed = Date.now()
    // webtorrent gives up on a peer after three tries; the user's own peers may be started later than we are.
    for (const torrent of this.#client.torrents) {
      if (torrent.ready || [...this.#resolving.values()].some((one) => one.torrent === torrent)) {
        this.#addNamed(torrent)
        torrent._drain()
      }
    }
  }

  #fatal(error: unknown): void {
    this.host.log.error('the swarm cannot go on', { reason: reasonOf(error) })
    setTimeout(() => process.exit(systemCode(error) === 'EADDRINUSE' ? PORT_TAKEN : 1), 50)
  }
}
