/** What we use of webtorrent 3.0.21 and bittorrent-protocol, which come without types. Underscored names are theirs. */
declare module 'webtorrent' {
  import type { EventEmitter } from 'node:events'
  import type { Server, Socket } from 'node:net'
  import type { Wire } from 'bittorrent-protocol'

  export interface BitField {
    readonly buffer: Uint8Array
    get(index: number): boolean
    set(index: number, value: boolean): void
  }

  export interface TorrentPeer {
    readonly id: string
    readonly addr: string | null
    readonly wire: Wire | null
    readonly connected: boolean
    readonly _handshakeDone?: boolean
    /** From the event `connect` on. */
    readonly conn: Socket | null
    once(event: 'connect' | 'disconnect', listener: () => void): void
    destroy(error?: Error): void
  }

  export interface TorrentOptions {
    readonly store: unknown
    readonly storeCacheSlots: number
    readonly bitfield?: Uint8Array
    readonly deselect: boolean
    readonly private: boolean
    readonly uploads: number
    readonly alwaysChokeSeeders: boolean
  }

  export interface SwarmTorrent extends EventEmitter {
    readonly infoHash: string
    readonly discovery:
      (EventEmitter & { readonly lsd: (EventEmitter & { readonly server: EventEmitter }) | null }) | null
    readonly destroyed: boolean
    readonly ready: boolean
    readonly wires: readonly Wire[]
    readonly private: boolean
    readonly bitfield: BitField
    readonly _peers: Map<string, TorrentPeer> | null
    readonly _peersLength: number
    readonly _numConns: number
    readonly _numPending: number
    metadata: unknown
    pieces: unknown[]
    _hashes: unknown[]
    _reservations: unknown[]
    _rarityMap: { destroy(): void } | null
    addPeer(peer: unknown, source?: string): boolean
    removePeer(peer: string): void
    destroy(options: { destroyStore: boolean }, callback: (error?: Error) => void): void
    _addPeer(peer: unknown, type: string, source?: string): TorrentPeer | null
    _addIncomingPeer(peer: TorrentPeer): void
    _drain(): void
    _startDiscovery(): void
    _verifyPieces(callback: (error: Error | null) => void): void
    _onWireWithMetadata(wire: Wire): void
    _updateWireInterest(wire: Wire): void
    _updateWireWrapper(): void
    _update(): void
    _checkDone(): boolean
    _rechoke(): void
  }

  export interface DhtNode {
    readonly _rpc: { readonly socket: { readonly socket: EventEmitter } }
    addNode(node: { host: string; port: number }): void
    readonly listening: boolean
    address(): { port: number }
    on(event: string, listener: (error: Error) => void): void
  }

  export default class WebTorrent extends EventEmitter {
    constructor(options: Readonly<Record<string, unknown>>)
    readonly peerId: string
    readonly torrentPort: number
    readonly torrents: readonly SwarmTorrent[]
    readonly downloadSpeed: number
    readonly uploadSpeed: number
    readonly listening: boolean
    readonly _connPool: { readonly tcpServer: Server }
    readonly dht: DhtNode | false
    lsd: boolean
    /** 0: no protocol encryption; 1: tried, without falling back to a new connection when the peer has none. */
    secure: number
    blocked: { contains(address: string): boolean } | undefined
    add(torrent: object, options: TorrentOptions): SwarmTorrent
    destroy(callback: (error?: Error) => void): void
  }
}

declare module 'bittorrent-protocol' {
  import type { EventEmitter } from 'node:events'

  export interface WireExtension {
    onHandshake(infohash: string, peerId: string, extensions: object): void
    onExtendedHandshake(handshake: Readonly<Record<string, unknown>>): void
    onMessage(message: Uint8Array): void
  }

  export interface WireRequest {
    readonly piece: number
    readonly offset: number
    readonly length: number
    readonly callback: (error: Error | null, block?: Uint8Array) => void
  }

  export class Wire extends EventEmitter {
    readonly type: string
    readonly destroyed: boolean
    readonly peerId: string | null
    readonly peerChoking: boolean
    readonly peerInterested: boolean
    readonly amChoking: boolean
    readonly amInterested: boolean
    readonly hasFast: boolean
    readonly peerExtensions: { readonly dht?: boolean; readonly fast?: boolean; readonly extended?: boolean }
    readonly peerExtendedHandshake: Readonly<Record<string, unknown>>
    readonly extendedHandshake: Record<string, unknown>
    readonly peerExtendedMapping: Readonly<Record<string, number>>
    readonly peerPieces: { readonly buffer: Uint8Array; get(index: number): boolean }
    readonly requests: readonly WireRequest[]
    readonly peerRequests: WireRequest[]
    readonly remoteAddress?: string
    readonly remotePort?: number
    readonly _ext: Record<string, WireExtension>
    readonly _readableState: { readonly buffered: number }
    readonly lt_donthave: { donthave(index: number): void }
    isSeeder: boolean
    downloadSpeed(): number
    uploadSpeed(): number
    interested(): void
    uninterested(): void
    choke(): void
    unchoke(): void
    have(index: number): void
    haveAll(): void
    haveNone(): void
    bitfield(bitfield: { readonly buffer: Uint8Array }): void
    port(port: number): void
    reject(index: number, offset: number, length: number): void
    request(index: number, offset: number, length: number, done: WireRequest['callback']): void
    cancel(index: number, offset: number, length: number): void
    keepAlive(): void
    extended(name: string | number, message: unknown): void
    destroy(): void
    _parse(size: number, parser: (bytes: Uint8Array) => void): void
    readonly _parserSize: number
    readonly _bufferSize: number
    _write: (this: Wire, data: Uint8Array, done: (error: null) => void) => void
    _onMessageLength: (this: Wire, bytes: Uint8Array) => void
    _onMessage: (this: Wire, bytes: Uint8Array) => void
  }

  export default Wire
}
