import { AnnexfsError } from '../errors.js'
import type { Source } from '../sources/source.js'
import { webSeedSource } from '../sources/web-seed.js'
import type { Metainfo, Torrent } from '../torrent/torrent.js'
import type { SourceList } from '../scheduler/fetcher.js'
import type { TorrentContent } from './content.js'
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

/** A torrent's file as one of several ways to other content of `size` bytes. */
export async function torrentRoute(torrent: Torrent, file: number, size: number, deps: Deps): Promise<Route> {
  const metainfo = await torrent.load()
  const spec = torrentSlice(metainfo, file, deps)
  if (spec.slice.length !== size) {
    throw new AnnexfsError(
      'CORRUPT',
      `file ${file + 1} of torrent ${metainfo.infohash} has ${spec.slice.length} bytes, the key says ${size}`,
    )
  }
  return spaceRoute(`torrent ${metainfo.infohash}`, spec, deps)
}
