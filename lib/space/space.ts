/**
 * The one idea of annexfs: every file is a slice of a piece space. A piece space is a byte string of known length cut
 * into pieces of equal length (the last may be shorter). A piece is the unit of caching, verification and scheduling.
 * All ranges are half open: `[start, end)`, in bytes.
 */

/**
 * Names a piece space: equal ids mean equal bytes. Printable ASCII, at most 512 bytes, of the form `kind:rest`:
 * `key:<keyFile>` (an annexed key with a stable hash), `url:<sha256 of key, URL and validator>` (a key whose bytes may
 * differ between downloads), `btih:<40 hex>` (a v1 torrent), `blob:<sha>` (a git blob).
 */
export type SpaceId = string & { readonly __brand: 'SpaceId' }

/** A length or offset in bytes; always a safe integer. */
export type Bytes = number
/** Milliseconds, of a duration or since the epoch. */
export type Milliseconds = number

export interface PieceHashes {
  readonly algorithm: 'sha1'
  /** The expected digest of piece `index`. */
  at(index: number): Uint8Array
}

export interface PieceSpace {
  readonly id: SpaceId
  readonly length: Bytes
  readonly pieceLength: Bytes
  readonly hashes?: PieceHashes
}

/** A file: `length` bytes of `space` from `offset`. */
export interface Slice {
  readonly space: PieceSpace
  readonly offset: Bytes
  readonly length: Bytes
}

/** Half open: `[start, end)`. */
export interface ByteRange {
  readonly start: Bytes
  readonly end: Bytes
}

/** Why a piece is wanted; orders all fetching. `read`: someone waits now. */
export type Urgency = 'read' | 'readahead' | 'fill'

export function pieceCount(space: PieceSpace): number {
  return Math.ceil(space.length / space.pieceLength)
}

/** Length in bytes of piece `index` (the last may be shorter). */
export function pieceSize(space: PieceSpace, index: number): Bytes {
  return Math.min(space.pieceLength, space.length - index * space.pieceLength)
}

/** The byte range of piece `index` in its space. */
export function pieceRange(space: PieceSpace, index: number): ByteRange {
  const start = index * space.pieceLength
  return { start, end: start + pieceSize(space, index) }
}

const KIB = 1024
const MIB = 1024 * KIB
/** Small pieces make a random read cheap; this many of them make the index of a large file too big. */
const SMALLEST_PIECE = 128 * KIB
const LARGEST_PIECE = 1 * MIB
const MOST_SMALL_PIECES = 65_536

/**
 * The piece length for content without a torrent: 128 KiB (what one FUSE read asks at most) while that gives at most
 * 65,536 pieces (8 GiB), then doubling up to 1 MiB.
 */
export function pieceLengthFor(length: Bytes): Bytes {
  let pieceLength = SMALLEST_PIECE
  while (pieceLength < LARGEST_PIECE && length / pieceLength > MOST_SMALL_PIECES) pieceLength *= 2
  return pieceLength
}
