import { atHand, cachedSlices } from './cached-slices.js'
import { displayKey } from '../annex/key.js'
import { shownUrl } from '../net/url.js'
import { sourcesForKey } from '../sources/annex.js'
import type { Bytes } from '../space/space.js'
import type { Assurance } from '../verify/piece.js'
import type { Content, KeyContent, TorrentContent } from './content.js'
import type { Deps } from './deps.js'
import type { Cached } from './spaces.js'
import type { FileNode } from '../tree/tree.js'
import { unusable } from './unusable.js'

/**
 * The extended attributes of a file (doc/SEMANTICS.md): what it is, how much of it is at hand, how sure that is, and
 * where the rest would come from. Read from local records only, never from the network.
 */
export async function attributesOf(node: FileNode<Content>, deps: Deps): Promise<ReadonlyMap<string, string>> {
  const facts = await factsOf(node, deps)
  return new Map(
    Object.entries(facts).flatMap(([name, value]) =>
      value === undefined ? [] : [[`user.annexfs.${name}`, String(value)] as const],
    ),
  )
}

interface FileFacts {
  readonly key?: string
  readonly infohash?: string
  readonly size: Bytes | undefined
  readonly cached: Bytes
  readonly verified: Assurance
  readonly sources: string
}

async function factsOf(node: FileNode<Content>, deps: Deps): Promise<FileFacts> {
  const { content } = node
  if (content.kind === 'blob') {
    return { size: content.size, cached: content.size, verified: 'whole', sources: 'git' }
  }
  return content.kind === 'key' ? keyFacts(content, deps) : torrentFacts(content, deps)
}

async function keyFacts(content: KeyContent, deps: Deps): Promise<FileFacts> {
  const { annex, key } = content
  const name = displayKey(key)
  const object = await annex.objectPath(key)
  const found = await sourcesForKey({ annex, key, stores: deps.stores.of(annex), log: deps.log })
  const usable = [
    ...(object === undefined ? [] : ['local object']),
    ...found.sources.map((source) => source.name),
    ...found.torrents.map((torrent) => shownUrl(torrent.url)),
  ]
  // Where there is no way to it, that is what there is to say.
  const others = usable.length === 0 ? unusable(found) : found.unsupported
  const sources = [...usable, ...others.map(({ source, reason }) => `${source}: ${reason}`)].join('\n')
  for (const source of found.sources) source.close?.()
  if (object !== undefined) {
    return { key: name, size: object.size, cached: object.size, verified: 'none', sources }
  }
  const slices = await cachedSlices(content, deps)
  const size = slices.plain?.length
  const infohash = slices.manifest?.infohash
  return {
    key: name,
    ...(infohash !== undefined && { infohash }),
    size,
    ...shown(atHand(slices, deps.spaces)),
    sources,
  }
}

async function torrentFacts(content: TorrentContent, deps: Deps): Promise<FileFacts> {
  const { torrent } = content
  const metainfo = await torrent.load()
  const file = metainfo.files[content.file]
  const slice = { space: metainfo.space, offset: file?.offset ?? 0, length: file?.length ?? 0 }
  const sources = ['swarm', ...(deps.webSeeds ? metainfo.webSeeds.map((url) => shownUrl(url)) : [])].join('\n')
  return { infohash: torrent.infohash, size: slice.length, ...shown(deps.spaces.cached(slice)), sources }
}

function shown({ bytes, assurance }: Cached): Pick<FileFacts, 'cached' | 'verified'> {
  return { cached: bytes, verified: assurance }
}
