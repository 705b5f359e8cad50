import { safeName, withSuffix } from '../torrent/safe-name.js'
import { TorrentItem, type Origin, type TorrentMemory } from './torrent-item.js'
import { nameTorrents } from './torrent-names.js'
import type { SourceFile } from './torrent-source-file.js'

/** A folder on disk as it was last looked at, and how it is shown. Names in it are raw bytes, held as latin1. */
export class FolderState {
  /** The path below the watched folder, raw; empty for that folder itself. */
  readonly path: string
  readonly depth: number
  mtime = 0
  readonly folders = new Map<string, FolderState>()
  readonly files = new Map<string, SourceFile>()
  #shown: ReadonlyMap<string, FolderState | TorrentItem> | undefined
  #items: ReadonlyMap<string, TorrentItem> = new Map()

  constructor(path: string, depth: number) {
    this.path = path
    this.depth = depth
  }

  /** Must be called after a change of {@link folders}, {@link files} or the origins of a file. */
  changed(): void {
    this.#shown = undefined
  }

  /** What the folder shows, by display name; made when it is first asked for after a change. */
  shown(memory: TorrentMemory): ReadonlyMap<string, FolderState | TorrentItem> {
    if (this.#shown !== undefined) return this.#shown
    const shown = new Map<string, FolderState | TorrentItem>()
    for (const [raw, folder] of sorted(this.folders)) shown.set(folderName(raw, shown), folder)
    this.#items = this.#torrents(memory)
    const names = nameTorrents([...this.#items.values()], new Set(shown.keys()))
    for (const [name, item] of names) shown.set(name, item)
    this.#shown = shown
    return shown
  }

  /** One item for each infohash; the one there was, when nothing about it has changed. */
  #torrents(memory: TorrentMemory): Map<string, TorrentItem> {
    const origins = new Map<string, Origin[]>()
    for (const [, file] of sorted(this.files)) {
      for (const origin of file.origins) {
        const others = origins.get(origin.summary.infohash)
        if (others === undefined) origins.set(origin.summary.infohash, [origin])
        else others.push(origin)
      }
    }
    const items = new Map<string, TorrentItem>()
    for (const [infohash, [first, ...others]] of origins) {
      if (first === undefined) continue
      const before = this.#items.get(infohash)
      const same = before !== undefined && isSame(before.origins, [first, ...others])
      items.set(infohash, same ? before : new TorrentItem(first, others, memory))
    }
    return items
  }
}

function folderName(raw: string, taken: ReadonlyMap<string, unknown>): string {
  const name = safeName(Buffer.from(raw, 'latin1'))
  if (!taken.has(name)) return name
  for (let count = 2; ; count += 1) {
    const candidate = withSuffix(name, ` (${count})`, 'folder')
    if (!taken.has(candidate)) return candidate
  }
}

/** In an order that does not depend on how things came to be there, so that names do not either. */
function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1))
}

function isSame(a: readonly Origin[], b: readonly Origin[]): boolean {
  return a.length === b.length && a.every((origin, index) => origin === b[index])
}
