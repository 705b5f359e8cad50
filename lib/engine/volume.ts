import type { Entry, Node } from '../tree/tree.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Content } from './content.js'

/** What a mount, a gateway or a command sees: names and open files. Knows nothing of FUSE. */
export interface Volume {
  lookup(path: string, signal: AbortSignal): Node<Content> | undefined | Promise<Node<Content> | undefined>
  list(path: string, signal: AbortSignal): Promise<readonly Entry<Content>[]>
  /** Opens the content of a file node; may ask a source for the size (a key without one), within the signal. */
  open(node: Node<Content>, path: string, signal: AbortSignal): Promise<OpenFile>
  /** The extended attributes of a file, by name (`user.annexfs.key`…). Never waits for the network. */
  attributes(node: Node<Content>): Promise<ReadonlyMap<string, string>>
  /** Bytes and files for statfs; never waits for the network. */
  capacity(): Promise<Capacity>
  close(): Promise<void>
}

export interface Capacity {
  readonly totalBytes: Bytes
  readonly freeBytes: Bytes
}

export interface OpenFile {
  /** Equal ids mean equal bytes; another id under the same path means that its content has changed. */
  readonly contentId: string
  readonly size: Bytes
  /**
   * Reads up to `length` bytes at `offset`; short only at end of file. Either fills `into` now and returns the count,
   * or promises the bytes (and then leaves `into` alone: a FUSE buffer must not be written to later). Those are to be used
   * before the next turn of the event loop, or copied: their memory may be used for others then.
   * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, CORRUPT, FORBIDDEN, ABORTED.
   */
  read(offset: Bytes, length: Bytes, into: Uint8Array, signal?: AbortSignal): number | Promise<Uint8Array>
  /**
   * For who has read all of it and must know: waits for the check of the whole content, where one is possible now.
   * @throws AnnexfsError CORRUPT when what was read was wrong.
   */
  settled?(): Promise<void>
  /** Where its bytes lie that may be read without asking now; undefined when reads must come here. */
  direct?(): DirectRead | undefined
  /** Bytes were read that way, at that time of `performance.now()`. */
  noted?(offset: Bytes, length: Bytes, at: Milliseconds): void
  close(): void
}
