import type { Evicted } from '../cache/evict.js'
import type { PieceStore } from '../cache/store.js'
import type { Log } from '../log/log.js'
import type { Source } from '../sources/source.js'
import { swarmSource } from '../sources/swarm.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Magnet } from '../torrent/magnet.js'
import type { Torrent } from '../torrent/torrent.js'
import { SwarmProcess } from './parent.js'

export interface SwarmOptions {
  /** The shared cache; the swarm's process opens it for itself and puts what it verified there. */
  readonly cache: { readonly folder: string; readonly limitBytes: Bytes; readonly minFreeBytes: Bytes }
  /** This process' own open store over the same folder; without it one is opened when it is first needed. */
  readonly store?: PieceStore
  /** `HOST:PORT` (`[HOST]:PORT` for IPv6) of peers that the user named: always allowed, for every torrent. */
  readonly peers: readonly string[]
  /** TCP port to listen on; 0 for any. */
  readonly port: number
  /** Bytes per second; undefined for no limit; 0 serves nothing to anybody. */
  readonly uploadLimit: Bytes | undefined
  readonly downloadLimit: Bytes | undefined
  /** Of all torrents together. */
  readonly maxConnections: number
  readonly dht: boolean
  /** `HOST:PORT` of DHT nodes to start from instead of the well-known ones. */
  readonly dhtBootstrap?: readonly string[]
  readonly lsd: boolean
  readonly pex: boolean
  readonly trackers: boolean
  /** Web seeds are never fetched by the swarm itself; kept here so that one set of switches describes all. */
  readonly webSeeds: boolean
  /** False: download only; nothing is announced to peers and nothing is sent to them. */
  readonly seed: boolean
  /**
   * The policy for trackers, `x.pe` peers of magnets, DHT nodes that a torrent names, and for loopback, link-local and
   * other special addresses that a tracker, the DHT or another peer gives as a peer's. Ordinary and private (LAN)
   * addresses of peers are allowed without asking: peers in the same house are what LSD and PEX are for.
   */
  readonly allowAddress: (address: string) => boolean
  /** A torrent that nobody wanted a piece of for this long closes its connections. */
  readonly idleTimeout?: Milliseconds
  /** A wanted piece that made no progress for this long is UNAVAILABLE. */
  readonly stallTimeout?: Milliseconds
}

/** What peers can be asked for. All of it runs in one child process that is started when it is first needed. */
export interface Swarm {
  /**
   * The torrent's content as its peers have it; `name` is `swarm`. Opens nothing until a piece is asked for.
   * @param extraPeers `host:port` of peers that came with the torrent (a magnet's `x.pe`); checked against the policy.
   */
  source(torrent: Torrent, extraPeers?: readonly string[]): Source
  /**
   * The raw bytes of the info dictionary of a magnet, from peers (BEP 9); their SHA-1 is the magnet's infohash.
   * @throws AnnexfsError UNAVAILABLE, or that of the signal.
   */
  resolveMagnet(magnet: Magnet, signal: AbortSignal): Promise<Buffer>
  /** What it is doing now; starts nothing. */
  status(): Promise<SwarmStatus>
  /** Starts the process in the background, so that the first read does not wait for it; opens no connection. */
  warm(): void
  close(): Promise<void>
}

export interface SwarmStatus {
  readonly running: boolean
  readonly pid: number | undefined
  /** The port that it listens on, once it does. */
  readonly port: number | undefined
  /** Those that magnets are being resolved of have no name yet. */
  readonly torrents: readonly (TorrentStatus & { readonly name: string | undefined })[]
  /** Payload bytes per second, now. */
  readonly downloadSpeed: number
  readonly uploadSpeed: number
  /** Payload bytes since the process was started. */
  readonly downloaded: Bytes
  readonly uploaded: Bytes
  /** What its process has evicted from the cache to make room. */
  readonly evicted: Evicted
  /** Addresses that gave wrong bytes and are not spoken to any more. */
  readonly banned: readonly string[]
}

export interface TorrentStatus {
  readonly infohash: string
  readonly downloaded: Bytes
  readonly uploaded: Bytes
  /** Pieces asked for and not there yet. */
  readonly wanted: number
  readonly peers: readonly PeerStatus[]
}

export interface PeerStatus {
  /** `host:port` */
  readonly address: string
  /** From its peer id or its extended handshake; printable. */
  readonly client: string
  readonly downloadSpeed: number
  readonly uploadSpeed: number
  readonly choking: boolean
  /** How it is connected: `tcp`, `tcp (incoming)`, `webrtc`. */
  readonly kind: string
}

/**
 * Makes the swarm. No process, port or connection is opened by this.
 * @throws AnnexfsError USAGE when a peer is not `HOST:PORT`.
 */
export function startSwarm(options: SwarmOptions, log: Log): Swarm {
  const process = new SwarmProcess(options, log)
  return {
    source: (torrent, extraPeers = []) => swarmSource(process, torrent, extraPeers),
    resolveMagnet: (magnet, signal) => process.resolveMagnet(magnet, signal),
    status: () => process.status(),
    warm: () => process.warm(),
    close: () => process.close(),
  }
}
