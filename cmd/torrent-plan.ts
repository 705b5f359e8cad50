import type { TorrentContent } from '../lib/engine/content.js'
import type { Volume } from '../lib/engine/volume.js'
import { AnnexfsError } from '../lib/errors.js'
import type { Bytes } from '../lib/space/space.js'
import type { Metainfo } from '../lib/torrent/torrent.js'
import type { FileNode, LinkNode } from '../lib/tree/tree.js'
import type { Content } from '../lib/engine/content.js'

/** A file of a torrent that is to be had. */
export interface PlannedFile {
  /** Safe names, the torrent's folder first; where it goes below the target folder. */
  readonly path: readonly string[]
  readonly node: FileNode<Content>
  /** Its place in the torrent's list. */
  readonly index: number
  readonly offset: Bytes
  readonly length: Bytes
}

export interface PlannedLink {
  readonly path: readonly string[]
  /** Relative, and within the torrent. */
  readonly target: string
}

export interface Plan {
  readonly metainfo: Metainfo
  /** All of the torrent, in its order. */
  readonly all: readonly PlannedFile[]
  readonly files: readonly PlannedFile[]
  readonly links: readonly PlannedLink[]
}

const NO_SIGNAL = new AbortController().signal

/**
 * What there is in a volume of one torrent, and what of it is selected; undefined while its metadata is not known.
 * @param selects gets a path below the torrent's own folder; of a single file its name.
 */
export async function planDownload(
  volume: Volume,
  selects: (path: readonly string[]) => boolean,
): Promise<Plan | undefined> {
  const nodes: { path: readonly string[]; node: FileNode<Content> | LinkNode }[] = []
  const walk = async (folder: readonly string[]): Promise<void> => {
    for (const { name, node } of await volume.list(`/${folder.join('/')}`, NO_SIGNAL)) {
      if (node.kind === 'dir') await walk([...folder, name])
      else nodes.push({ path: [...folder, name], node })
    }
  }
  await walk([])
  const first = nodes.map(({ node }) => contentOf(node)).find((content) => content !== undefined)
  if (first === undefined) return undefined
  const metainfo = await first.torrent.load()
  const all: PlannedFile[] = []
  const links: PlannedLink[] = []
  for (const { path, node } of nodes) {
    const content = contentOf(node)
    const file = content === undefined ? undefined : metainfo.files[content.file]
    if (node.kind === 'link') links.push({ path, target: node.target })
    else if (file !== undefined) all.push({ path, node, index: file.index, offset: file.offset, length: file.length })
  }
  all.sort((a, b) => a.index - b.index)
  const below = (path: readonly string[]): readonly string[] => (metainfo.multiFile ? path.slice(1) : path)
  const files = all.filter((file) => selects(below(file.path)))
  if (files.length === 0) {
    throw new AnnexfsError('NOT_FOUND', `no file of ${metainfo.name} is selected; annexfs torrent info lists them`)
  }
  return { metainfo, all, files, links: links.filter((one) => selects(below(one.path))) }
}

function contentOf(node: FileNode<Content> | LinkNode): TorrentContent | undefined {
  return node.kind === 'file' && node.content.kind === 'torrent' ? node.content : undefined
}
