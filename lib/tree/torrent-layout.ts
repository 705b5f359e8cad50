import type { Bytes } from '../space/space.js'
import type { TorrentFile } from '../torrent/torrent.js'

/** What one name in a torrent is. */
export type LayoutNode =
  | { readonly kind: 'dir' }
  | { readonly kind: 'file'; readonly index: number; readonly size: Bytes; readonly executable: boolean }
  | { readonly kind: 'link'; readonly target: string }

type Folder = Map<string, Folder | number>

/** The folders and files of one torrent by name, small enough that thousands of torrents are kept. */
export class TorrentLayout {
  readonly #top: Folder = new Map()
  readonly #sizes: Float64Array
  readonly #executable: Set<number> = new Set()
  readonly #links = new Map<number, string>()
  /** How many names it holds: what it costs in memory. */
  readonly weight: number

  constructor(files: readonly TorrentFile[]) {
    this.#sizes = new Float64Array(files.length)
    let names = 1
    for (const file of files) {
      if (file.hidden) continue
      this.#sizes[file.index] = file.length
      if (file.executable) this.#executable.add(file.index)
      if (file.link !== undefined) this.#links.set(file.index, file.link)
      let folder = this.#top
      for (const name of file.path.slice(0, -1)) {
        let next = folder.get(name)
        if (typeof next !== 'object') {
          next = new Map<string, Folder | number>()
          folder.set(name, next)
          names += 1
        }
        folder = next
      }
      const last = file.path.at(-1)
      if (last !== undefined) folder.set(last, file.index)
      names += 1
    }
    this.weight = names
  }

  /** What is at `path` below the torrent's own folder (empty for that folder), or undefined. */
  lookup(path: readonly string[]): LayoutNode | undefined {
    const found = this.#find(path)
    return found === undefined ? undefined : this.#describe(found)
  }

  /** The entries of the folder at `path`, or undefined when there is no such folder. */
  list(path: readonly string[]): { name: string; node: LayoutNode }[] | undefined {
    const found = this.#find(path)
    if (typeof found !== 'object') return undefined
    return Array.from(found, ([name, item]) => ({ name, node: this.#describe(item) }))
  }

  #find(path: readonly string[]): Folder | number | undefined {
    let found: Folder | number | undefined = this.#top
    for (const name of path) {
      if (typeof found !== 'object') return undefined
      found = found.get(name)
    }
    return found
  }

  #describe(item: Folder | number): LayoutNode {
    if (typeof item === 'object') return { kind: 'dir' }
    const target = this.#links.get(item)
    if (target !== undefined) return { kind: 'link', target }
    return { kind: 'file', index: item, size: this.#sizes[item] ?? 0, executable: this.#executable.has(item) }
  }
}
