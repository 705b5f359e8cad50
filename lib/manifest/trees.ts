import { LRUCache } from 'lru-cache'
import type { GitRepository } from '../git/repository.js'
import { treeEntries, type TreeEntry } from '../git/tree-object.js'

/** Longest tree object that is read: two levels of 4,096 folders leave a handful of manifests to each. */
const LONGEST_TREE = 4 * 1024 * 1024
/** Entries of tree objects that are kept. */
const KEPT_ENTRIES = 150_000

/** The entries of a tree by name (bytes as latin1); of entries of the same name, which git never makes, the first. */
export type Entries = ReadonlyMap<string, TreeEntry>

/** Looks names up in tree objects, one tree at a time; never lists more than that. */
export class ManifestTrees {
  readonly #git: GitRepository
  readonly #kept = new LRUCache<string, Entries>({
    maxSize: KEPT_ENTRIES,
    sizeCalculation: (entries) => entries.size + 1,
  })

  constructor(git: GitRepository) {
    this.#git = git
  }

  /** The id of the blob at `path` below the tree `root`, or undefined. @throws AnnexfsError INVALID, SYSTEM. */
  async find(root: string, path: readonly string[]): Promise<string | undefined> {
    let sha: string | undefined = root
    for (const name of path) {
      if (sha === undefined) return undefined
      const found: TreeEntry | undefined = (await this.entries(sha)).get(name)
      sha = found?.sha
    }
    return sha
  }

  /** All entries of the tree `sha`; none for what is no tree. @throws AnnexfsError INVALID for a huge one, SYSTEM. */
  async entries(sha: string): Promise<Entries> {
    const kept = this.#kept.get(sha)
    if (kept !== undefined) return kept
    const object = await this.#git.objects.read(sha, LONGEST_TREE)
    const entries = new Map<string, TreeEntry>()
    if (object?.type !== 'tree') return entries
    for (const entry of treeEntries(object.bytes, sha.length / 2)) {
      if (!entries.has(entry.name)) entries.set(entry.name, entry)
    }
    this.#kept.set(sha, entries)
    return entries
  }
}
