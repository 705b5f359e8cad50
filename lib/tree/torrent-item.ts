import { LRUCache } from 'lru-cache'
import { AnnexfsError } from '../errors.js'
import type { Content } from '../engine/content.js'
import type { Bytes, Milliseconds, SpaceId } from '../space/space.js'
import { withSources, type Metainfo, type Torrent } from '../torrent/metainfo.js'
import { Gate } from './torrent-gate.js'
import { TorrentLayout, type LayoutNode } from './torrent-layout.js'
import type { Entry, Node } from './tree.js'

/** What is kept of a torrent for as long as it is listed. */
export interface Summary extends Omit<Torrent, 'load'> {
  readonly executable: boolean
  readonly createdAt: Milliseconds | undefined
}

/** One place that a torrent comes from: a `.torrent` file, or a line of a `.magnet` file whose metadata is known. */
export interface Origin {
  readonly summary: Summary
  /** When the file was last changed. */
  readonly mtime: Milliseconds
  /** Reads it again. @throws AnnexfsError NOT_FOUND when it has gone or is another torrent now. */
  read(): Promise<Metainfo>
}

/** File lists of all torrents of a tree together, in names; about 100 bytes each. */
const MOST_NAMES_KEPT = 2_000_000
/** Metainfo that was used lately; open files keep theirs anyway. */
const METAINFO_KEPT: Bytes = 64 * 1024 * 1024
const BYTES_A_FILE: Bytes = 300
/** Metainfo is read a few at a time: each may take 32 MiB. */
const LOADS_AT_ONCE = 4
/** Dates further ahead are mistakes (milliseconds written for seconds are common). */
const DAY: Milliseconds = 86_400_000

/** What the torrents of one tree share: bounded memory for what can be read again. */
export class TorrentMemory {
  readonly layouts = new LRUCache<string, TorrentLayout>({
    maxSize: MOST_NAMES_KEPT,
    sizeCalculation: (layout) => layout.weight,
  })
  readonly metainfos = new LRUCache<TorrentItem, Metainfo>({
    maxSize: METAINFO_KEPT,
    sizeCalculation: (metainfo) => metainfo.raw.length + metainfo.files.length * BYTES_A_FILE,
  })
  readonly gate = new Gate(LOADS_AT_ONCE)
  readonly loading = new Map<TorrentItem, Promise<Metainfo>>()
}

export function summaryOf(metainfo: Metainfo): Summary {
  const { infohash, spaceId, name, length, multiFile, createdAt } = metainfo
  const executable = !multiFile && metainfo.files[0]?.executable === true
  return { infohash, spaceId, name, length, multiFile, private: metainfo.private, executable, createdAt }
}

/** A torrent in a tree: a file, or a folder with its files. Made anew when its origins change. */
export class TorrentItem implements Torrent {
  readonly #memory: TorrentMemory
  readonly #summary: Summary
  readonly origins: readonly Origin[]
  readonly infohash: string
  readonly spaceId: SpaceId
  readonly name: string
  readonly length: Bytes
  readonly multiFile: boolean
  readonly private: boolean
  readonly mtime: Milliseconds

  constructor(first: Origin, others: readonly Origin[], memory: TorrentMemory) {
    const summary = first.summary
    this.#memory = memory
    this.#summary = summary
    this.origins = [first, ...others]
    this.infohash = summary.infohash
    this.spaceId = summary.spaceId
    this.name = summary.name
    this.length = summary.length
    this.multiFile = summary.multiFile
    this.private = summary.private
    const created = this.origins.map((origin) => origin.summary.createdAt ?? Number.POSITIVE_INFINITY)
    this.mtime = created.find((date) => date <= Date.now() + DAY) ?? first.mtime
  }

  /** @throws AnnexfsError NOT_FOUND when none of its origins is there any more. */
  async load(): Promise<Metainfo> {
    const known = this.#memory.metainfos.get(this)
    if (known !== undefined) return known
    const { loading, gate, metainfos } = this.#memory
    const running = loading.get(this)
    if (running !== undefined) return running
    const promise = gate.run(() => this.#read()).finally(() => loading.delete(this))
    loading.set(this, promise)
    const metainfo = await promise
    metainfos.set(this, metainfo)
    return metainfo
  }

  async #read(): Promise<Metainfo> {
    let merged: Metainfo | undefined
    let failure: unknown
    for (const origin of this.origins) {
      try {
        const metainfo = await origin.read()
        merged = merged === undefined ? metainfo : withSources(merged, metainfo)
      } catch (error) {
        // One origin is enough: another that has just gone is about to be noticed by the rescan.
        failure = error
      }
    }
    if (merged !== undefined) return merged
    throw failure instanceof AnnexfsError
      ? failure
      : new AnnexfsError('NOT_FOUND', `the metainfo of torrent ${this.infohash} cannot be read`, { cause: failure })
  }

  /** The node of the torrent itself. */
  node(): Node<Content> {
    if (this.multiFile) return { kind: 'dir', mtime: this.mtime }
    return this.#nodeOf({ kind: 'file', index: 0, size: this.length, executable: this.#summary.executable })
  }

  /** The node at `path` below a multi-file torrent; at once when its file list is in memory. */
  lookup(path: readonly string[]): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    if (path.length === 0) return this.node()
    if (!this.multiFile) return undefined
    const find = (layout: TorrentLayout): Node<Content> | undefined => {
      const found = layout.lookup(path)
      return found === undefined ? undefined : this.#nodeOf(found)
    }
    const layout = this.#memory.layouts.get(this.infohash)
    return layout === undefined ? this.#loadLayout().then(find) : find(layout)
  }

  /** The entries of the folder at `path` of a multi-file torrent, or undefined when that is no folder. */
  async list(path: readonly string[]): Promise<Entry<Content>[] | undefined> {
    if (!this.multiFile) return undefined
    const layout = this.#memory.layouts.get(this.infohash) ?? (await this.#loadLayout())
    return layout.list(path)?.map(({ name, node }) => ({ name, node: this.#nodeOf(node) }))
  }

  async #loadLayout(): Promise<TorrentLayout> {
    return keepLayout(await this.load(), this.#memory)
  }

  #nodeOf(found: LayoutNode): Node<Content> {
    if (found.kind === 'dir') return { kind: 'dir', mtime: this.mtime }
    if (found.kind === 'link') return { kind: 'link', mtime: this.mtime, target: found.target }
    return {
      kind: 'file',
      mtime: this.mtime,
      size: found.size,
      executable: found.executable,
      content: { kind: 'torrent', id: `${this.spaceId}/${found.index}`, torrent: this, file: found.index },
    }
  }
}

/** Makes and keeps the layout of a multi-file torrent. */
export function keepLayout(metainfo: Metainfo, memory: TorrentMemory): TorrentLayout {
  const layout = new TorrentLayout(metainfo.files)
  memory.layouts.set(metainfo.infohash, layout)
  return layout
}
