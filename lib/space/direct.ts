import type { Bytes, Milliseconds } from './space.js'

/**
 * Where bytes lie on disk that may be read without asking: by the threads that take requests from the kernel
 * (lib/fuse/direct-reads.ts). An optional ability of everything between the cache and an open file.
 */
export interface DirectRead {
  readonly from: PiecesOnDisk | PlainFile
  /** Where the file begins in what it is read from. */
  readonly start: Bytes
  /** Fires when nothing may be read that way any more: what is there was found wrong. */
  readonly ended: AbortSignal
}

/** A space of the cache. The descriptors are the cache's: to be duplicated at once. The format is that of lib/cache/format.ts. */
export interface PiecesOnDisk {
  readonly kind: 'pieces'
  readonly data: number
  readonly index: number
  readonly length: Bytes
  readonly pieceLength: Bytes
  readonly stride: Bytes
  readonly recordsAt: Bytes
  readonly sumsAt: Bytes
  readonly blocks: number
  readonly seed: number
}

/** A file that is read in place, as long as its size and time stay what they are. */
export interface PlainFile {
  readonly kind: 'file'
  readonly data: number
  readonly size: Bytes
  readonly mtime: Milliseconds
}
