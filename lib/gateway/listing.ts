import type { Content } from '../engine/content.js'
import type { Milliseconds } from '../space/space.js'
import type { DirNode, Entry, FileNode } from '../tree/tree.js'
import { withDeadline } from '../deadline.js'
import { patience, type Exchange } from './exchange.js'
import { followed } from './resolve.js'

/** An entry of a folder as HTTP sees it: links are what they lead to. */
export interface Listed {
  readonly name: string
  /** Undefined for a link that leads nowhere, out of the tree, or in circles. */
  readonly node: DirNode | FileNode<Content> | undefined
  readonly mtime: Milliseconds
}

type Place = Pick<Exchange, 'volume' | 'signal' | 'readTimeout'>

/** Larger folders come in the order of their tree: sorting them would hold up everybody else. */
const MOST_SORTED = 20_000

/** The entries of the folder at `path`. @throws AnnexfsError as {@link Volume.list}. */
export async function entriesOf(place: Place, path: string): Promise<readonly Entry<Content>[]> {
  const entries = await withDeadline(patience(place, `listing ${path}`), (abort) => place.volume.list(path, abort))
  if (entries.length > MOST_SORTED) return entries
  return [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** A folder that was asked for: what the client calls it, and where it lies after symbolic links. */
export interface Folder {
  readonly asked: string
  readonly path: string
}

/**
 * As shown to clients, one by one. Over HTTP a link to a folder looks like a folder, and who copies a whole tree would go
 * in circles: so it is none where it leads to a folder that it lies in, or was reached through another link.
 */
export async function* listed(
  place: Place,
  { asked, path }: Folder,
  entries: readonly Entry<Content>[],
): AsyncGenerator<Listed, undefined> {
  for (const { name, node } of entries) {
    const { mtime } = node
    // A listing does not know the sizes that were learned of keys without one: a look-up does.
    const direct = node.kind === 'dir' || (node.kind === 'file' && node.size !== undefined)
    if (direct) {
      yield { name, node, mtime }
      continue
    }
    const found = await followed(place, below(path, name))
    const circles = found?.node.kind === 'dir' && (asked !== path || `${path}/`.startsWith(below(found.path, '')))
    const shown = circles ? undefined : found?.node
    yield { name, node: shown, mtime: shown?.mtime ?? mtime }
  }
}

function below(folder: string, name: string): string {
  return `${folder === '/' ? '' : folder}/${name}`
}
