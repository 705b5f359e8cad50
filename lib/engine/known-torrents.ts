import type { Key } from '../annex/key.js'
import { torrentsForKey } from '../sources/annex.js'
import type { Bytes, Slice } from '../space/space.js'
import type { Metainfo } from '../torrent/torrent.js'
import type { KeyContent } from './content.js'
import type { Deps } from './deps.js'
import { knownTorrentAt, mayKnowTorrents } from './torrent-urls.js'

/** A file of a torrent that a key records, and the slice of the torrent's space that it is. */
export interface KnownTorrent {
  readonly metainfo: Metainfo
  /** Index into `metainfo.files`. */
  readonly file: number
  readonly slice: Slice
}

export interface KnownTorrents {
  readonly usable: readonly KnownTorrent[]
  /** How many were compared with the key and were something else. */
  readonly wrong: number
}

/** The recorded torrents of a key that may be used for it, as far as their metainfo is known: nobody is asked. */
export async function knownTorrents(content: KeyContent, size: Bytes, deps: Deps): Promise<KnownTorrents> {
  const usable: KnownTorrent[] = []
  let wrong = 0
  if (!(await mayKnowTorrents(deps))) return { usable, wrong }
  for (const { url, file: number } of await torrentsForKey(content)) {
    const metainfo = await knownTorrentAt(url, deps)
    const file = number - 1
    const found = metainfo?.files[file]
    if (metainfo === undefined || found === undefined || found.length !== size) continue
    if (await isWrongTorrent(content.key, metainfo, file, deps)) wrong += 1
    else usable.push({ metainfo, file, slice: { space: metainfo.space, offset: found.offset, length: found.length } })
  }
  return { usable, wrong }
}

/** Whether a torrent's file was compared with the key and was something else. */
export async function isWrongTorrent(
  key: Key,
  metainfo: Metainfo,
  file: number,
  { facts }: Pick<Deps, 'facts'>,
): Promise<boolean> {
  const wrong = await facts.get('torrent-wrong', wrongId(key, metainfo, file), (value) =>
    value === true ? true : undefined,
  )
  return wrong === true
}

/** It is not used for the key again. */
export async function setWrongTorrent(
  key: Key,
  metainfo: Metainfo,
  file: number,
  { facts }: Pick<Deps, 'facts'>,
): Promise<void> {
  await facts.set('torrent-wrong', wrongId(key, metainfo, file), true)
}

function wrongId(key: Key, { infohash }: Metainfo, file: number): string {
  return `${key.raw} ${infohash} ${file}`
}
