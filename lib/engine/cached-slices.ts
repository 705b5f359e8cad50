import { pieceLengthFor, type Slice } from '../space/space.js'
import type { KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { keySpaceId, learnedSize } from './open-key.js'

export interface CachedSlices {
  /** In the key's own piece space; undefined while its size is not known. */
  readonly plain: Slice | undefined
  /** In that of its manifest, where there is one. */
  readonly manifest: (Slice & { readonly infohash: string }) | undefined
}

/**
 * As what a key's content may lie in the cache: what was fetched before its manifest was there is kept by the key, what is
 * read since by the manifest's torrent. Looks at local records only.
 */
export async function cachedSlices(content: KeyContent, deps: Deps): Promise<CachedSlices> {
  const { key } = content
  const length = key.size ?? (await learnedSize(key, deps))?.size
  if (length === undefined) return { plain: undefined, manifest: undefined }
  const space = { id: await keySpaceId(key, deps), length, pieceLength: pieceLengthFor(length) }
  const { metainfo } = await deps.manifests.find(content)
  return {
    plain: { space, offset: 0, length },
    manifest:
      metainfo === undefined ? undefined : { space: metainfo.space, offset: 0, length, infohash: metainfo.infohash },
  }
}
