import type { Bytes, Milliseconds } from '../space/space.js'

/**
 * Names. A path is `/` or `/a/b`, of display names: valid Unicode, distinct within a folder, never empty, `.` or `..`,
 * without `/` and NUL, at most 255 bytes of UTF-8 (how other names are escaped: doc/SEMANTICS.md).
 */
export interface Tree<C> {
  /** The node at `path`, or undefined. Answers at once when it can; never waits for the network. */
  lookup(path: string, signal: AbortSignal): Node<C> | undefined | Promise<Node<C> | undefined>
  /** The entries of the folder at `path`. @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY. */
  list(path: string, signal: AbortSignal): Promise<readonly Entry<C>[]>
  close(): Promise<void>
}

export interface Entry<C> {
  readonly name: string
  readonly node: Node<C>
}

export type Node<C> = DirNode | FileNode<C> | LinkNode

export interface DirNode {
  readonly kind: 'dir'
  readonly mtime: Milliseconds
}

export interface LinkNode {
  readonly kind: 'link'
  readonly mtime: Milliseconds
  /** As recorded; never followed by us. */
  readonly target: string
}

export interface FileNode<C> {
  readonly kind: 'file'
  readonly mtime: Milliseconds
  /** Undefined while nobody knows it (a key without a size). */
  readonly size: Bytes | undefined
  readonly executable: boolean
  readonly content: C
}
