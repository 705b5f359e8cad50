import type { Content } from '../engine/content.js'
import type { Milliseconds } from '../space/space.js'
import type { DirNode, Entry, FileNode } from '../tree/tree.js'
import { withDeadline } from './deadline.js'
import type { Exchange } from './exchange.js'
import { followed } from './resolve.js'

/** An entry of a folder as HTTP sees it: links are what they lead to. */
export interface Listed {
  readonly name: string
  /** Undefined for a link that leads nowhere, or out of the tree. */
  readonly node: DirNode | FileNode<Content> | undefined
  readonly mtime: Milliseconds
}

type Place = Pick<Exchange, 'volume' | 'signal' | 'readTimeout'>

/** Larger folders come in the order of their tree: sorting them would hold up everybody else. */
const MOST_SORTED = 20_000

/** The entries of the folder at `path`. @throws AnnexfsError as {@link Volume.list}. */
export async function entriesOf(place: Place, path: string): Promise<readonly Entry<Content>[]> {
  const { volume, signal, readTimeout } = place
  const patience = { what: `listing ${path}`, timeout: readTimeout, signal }
  const entries = await withDeadline(patience, (abort) => volume.list(path, abort))
  if (entries.length > MOST_SORTED) return entries
  return [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** As shown to clients, one by one. */
export async function* listed(
  place: Place,
  path: string,
  entries: readonly Entry<Content>[],
): AsyncGenerator<Listed, undefined> {
  for (const { name, node } of entries) {
    const { mtime } = node
    // A listing does not know the sizes that were learned of keys without one: a look-up does.
    const direct = node.kind === 'dir' || (node.kind === 'file' && node.size !== undefined)
    const shown = direct ? node : (await followed(place, `${path === '/' ? '' : path}/${name}`))?.node
    yield { name, node: shown, mtime: shown?.mtime ?? mtime }
  }
}
