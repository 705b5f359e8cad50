import type { Bytes, Milliseconds, PieceSpace, SpaceId } from '../space/space.js'

/**
 * A torrent as the tree holds it: enough to be listed, without piece hashes, file list and raw bytes, because a folder
 * may hold ten thousand torrents. What reads needs {@link load}.
 */
export interface Torrent {
  /** 40 lower-case hexadecimal digits: SHA-1 over the raw bytes of the info dictionary (BEP 3). */
  readonly infohash: string
  /** `btih:<infohash>`. */
  readonly spaceId: SpaceId
  /** A safe display name, unlike the name that the metainfo gives. */
  readonly name: string
  /** Of all its files together, padding included. */
  readonly length: Bytes
  /** Whether it has a folder of its own (BEP 3: `files`) or is one file. */
  readonly multiFile: boolean
  /** BEP 27: peers only from its trackers. */
  readonly private: boolean
  /**
   * All of it; read again from where it is kept unless it is in memory.
   * @throws AnnexfsError NOT_FOUND when the metainfo has gone or changed since.
   */
  load(): Promise<Metainfo>
}

/** A torrent with everything that its metainfo says, checked. */
export interface Metainfo extends Torrent {
  /** All its files after each other, with the hash of every piece. */
  readonly space: PieceSpace & { readonly hashes: NonNullable<PieceSpace['hashes']> }
  readonly files: readonly TorrentFile[]
  /** BEP 12: tiers of announce URLs. Not yet checked against any address policy. */
  readonly trackers: readonly (readonly string[])[]
  /** BEP 19: `url-list`. Not yet checked against any address policy. */
  readonly webSeeds: readonly string[]
  /** BEP 5: DHT nodes to start from. */
  readonly nodes: readonly TorrentNode[]
  /** `host:port` of peers that came with it: the `x.pe` of a magnet. Not yet checked against any address policy. */
  readonly peers: readonly string[]
  readonly createdAt?: Milliseconds
  /** The whole metainfo; for a magnet the info dictionary wrapped in one of its own, with the magnet's trackers. */
  readonly raw: Buffer
  /** The raw bytes of the info dictionary, those that the infohash is over. */
  readonly infoBytes: Buffer
}

/** One file of a torrent: `length` bytes of the torrent's space from `offset`. */
export interface TorrentFile {
  /** Its place in {@link Metainfo.files} (padding included), as clients count. */
  readonly index: number
  /** Safe display names, folders first; distinct within the torrent. A single file has just its name. */
  readonly path: readonly string[]
  /** The names as the metainfo has them. */
  readonly rawPath: readonly Buffer[]
  readonly offset: Bytes
  readonly length: Bytes
  /** BEP 47: fills up a piece. */
  readonly padding: boolean
  readonly executable: boolean
  /** BEP 47: a symbolic link to a file of the torrent; the target is relative and of display names. */
  readonly link?: string
  /** Not to be shown: padding, or a link that leads nowhere in the torrent. */
  readonly hidden: boolean
}

export interface TorrentNode {
  readonly host: string
  readonly port: number
}
