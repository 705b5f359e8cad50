import type { Content } from '../engine/content.js'
import type { DirNode, FileNode, Node } from '../tree/tree.js'
import { withDeadline } from '../deadline.js'
import { patience, type Exchange } from './exchange.js'

/** What lies at a path, after symbolic links. */
export interface Found {
  /** Where it really is. */
  readonly path: string
  readonly node: DirNode | FileNode<Content>
}

type Place = Pick<Exchange, 'volume' | 'signal' | 'readTimeout'>

/** As many as Linux follows. */
const MOST_LINKS = 40

/**
 * What lies at `path`, following symbolic links as a kernel would in a mount, but never out of the tree: HTTP has no
 * links. Undefined when there is nothing, a link leads out of the tree or in circles.
 */
export async function followed(place: Place, path: string): Promise<Found | undefined> {
  let wanted = path
  for (let links = 0; links <= MOST_LINKS; links++) {
    const direct = await lookup(place, wanted)
    if (direct !== undefined && direct.kind !== 'link') return { path: wanted, node: direct }
    const next = direct === undefined ? await throughParents(place, wanted) : targetPath(wanted, direct.target)
    if (next === undefined) return undefined
    wanted = next
  }
  return undefined
}

/** `path` with the first symbolic link of its folders replaced by what it says; undefined when none is one. */
async function throughParents(place: Place, path: string): Promise<string | undefined> {
  for (let end = path.indexOf('/', 1); end > 0; end = path.indexOf('/', end + 1)) {
    const folder = path.slice(0, end)
    const node = await lookup(place, folder)
    if (node === undefined || node.kind === 'file') return undefined
    if (node.kind !== 'link') continue
    const target = targetPath(folder, node.target)
    return target === undefined ? undefined : `${target === '/' ? '' : target}${path.slice(end)}`
  }
  return undefined
}

/** Longer ones come from nothing that was meant well. */
const LONGEST_PATH = 16_384

/** Where a link at `path` leads; undefined when that is outside of the tree. */
export function targetPath(path: string, target: string): string | undefined {
  if (target === '' || target.startsWith('/') || target.length > LONGEST_PATH) return undefined
  const parts = path.slice(1).split('/').slice(0, -1)
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) return undefined
  }
  return parts.join('/').length > LONGEST_PATH ? undefined : `/${parts.join('/')}`
}

async function lookup(place: Place, path: string): Promise<Node<Content> | undefined> {
  const found = place.volume.lookup(path, place.signal)
  if (!(found instanceof Promise)) return found
  return withDeadline(patience(place, `looking up ${path}`), () => found)
}
