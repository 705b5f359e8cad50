import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'

/*
 * What a running annexfs tells about itself: to `annexfs status`, the page, the metrics. Plain values that go through
 * JSON; times are milliseconds since 1970, rates bytes per second. Nothing in it is secret: no credentials, no queries
 * of URLs.
 */

export interface Snapshot {
  readonly version: string
  readonly pid: number
  readonly started: Milliseconds
  readonly now: Milliseconds
  /** Where it is mounted; undefined when it only serves HTTP. */
  readonly mountpoint?: string
  /** Base URL of the gateway, when there is one. */
  readonly gateway?: string
  /** The SOURCEs as they were given, with their names in the mount. */
  readonly sources: readonly { readonly name: string; readonly source: string; readonly kind: string }[]
  /** Files that are open, those read last first; bounded. */
  readonly files: readonly FileStatus[]
  /** Where bytes came from. */
  readonly origins: readonly OriginStatus[]
  readonly peers: readonly PeerStatus[]
  readonly cache: CacheStatus
  /** Reads that wait for bytes now, the oldest first; bounded. */
  readonly waiting: readonly WaitingRead[]
  /** The last errors that readers got, newest first; bounded. */
  readonly errors: readonly { readonly time: Milliseconds; readonly path: string; readonly reason: string }[]
  /** Bytes that were given to readers, and fetched, since the start. */
  readonly readBytes: Bytes
  readonly fetchedBytes: Bytes
  /** Of `--budget`: what may be fetched still; undefined without one. */
  readonly budget?: { readonly limit: Bytes; readonly left: Bytes; readonly per?: Milliseconds }
}

export interface FileStatus {
  /** In the mount, with a leading slash. */
  readonly path: string
  /** Identifies the file for {@link PieceMap}. */
  readonly id: string
  readonly size: Bytes
  readonly cached: Bytes
  readonly verified: 'piece' | 'whole' | 'pending' | 'none'
  /** How many have it open. */
  readonly readers: number
  /** Offsets where it was read last, one for each stream of reads. */
  readonly positions: readonly Bytes[]
  readonly lastRead: Milliseconds
  /** Names of the origins that can give it. */
  readonly origins: readonly string[]
}

export interface OriginStatus {
  readonly name: string
  readonly kind: 'swarm' | 'remote' | 'web' | 'local'
  readonly fetched: Bytes
  /** Over the last seconds. */
  readonly rate: number
  /** One value a second over the last minutes, oldest first. */
  readonly history: readonly number[]
  readonly latency?: Milliseconds
  /** Transfers running now. */
  readonly active: number
  readonly failures: number
  /** Why it rests or was set aside, if it does. */
  readonly trouble?: string
}

export interface PeerStatus {
  /** An infohash. */
  readonly torrent: string
  /** Of the torrent, or the path of the file that is read by it. */
  readonly name?: string
  readonly address: string
  readonly client: string
  readonly down: number
  readonly up: number
  /** It refuses our requests now. */
  readonly choked: boolean
  readonly kind: string
}

export interface CacheStatus {
  readonly folder: string
  readonly used: Bytes
  readonly limit: Bytes
  readonly pinned: Bytes
  readonly evictions: number
  readonly evictedBytes: Bytes
  /** There while nothing can be cached, because its disk has no more free space than is to be left free. */
  readonly lowDisk?: { readonly free: Bytes; readonly minFree: Bytes }
}

export interface WaitingRead {
  readonly path: string
  readonly range: ByteRange
  readonly since: Milliseconds
  /** One line: which piece, which sources, what each said, what is being tried. */
  readonly what: string
}

/** The state of each piece of a file, for drawing. */
export interface PieceMap {
  readonly id: string
  readonly pieceLength: Bytes
  readonly count: number
  /**
   * Run-length coded: `[state, pieces, origin]` in order of the file; `origin` is an index into `origins`, or -1.
   * Of very large files several pieces are one cell: `cell` says how many.
   */
  readonly runs: readonly (readonly [state: PieceState, cells: number, origin: number])[]
  readonly cell: number
  readonly origins: readonly string[]
}

export type PieceState = 'absent' | 'wanted' | 'fetching' | 'have' | 'verified'

/** What a running annexfs lets others do with it; implemented over the engine, used by the gateway and the control socket. */
export interface Station {
  snapshot(): Promise<Snapshot>
  pieceMap(id: string, signal: AbortSignal): Promise<PieceMap | undefined>
}
