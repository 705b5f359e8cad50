import { pieceLengthFor, type Slice } from '../space/space.js'
import type { KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { knownTorrents } from './known-torrents.js'
import { keySpaceId, learnedSize } from './open-key.js'
import type { Cached, Spaces } from './spaces.js'

export interface CachedSlices {
  /** In the key's own piece space; undefined while its size is not known. */
  readonly plain: Slice | undefined
  /** In that of its manifest, where there is one. */
  readonly manifest: (Slice & { readonly infohash: string }) | undefined
  /** In those of the torrents that the key records, as far as these are known. */
  readonly torrents: readonly Slice[]
}

const NOWHERE: CachedSlices = { plain: undefined, manifest: undefined, torrents: [] }

/**
 * As what a key's content may lie in the cache: what was fetched before its manifest was there is kept by the key, what is
 * read since by the manifest's torrent, what came from a swarm by that torrent. Looks at local records only.
 */
export async function cachedSlices(content: KeyContent, deps: Deps): Promise<CachedSlices> {
  const { key } = content
  const length = key.size ?? (await learnedSize(key, deps))?.size
  if (length === undefined) return NOWHERE
  const space = { id: await keySpaceId(key, deps), length, pieceLength: pieceLengthFor(length) }
  const [{ metainfo }, torrents] = await Promise.all([
    deps.manifests.find(content),
    knownTorrents(content, length, deps),
  ])
  return {
    plain: { space, offset: 0, length },
    manifest:
      metainfo === undefined ? undefined : { space: metainfo.space, offset: 0, length, infohash: metainfo.infohash },
    torrents: torrents.usable.map(({ slice }) => slice),
  }
}

/** What is at hand of a key's content, as whatever it lies in the cache: as what it would be read, or as what most is there. */
export function atHand({ plain, manifest, torrents }: CachedSlices, spaces: Spaces): Cached {
  const verified = manifest === undefined ? NOTHING : spaces.cached(manifest)
  // What was cached before the manifest was there is a source for it.
  if (verified.bytes > 0) return verified
  const others = [...(plain === undefined ? [] : [plain]), ...torrents].map((slice) => spaces.cached(slice))
  return others.reduce((most, one) => (one.bytes > most.bytes ? one : most), NOTHING)
}

const NOTHING: Cached = { bytes: 0, assurance: 'none' }
