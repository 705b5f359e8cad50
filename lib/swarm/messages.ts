import type { Bytes, Milliseconds, Urgency } from '../space/space.js'
import type { Evicted } from '../cache/evict.js'
import type { LogFields } from '../log/log.js'
import type { PeerStatus, TorrentStatus } from './swarm.js'

/** What the swarm's process is told when it starts: {@link SwarmOptions} without functions. */
export interface ProcessOptions {
  readonly cache: { readonly folder: string; readonly limitBytes: Bytes; readonly minFreeBytes: Bytes }
  readonly peers: readonly string[]
  readonly port: number
  readonly uploadLimit: Bytes | undefined
  readonly downloadLimit: Bytes | undefined
  readonly maxConnections: number
  readonly dht: boolean
  readonly dhtBootstrap: readonly string[] | undefined
  readonly lsd: boolean
  readonly pex: boolean
  readonly trackers: boolean
  readonly seed: boolean
  readonly stallTimeout: Milliseconds
  /** Addresses that an earlier process has banned. */
  readonly banned: readonly string[]
}

/** The exit code of the process when it cannot listen on the port that it was told. */
export const PORT_TAKEN = 98

export interface TorrentMessage {
  readonly infohash: string
  readonly length: Bytes
  readonly pieceLength: Bytes
  /** 20 bytes a piece. */
  readonly hashes: Uint8Array
  readonly infoBytes: Uint8Array
  readonly private: boolean
  readonly trackers: readonly (readonly string[])[]
  /** `host:port`, checked against the policy. */
  readonly peers: readonly string[]
  readonly nodes: readonly { readonly host: string; readonly port: number }[]
}

/** From the mount to the swarm's process. */
export type ToChild =
  | { readonly type: 'start'; readonly options: ProcessOptions }
  | { readonly type: 'add'; readonly torrent: TorrentMessage }
  | { readonly type: 'remove'; readonly infohash: string }
  | { readonly type: 'want'; readonly infohash: string; readonly index: number; readonly urgency: Urgency }
  | { readonly type: 'cancel'; readonly infohash: string; readonly index: number }
  /** The piece was not found in the store: send its bytes. */
  | { readonly type: 'send'; readonly infohash: string; readonly index: number; readonly urgency: Urgency }
  | {
      readonly type: 'metadata'
      readonly id: number
      readonly infohash: string
      readonly trackers: readonly string[]
      readonly peers: readonly string[]
    }
  | { readonly type: 'metadata-cancel'; readonly id: number }
  | { readonly type: 'status'; readonly id: number }
  | { readonly type: 'resolved'; readonly id: number; readonly addresses: readonly string[] }
  | { readonly type: 'ping' }
  | { readonly type: 'stop' }

/** From the swarm's process to the mount. The mount believes none of it without a check. */
export type ToParent =
  | { readonly type: 'ready'; readonly port: number }
  /** Verified, and in the store unless the bytes are along. */
  | { readonly type: 'piece'; readonly infohash: string; readonly index: number; readonly bytes?: Uint8Array }
  | { readonly type: 'failed'; readonly infohash: string; readonly index: number; readonly reason: string }
  | { readonly type: 'metadata'; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: 'metadata-failed'; readonly id: number; readonly reason: string }
  | { readonly type: 'status'; readonly id: number; readonly status: ProcessStatus }
  /** Asks for the addresses of a host name (or address) that the policy allows. */
  | { readonly type: 'resolve'; readonly id: number; readonly host: string }
  | { readonly type: 'banned'; readonly address: string }
  | {
      readonly type: 'log'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly message: string
      readonly fields: LogFields
    }
  | { readonly type: 'pong' }

export interface ProcessStatus {
  readonly torrents: readonly TorrentStatus[]
  readonly downloadSpeed: number
  readonly uploadSpeed: number
  readonly downloaded: Bytes
  readonly uploaded: Bytes
  /** From the cache, to make room. */
  readonly evicted: Evicted
}

export type { PeerStatus, TorrentStatus }
