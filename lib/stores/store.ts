import type { Key } from '../annex/key.js'
import type { Demand } from '../sources/source.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'

/** What an object is stored under. */
export interface ObjectName {
  /** The key that the object is named by: the content's own, one of a chunk of it, or an encrypted one. */
  readonly key: Key
  /** The key of the content that it is (part of): what logs of the git-annex branch are kept under. */
  readonly content: Key
  /** In an exported or imported tree: the path below the store's root, raw bytes; the key then names no place. */
  readonly path?: Buffer
  /** Appended to the file name that the key gives: `.chunk1`, `.chunkcount` of old chunked directory and WebDAV stores. */
  readonly suffix?: string
  /** The object's size where it is known beforehand; that of an encrypted one never is. */
  readonly size?: Bytes
}

/**
 * A place that keeps objects under names: a git remote or special remote as it is, without chunks and encryption (those
 * are wrapped around it by `lib/sources/remote-key.ts`). One for each remote of a repository, kept while the repository
 * is open, so that connections and sessions last.
 */
export interface ObjectStore {
  /**
   * Looks for an object, as cheaply as it can. Undefined when it surely is not there. A store whose first read tells as
   * well as a question would (HTTP) may return an object unasked; its reads then fail with NOT_FOUND.
   * @throws AnnexfsError UNAVAILABLE, FORBIDDEN, TIMED_OUT, ABORTED; CORRUPT when there is one of another size.
   */
  open(name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined>
  /** Ends connections and processes; waits until they are gone. */
  close?(): Promise<void>
}

/** One object of a store. */
export interface StoredObject {
  /** The smallest read worth its round trip, in bytes; the whole size for what only comes whole. */
  readonly unit: Bytes
  /** The longest range worth asking in one read, in bytes. */
  readonly longest: Bytes
  /** How many reads at once it takes gladly. */
  readonly parallel: number
  /** Its bytes come in order from the start, however little of it is wanted (whole-key transfers). */
  readonly whole?: boolean
  /** When the server, which has asked for quiet, may be asked again (`performance.now()`); 0 or before now: at once. */
  closedUntil?(): Milliseconds
  /** As `Holding.version`. */
  readonly version?: string | undefined
  /** What was learned of the size; undefined when it shows only at the end. */
  readonly size?: Bytes
  /** Exactly the bytes of `range`, which lies within the size, as `Holding.read` gives them, with the same errors. */
  read(range: ByteRange, demand: Demand): AsyncIterable<Uint8Array>
  /**
   * All of it from the start, for objects of unknown size (encrypted ones).
   * @throws AnnexfsError CORRUPT after `most` bytes, and as `read`.
   */
  all(most: Bytes, demand: Demand): AsyncIterable<Uint8Array>
  /** Lets go of what this object alone holds. */
  close?(): void
}

/** A remote that can only give whole objects into a file: external programs, and git-annex itself. */
export interface WholeStore {
  /** Whether the file is written front to back, so that its beginning is usable while the rest is on its way. */
  readonly ordered: boolean
  /** False when it surely does not have it; undefined when only trying tells. */
  has(name: ObjectName, signal: AbortSignal): Promise<boolean | undefined>
  /**
   * Writes the object to `file`, which may hold a beginning from an earlier try. Resolves when it is complete;
   * `progress` is told how many bytes there are.
   * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, ABORTED.
   */
  retrieve(
    name: ObjectName,
    file: string,
    options: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<void>
  close?(): Promise<void>
}
