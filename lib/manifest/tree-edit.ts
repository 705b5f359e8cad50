import type { TreeEntry } from '../git/tree-object.js'
import type { NewEntry, TreeMaker } from './git-write.js'
import type { Entries, ManifestTrees } from './trees.js'

export const FOLDER = 0o040000
const FILE = 0o100644
const NO_ENTRIES: Entries = new Map()

/** A blob to be put at a place of the tree. */
export interface Placed {
  readonly path: readonly [string, string, string]
  readonly sha: string
}

/**
 * The tree `root` with blobs put into it; all else stays.
 * @returns the id of the new tree. @throws AnnexfsError SYSTEM.
 */
export async function placeBlobs(
  trees: ManifestTrees,
  maker: TreeMaker,
  root: string | undefined,
  placed: readonly Placed[],
): Promise<string> {
  const byFolder = grouped(placed)
  const top = await entriesOf(trees, root)
  const folders: NewEntry[] = []
  for (const [first, inFirst] of byFolder) {
    const middle = await entriesOf(trees, folderAt(top, first))
    const inner: NewEntry[] = []
    for (const [second, blobs] of inFirst) {
      const files = await entriesOf(trees, folderAt(middle, second))
      const sha = await maker.make(
        changed(
          files,
          blobs.map(({ path, sha: blob }) => ({ mode: FILE, name: path[2], sha: blob })),
        ),
      )
      inner.push({ mode: FOLDER, name: second, sha })
    }
    folders.push({ mode: FOLDER, name: first, sha: await maker.make(changed(middle, inner)) })
  }
  return maker.make(changed(top, folders))
}

/** `entries` with others added or put in their place. */
export function changed(entries: Entries, others: readonly NewEntry[]): Iterable<NewEntry> {
  const all = new Map<string, NewEntry>(entries)
  for (const entry of others) all.set(entry.name, entry)
  return all.values()
}

export async function entriesOf(trees: ManifestTrees, tree: string | undefined): Promise<Entries> {
  return tree === undefined ? NO_ENTRIES : trees.entries(tree)
}

/** The id of the folder `name`, or undefined when there is none (something else of that name gives way). */
export function folderAt(entries: Entries, name: string): string | undefined {
  const entry: TreeEntry | undefined = entries.get(name)
  return entry !== undefined && (entry.mode & 0o170000) === FOLDER ? entry.sha : undefined
}

function grouped(placed: readonly Placed[]): Map<string, Map<string, Placed[]>> {
  const groups = new Map<string, Map<string, Placed[]>>()
  for (const one of placed) {
    const [first, second] = one.path
    const inFirst = groups.get(first) ?? new Map<string, Placed[]>()
    groups.set(first, inFirst)
    const inSecond = inFirst.get(second) ?? []
    inFirst.set(second, inSecond)
    inSecond.push(one)
  }
  return groups
}
