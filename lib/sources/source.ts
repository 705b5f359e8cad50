import type { ByteRange, Bytes, PieceSpace, Urgency } from '../space/space.js'
import type { VerifiedPiece } from '../verify/piece.js'

/** One place that may have content: a remote, a URL, the swarm, an object file. Made per content. */
export interface Source {
  /** For logs, errors and xattrs, e.g. `web (http://host/path)`; without credentials. */
  readonly name: string
  /** git-annex's scale: 100 a local path, 200 the network; lower is tried first. */
  readonly cost: number
  /** Looks whether it has the content, as cheaply as it can; undefined when it surely has not. */
  find(space: PieceSpace, signal: AbortSignal): Promise<Holding | undefined>
  /** Optional: the content's size and validator, for keys that do not say their size. */
  measure?(signal: AbortSignal): Promise<Measured | undefined>
  /** Lets go of connections and files. */
  close?(): void
}

export interface Measured {
  readonly size: Bytes
  /** What tells this content from a later one under the same name: `etag:"x"`, `mtime:…`; empty when there is none. */
  readonly validator: string
}

/** Content that a source has. */
export interface Holding {
  /** The smallest read worth its round trip, in bytes. */
  readonly unit: Bytes
  /** The longest range worth asking in one read, in bytes; the scheduler joins neighbouring pieces up to this. */
  readonly longest: Bytes
  /** How many reads at once it takes gladly. */
  readonly parallel: number
  has(range: ByteRange): boolean
  /**
   * The bytes of `range`, in order, in chunks of any size; exactly `range.end - range.start` of them, or it throws:
   * AnnexfsError UNAVAILABLE (gone, refused, cut off), CORRUPT (another length or validator than before), TIMED_OUT,
   * FORBIDDEN (policy), ABORTED (the signal). Stops promptly when the signal fires or the consumer returns early.
   */
  read(range: ByteRange, demand: Demand): AsyncIterable<Uint8Array>
  /** Optional, for sources that check pieces themselves and have them in the shared cache or at hand. */
  piece?(index: number, demand: Demand): Promise<VerifiedPiece>
}

export interface Demand {
  readonly urgency: Urgency
  readonly signal: AbortSignal
}
