import type { Key } from '../annex/key.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { GitRepository } from '../git/repository.js'
import type { Torrent } from '../torrent/metainfo.js'
import type { Bytes } from '../space/space.js'

/** What a file node of any tree holds. `id`: equal ids mean equal bytes. */
export type Content = BlobContent | KeyContent | TorrentContent

/** A file kept in git itself. */
export interface BlobContent {
  readonly kind: 'blob'
  readonly id: string
  readonly git: GitRepository
  readonly sha: string
  readonly size: Bytes
}

/** An annexed file. */
export interface KeyContent {
  readonly kind: 'key'
  readonly id: string
  readonly annex: AnnexRepository
  readonly key: Key
}

/** A file of a torrent. */
export interface TorrentContent {
  readonly kind: 'torrent'
  readonly id: string
  readonly torrent: Torrent
  /** Index into `torrent.files`. */
  readonly file: number
}
