import { withSuffix } from '../torrent/safe-name.js'

/** What has a name at one level of the tree, and the infohash that tells it from others. */
export interface Named {
  readonly infohash: string
  readonly name: string
  readonly multiFile: boolean
}

/**
 * Distinct names for the torrents of one folder, beside the names of its sub-folders, which keep theirs. A torrent whose
 * name nobody else has keeps it; all others get ` (1a2b3c4d)`, the beginning of their infohash, before the extension.
 * Depends on what is there and not on the order, so that two mounts of one folder agree.
 */
export function nameTorrents<T extends Named>(torrents: readonly T[], folders: ReadonlySet<string>): Map<string, T> {
  const count = new Map<string, number>()
  for (const { name } of torrents) count.set(name, (count.get(name) ?? 0) + 1)
  const named = new Map<string, T>()
  const clashing: T[] = []
  for (const torrent of torrents) {
    if (count.get(torrent.name) === 1 && !folders.has(torrent.name)) named.set(torrent.name, torrent)
    else clashing.push(torrent)
  }
  clashing.sort((a, b) => (a.infohash < b.infohash ? -1 : 1))
  for (const torrent of clashing)
    named.set(
      suffixed(torrent, (name) => named.has(name) || folders.has(name)),
      torrent,
    )
  return named
}

function suffixed(torrent: Named, taken: (name: string) => boolean): string {
  const kind = torrent.multiFile ? 'folder' : 'file'
  for (const mark of [torrent.infohash.slice(0, 8), torrent.infohash]) {
    const name = withSuffix(torrent.name, ` (${mark})`, kind)
    if (!taken(name)) return name
  }
  // Only another torrent that was named so on purpose has the whole infohash in its name.
  for (let count = 2; ; count += 1) {
    const name = withSuffix(torrent.name, ` (${torrent.infohash}) (${count})`, kind)
    if (!taken(name)) return name
  }
}
