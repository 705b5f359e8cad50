import type { TorrentFile } from './torrent.js'

/**
 * Where the symbolic links of a torrent (BEP 47, `symlink path`) lead, by file index: the relative path of display names
 * to the file of the torrent that is meant, or undefined when there is none. A link never leads out of its torrent nor to
 * another link, so it cannot lead in circles.
 */
export function linkTargets(
  files: readonly TorrentFile[],
  targets: readonly (readonly Buffer[] | undefined)[],
): Map<number, string | undefined> {
  const byRawPath = new Map<string, TorrentFile>()
  for (const file of files) {
    if (file.padding || targets[file.index] !== undefined) continue
    const key = keyOf(file.rawPath)
    if (!byRawPath.has(key)) byRawPath.set(key, file)
  }
  const links = new Map<number, string | undefined>()
  for (const file of files) {
    const target = targets[file.index]
    if (target === undefined) continue
    const found = byRawPath.get(keyOf(target))
    links.set(file.index, found === undefined ? undefined : relative(file.path, found.path))
  }
  return links
}

function relative(from: readonly string[], to: readonly string[]): string {
  const folder = from.slice(0, -1)
  let same = 0
  while (same < folder.length && same < to.length - 1 && folder[same] === to[same]) same += 1
  return [...folder.slice(same).map(() => '..'), ...to.slice(same)].join('/')
}

/** Lengths tell `["a/b"]` from `["a", "b"]`. */
function keyOf(path: readonly Buffer[]): string {
  return path.map((component) => `${component.length}:${component.toString('latin1')}`).join('')
}
