import { stat } from 'node:fs/promises'
import { relative, resolve } from 'node:path'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Content } from '../engine/content.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { FolderState } from './torrent-entries.js'
import { TorrentItem, TorrentMemory } from './torrent-item.js'
import { MagnetResolver, type MagnetTimes, type MetainfoFacts, type ResolveMagnet } from './torrent-magnets.js'
import { DEEPEST_FOLDER, TorrentScan } from './torrent-scan.js'
import { SETTLES_AFTER } from './torrent-source-file.js'
import { watchWithChokidar, type WatchFolder } from './torrent-watch.js'
import type { Entry, Node, Tree } from './tree.js'

/** Watching misses events; everything is looked at this often as well. */
const RESCAN_INTERVAL: Milliseconds = 5_000
/** Events that come together are handled together. */
const GATHER: Milliseconds = 20
/** Above this many changed names a folder is looked at as a whole. */
const MOST_NAMES = 500
/** A rescan of a huge folder may take at most this share of the time: one part in ten. */
const RESCAN_SHARE = 10
const LONGEST_RESCAN_INTERVAL: Milliseconds = 60_000

export interface TorrentFolderOptions {
  readonly folder: string
  readonly log: Log
  /** Asks peers for the raw info dictionary of a magnet; called in the background. */
  readonly resolveMagnet: ResolveMagnet
  readonly facts: MetainfoFacts
  readonly rescanInterval?: Milliseconds
  readonly magnetTimes?: MagnetTimes
  readonly watch?: WatchFolder
}

/**
 * A folder of `.torrent` and `.magnet` files and its sub-folders, each torrent shown as the file or folder that it is. It
 * follows the folder: what is added, replaced or removed there appears, changes or vanishes. Lookups look only into
 * memory, but for the file lists of torrents that there are too many of to keep.
 */
export class TorrentFolder implements Tree<Content> {
  readonly #folder: string
  readonly #log: Log
  readonly #memory = new TorrentMemory()
  readonly #magnets: MagnetResolver
  readonly #scan: TorrentScan
  readonly #rescanInterval: Milliseconds
  readonly #controller = new AbortController()
  #watcher: { close(): Promise<void> } | undefined
  /** Names to look at, by raw path of their folder. */
  readonly #pending = new Map<string, Set<string> | 'all'>()
  #rescanDue = false
  #working: Promise<void> | undefined
  #gathering: NodeJS.Timeout | undefined
  #rescanTimer: NodeJS.Timeout | undefined
  /** When the next rescan is due, on the clock of `performance.now()`. */
  #rescanAt = Number.POSITIVE_INFINITY
  #lastWatchError = ''

  private constructor(options: TorrentFolderOptions) {
    this.#folder = resolve(options.folder)
    this.#log = options.log
    this.#rescanInterval = options.rescanInterval ?? RESCAN_INTERVAL
    this.#magnets = new MagnetResolver({
      resolve: options.resolveMagnet,
      facts: options.facts,
      log: options.log,
      ...(options.magnetTimes !== undefined && { times: options.magnetTimes }),
    })
    this.#scan = new TorrentScan({
      folder: this.#folder,
      memory: this.#memory,
      magnets: this.#magnets,
      log: options.log,
      signal: this.#controller.signal,
    })
  }

  /**
   * Reads the folder, and follows it from then on.
   * @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY when there is no such folder.
   */
  static async open(options: TorrentFolderOptions): Promise<TorrentFolder> {
    await refuseNoFolder(options.folder)
    const tree = new TorrentFolder(options)
    const watch = options.watch ?? watchWithChokidar
    // Watching comes first, so that nothing falls between the reading and the watching.
    tree.#watcher = watch(tree.#folder, {
      depth: DEEPEST_FOLDER,
      onChange: (path) => tree.#noteChange(path),
      onError: (error) => tree.#noteWatchError(error),
    })
    tree.#rescanDue = true
    await tree.#work()
    return tree
  }

  lookup(path: string, _signal: AbortSignal): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    const found = this.#find(path)
    if (found === undefined) return undefined
    if (found.at instanceof TorrentItem) return found.at.lookup(found.rest)
    return { kind: 'dir', mtime: found.at.mtime }
  }

  async list(path: string, _signal: AbortSignal): Promise<readonly Entry<Content>[]> {
    const found = this.#find(path)
    if (found === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path} in the torrent folder`)
    if (found.at instanceof TorrentItem) return listItem(found.at, found.rest, path)
    return Array.from(found.at.shown(this.#memory), ([name, at]) => ({
      name,
      node: at instanceof TorrentItem ? at.node() : { kind: 'dir', mtime: at.mtime },
    }))
  }

  async close(): Promise<void> {
    this.#controller.abort()
    clearTimeout(this.#gathering)
    clearTimeout(this.#rescanTimer)
    await this.#watcher?.close()
    await this.#working
    this.#scan.close()
    await this.#magnets.close()
  }

  #find(path: string): { at: FolderState | TorrentItem; rest: readonly string[] } | undefined {
    const names = path.split('/').filter((name) => name !== '')
    let folder = this.#scan.root
    for (const [index, name] of names.entries()) {
      const next = folder.shown(this.#memory).get(name)
      if (next === undefined) return undefined
      if (next instanceof TorrentItem) return { at: next, rest: names.slice(index + 1) }
      folder = next
    }
    return { at: folder, rest: [] }
  }

  #noteChange(path: string): void {
    if (this.#controller.signal.aborted) return
    const below = Buffer.from(relative(this.#folder, resolve(path))).toString('latin1')
    if (below.startsWith('..')) return
    if (below === '') this.#pending.set('', 'all')
    else {
      const slash = below.lastIndexOf('/')
      const parent = below.slice(0, Math.max(0, slash))
      const names = this.#pending.get(parent) ?? new Set<string>()
      if (names !== 'all') names.add(below.slice(slash + 1))
      this.#pending.set(parent, names === 'all' || names.size > MOST_NAMES ? 'all' : names)
    }
    this.#gather(GATHER)
  }

  #noteWatchError(error: unknown): void {
    const reason = reasonOf(error)
    if (reason !== this.#lastWatchError) {
      this.#lastWatchError = reason
      this.#log.warn('the torrent folder cannot be watched well, looking at it now and then instead', { reason })
    }
    this.#rescanDue = true
    this.#gather(GATHER)
  }

  #gather(delay: Milliseconds): void {
    if (this.#controller.signal.aborted || this.#gathering !== undefined) return
    this.#gathering = setTimeout(() => {
      this.#gathering = undefined
      void this.#work()
    }, delay)
  }

  /** Looks at what is due, one caller at a time; never rejects. */
  #work(): Promise<void> {
    this.#working ??= this.#workOff()
      .catch((error: unknown) => this.#log.error('looking at the torrent folder failed', { reason: reasonOf(error) }))
      .finally(() => {
        this.#working = undefined
        if (this.#rescanDue || this.#pending.size > 0) this.#gather(GATHER)
      })
    return this.#working
  }

  async #workOff(): Promise<void> {
    this.#scan.unsettled = false
    const changes = [...this.#pending]
    this.#pending.clear()
    if (this.#rescanDue) {
      this.#rescanDue = false
      const began = performance.now()
      await this.#scan.all()
      this.#scheduleRescan(performance.now() - began)
    } else {
      for (const [path, names] of changes) {
        const { folder, exact } = this.#nearest(path)
        if (exact && names !== 'all') await this.#scan.some(folder, names)
        else await this.#scan.all(folder)
      }
    }
    if (this.#scan.unsettled) this.#rescanWithin(SETTLES_AFTER + 100)
  }

  #scheduleRescan(took: Milliseconds): void {
    this.#rescanWithin(Math.min(Math.max(this.#rescanInterval, took * RESCAN_SHARE), LONGEST_RESCAN_INTERVAL))
  }

  /** Never later than what was scheduled before, or constant changes would put it off for ever. */
  #rescanWithin(delay: Milliseconds): void {
    const at = performance.now() + delay
    if (this.#controller.signal.aborted || this.#rescanAt <= at) return
    this.#rescanAt = at
    clearTimeout(this.#rescanTimer)
    this.#rescanTimer = setTimeout(() => {
      this.#rescanAt = Number.POSITIVE_INFINITY
      this.#rescanDue = true
      void this.#work()
    }, delay)
  }

  /** The folder at a raw path, or the nearest above it that is known. */
  #nearest(path: string): { folder: FolderState; exact: boolean } {
    let folder = this.#scan.root
    for (const name of path.split('/').filter((part) => part !== '')) {
      const next = folder.folders.get(name)
      if (next === undefined) return { folder, exact: false }
      folder = next
    }
    return { folder, exact: true }
  }
}

/** @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY */
export async function listItem(item: TorrentItem, rest: readonly string[], path: string): Promise<Entry<Content>[]> {
  const entries = await item.list(rest)
  if (entries !== undefined) return entries
  const node = await item.lookup(rest)
  if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path} in the torrent ${item.name}`)
  throw new AnnexfsError('NOT_A_DIRECTORY', `${path} is no folder`)
}

async function refuseNoFolder(folder: string): Promise<void> {
  let stats
  try {
    stats = await stat(folder)
  } catch (error) {
    throw new AnnexfsError('NOT_FOUND', `cannot look at the torrent folder ${folder}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
  if (!stats.isDirectory()) throw new AnnexfsError('NOT_A_DIRECTORY', `${folder} is not a folder`)
}
