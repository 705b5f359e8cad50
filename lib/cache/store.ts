import type { Assurance, Piece } from '../verify/piece.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, PieceSpace, Slice } from '../space/space.js'
import type { Evicted } from './evict.js'
import type { LowDisk } from './free-space.js'
import type { Pins } from './pins.js'
import type { Scratch } from './scratch.js'

/** The bounded piece store on disk; the reader and the seeder need just this of it. */
export interface PieceStore {
  /** The cached pieces of `space`. Cheap; does no I/O until it is used. Close it when done. */
  open(space: PieceSpace): CachedSpace
  /** Files of whole transfers, under the same bound. Whoever writes there must have ended before the store is closed. */
  readonly scratch: Scratch
  /** Content that is not evicted. */
  readonly pins: Pins
  /** Forgets the pieces that `slice` lies in, now, but for pinned ones; says how many were there. */
  evict(slice: Slice): Promise<Evicted>
  usage(): Promise<CacheUsage>
  /** What it takes of its bound, as it was some seconds ago: cheap to ask again and again. */
  room(): Promise<CacheRoom>
  /** What this process has evicted since it was started. */
  readonly evicted: Evicted
  close(): Promise<void>
}

export interface CacheUsage {
  /** Bytes on disk that count against the bound: piece data, indexes, and files of transfers. */
  readonly usedBytes: Bytes
  readonly limitBytes: Bytes
  readonly spaces: number
  readonly pieces: number
}

export interface CacheRoom {
  readonly usedBytes: Bytes
  readonly limitBytes: Bytes
  /** There while nothing can be cached, whatever is evicted. */
  readonly lowDisk?: LowDisk
}

export interface CachedSpace {
  readonly space: PieceSpace
  /** What the index says; the bytes may still turn out to be damaged or evicted when they are read. */
  has(index: number): boolean
  /**
   * Copies bytes `[start, end)` of piece `index` into `into` without waiting, if that is possible: `hit` (done and
   * their checksum was right), `miss` (not there, or damaged and now forgotten), `later` (use {@link read}: the disk
   * has been slow). `into` is at least `end - start` long; after anything but `hit` its content is undefined.
   */
  readSync(index: number, start: Bytes, end: Bytes, into: Uint8Array): 'hit' | 'miss' | 'later'
  /** Bytes `[start, end)` of piece `index` with the right checksum, or undefined when absent or damaged. */
  read(index: number, start: Bytes, end: Bytes): Promise<Uint8Array | undefined>
  /** Where pieces that are there lie on disk; undefined when none is, or none may be read there now. */
  direct?(): Omit<DirectRead, 'start'> | undefined
  /** Nothing may be read that way any more, by whoever does. */
  endDirect?(): void
  /** A piece was read that way. */
  used?(index: number): void
  /** Stores a piece. False when it could not be kept (disk full, no permission, bound too small): never throws. */
  put(piece: Piece): Promise<boolean>
  summary(): CachedSummary
  /** Cached bytes of `[start, end)` of the space, counting only present pieces. */
  cachedIn(start: Bytes, end: Bytes): Bytes
  /** A byte for each of the pieces `[from, to)`: 0 absent, 1 unchecked, 2 checked by its hash, 3 with the whole content. */
  states(from: number, to: number): Uint8Array
  /** Remembers that all pieces there now were checked together against the whole content's hash. */
  markWhole(): Promise<void>
  /** Forgets every piece, on disk too: what is there was shown to be wrong. */
  drop(): Promise<void>
  close(): void
}

export interface CachedSummary {
  readonly cachedBytes: Bytes
  readonly complete: boolean
  readonly assurance: Assurance
}
