import { AnnexfsError } from '../errors.js'
import type { Source } from '../sources/source.js'
import { webSeedSource } from '../sources/web-seed.js'
import { keyHash, type Key } from '../annex/key.js'
import type { Bytes } from '../space/space.js'
import type { Metainfo } from '../torrent/torrent.js'
import { checkWhole } from '../verify/whole.js'
import type { CheckWhole } from './wholeness.js'
import type { SourceList } from '../scheduler/supply.js'
import type { TorrentContent } from './content.js'
import { isWrongTorrent, setWrongTorrent } from './known-torrents.js'
import type { Deps } from './deps.js'
import { RoutedFile, type Route } from './routed-file.js'
import { spaceRoute } from './space-route.js'
import type { SpaceSpec } from './spaces.js'
import type { OpenFile } from './volume.js'

/** Opens a file of a torrent: a slice of its space, from the swarm and from web seeds (BEP 19). */
export async function openTorrentFile(content: TorrentContent, deps: Deps): Promise<OpenFile> {
  const metainfo = await content.torrent.load()
  const spec = torrentSlice(metainfo, content.file, deps)
  return new RoutedFile({
    contentId: content.id,
    size: spec.slice.length,
    log: deps.log,
    routes: [],
    first: spaceRoute('torrent', spec, deps),
  })
}

/** The slice that is file `index` of the torrent. @throws AnnexfsError NOT_FOUND. */
export function torrentSlice(metainfo: Metainfo, index: number, deps: Deps): SpaceSpec {
  const file = metainfo.files[index]
  if (file === undefined) {
    throw new AnnexfsError(
      'NOT_FOUND',
      `torrent ${metainfo.infohash} has ${metainfo.files.length} files, there is no number ${index + 1}`,
    )
  }
  return {
    slice: { space: metainfo.space, offset: file.offset, length: file.length },
    sources: () => Promise.resolve(torrentSources(metainfo, deps)),
    check: undefined,
  }
}

function torrentSources(metainfo: Metainfo, deps: Deps): SourceList {
  const sources: Source[] = [deps.swarm.source(metainfo, metainfo.peers)]
  if (deps.webSeeds) {
    for (const baseUrl of metainfo.webSeeds) {
      sources.push(webSeedSource({ torrent: metainfo, baseUrl, client: deps.client, log: deps.log }))
    }
  }
  return { sources, unusable: [] }
}

/**
 * A torrent's file as one of several ways to the content of a key. Its pieces have hashes, but nothing ties the torrent to
 * the key: when all of it is there it is compared with the key's hash too, and a torrent of something else is not used
 * for the key again.
 * @throws AnnexfsError CORRUPT when it is known not to be the key's content.
 */
export async function torrentRoute(
  metainfo: Metainfo,
  file: number,
  key: Key,
  size: Bytes,
  deps: Deps,
): Promise<Route> {
  const spec = torrentSlice(metainfo, file, deps)
  const hash = keyHash(key)
  if (spec.slice.length !== size || (await isWrongTorrent(key, metainfo, file, deps))) {
    throw new AnnexfsError('CORRUPT', `file ${file + 1} of torrent ${metainfo.infohash} is not the content of this key`)
  }
  if (hash === undefined) return spaceRoute(`torrent ${metainfo.infohash}`, spec, deps)
  const check: CheckWhole = async (slice, signal) => {
    const result = await checkWhole({ read: { cacheFolder: deps.cacheFolder }, slice, ...hash, signal })
    if (result === 'mismatch') await setWrongTorrent(key, metainfo, file, deps)
    return result
  }
  return spaceRoute(`torrent ${metainfo.infohash}`, { ...spec, check, checkedAs: key.raw }, deps)
}
