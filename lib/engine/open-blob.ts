import { LRUCache } from 'lru-cache'
import { AnnexfsError } from '../errors.js'
import { gitBlobSource } from '../sources/git-blob.js'
import { pieceLengthFor, type Bytes, type SpaceId } from '../space/space.js'
import type { BlobContent } from './content.js'
import type { Deps } from './deps.js'
import { RoutedFile } from './routed-file.js'
import { spaceRoute } from './space-route.js'
import type { OpenFile } from './volume.js'

/** Smaller files of git are read whole; larger ones go through the piece cache, since git gives blobs only from the start. */
const WHOLE_UP_TO: Bytes = 4 * 1024 * 1024
const KEPT: Bytes = 32 * 1024 * 1024

/** Opens files that are kept in git itself. */
export class BlobOpener {
  readonly #deps: Deps
  readonly #kept = new LRUCache<string, Buffer>({ maxSize: KEPT, sizeCalculation: (bytes) => bytes.byteLength + 256 })

  constructor(deps: Deps) {
    this.#deps = deps
  }

  async open(content: BlobContent): Promise<OpenFile> {
    if (content.size > WHOLE_UP_TO) return this.#openLarge(content)
    let bytes = this.#kept.get(content.sha)
    if (bytes === undefined) {
      const object = await content.git.objects.read(content.sha, WHOLE_UP_TO)
      if (object === undefined || object.type !== 'blob') {
        throw new AnnexfsError(
          'UNAVAILABLE',
          `the repository does not have blob ${content.sha} (a partial or damaged clone? try git fsck there)`,
        )
      }
      bytes = object.bytes
      this.#kept.set(content.sha, bytes)
    }
    return inMemory(content.id, bytes)
  }

  #openLarge(content: BlobContent): OpenFile {
    const space = {
      id: `blob:${content.sha}` as SpaceId,
      length: content.size,
      pieceLength: pieceLengthFor(content.size),
    }
    const spec = {
      slice: { space, offset: 0, length: space.length },
      sources: () => Promise.resolve({ sources: [gitBlobSource(content)], unusable: [] }),
      check: undefined,
    }
    // Git's own store is as good as the repository itself: there is nothing stricter to compare it with.
    const first = spaceRoute('git', spec, { ...this.#deps, verify: 'normal' })
    return new RoutedFile({ contentId: content.id, size: content.size, log: this.#deps.log, routes: [], first })
  }
}

function inMemory(contentId: string, bytes: Buffer): OpenFile {
  return {
    contentId,
    size: bytes.byteLength,
    read: (offset, length, into) => bytes.copy(into, 0, offset, Math.min(bytes.byteLength, offset + length)),
    close: () => undefined,
  }
}
