import type { Asking } from '../space/awaited.js'
import type { ByteRange, Bytes, Milliseconds, PieceSpace, Urgency } from '../space/space.js'
import type { VerifiedPiece } from '../verify/piece.js'

/** One place that may have content: a remote, a URL, the swarm, an object file. Made per content. */
export interface Source {
  /** For logs, errors and xattrs, e.g. `web (http://host/path)`; without credentials. */
  readonly name: string
  /** git-annex's scale: 100 a local path, 200 the network; lower is tried first. */
  readonly cost: number
  /**
   * What it shares its line, its load and its health with: sources of one place, of whatever content, share limits and
   * measurements. A server's origin, a remote's folder, one swarm. Default: the name.
   */
  readonly place?: string
  /** What the user has configured for it. */
  readonly limits?: SourceLimits
  /** Looks whether it has the content, as cheaply as it can; undefined when it surely has not. */
  find(space: PieceSpace, signal: AbortSignal): Promise<Holding | undefined>
  /** Optional: the content's size and validator, for keys that do not say their size. */
  measure?(signal: AbortSignal): Promise<Measured | undefined>
  /** Lets go of connections and files. */
  close?(): void
}

export interface SourceLimits {
  /** How often a piece is asked for again after a failure (git-annex: `annex-retry`); default 2. */
  readonly retries?: number
  /** The pause before the first of them; each further one is twice as long (`annex-retry-delay`); default 250 ms. */
  readonly retryDelay?: Milliseconds
  /** A transfer that brings less than `bytes` in `within` is given up (`annex.stalldetection`). */
  readonly stall?: { readonly bytes: Bytes; readonly within: Milliseconds }
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
  /** True when any read costs the transfer of the whole content first: used when nothing better has the piece. */
  readonly whole?: boolean
  /** What tells the object there from a later one in its place (its time, say), where that is seen without reading it. */
  readonly version?: string | undefined
  /** On `performance.now()`'s clock: until then it takes no requests (429 and 503 with Retry-After), others go first. */
  closedUntil?(): Milliseconds
  has(range: ByteRange): boolean
  /**
   * The bytes of `range`, in order, in chunks of any size; exactly `range.end - range.start` of them, or it throws:
   * AnnexfsError UNAVAILABLE (gone, refused, cut off), CORRUPT (another length or validator than before), TIMED_OUT,
   * FORBIDDEN (policy), ABORTED (the signal). Stops promptly when the signal fires or the consumer returns early.
   * What it gives stays as it is. It may put the bytes into `room` and give views of that, which saves copying.
   */
  read(range: ByteRange, demand: Demand, room?: Room): AsyncIterable<Uint8Array>
  /** Optional, for sources that check pieces themselves and have them in the shared cache or at hand. */
  piece?(index: number, demand: Demand): Promise<VerifiedPiece>
}

/**
 * Where the content's bytes from offset `at` on are to go: as many as it is long, or undefined when there is no place for
 * them. What lies there counts for nothing until it is given. For sources that offer the content as it is; one that
 * deciphers, or joins chunks, must not pass it on.
 */
export type Room = (at: Bytes) => Uint8Array | undefined

export interface Demand extends Asking {
  readonly urgency: Urgency
}
