import { stat } from 'node:fs/promises'
import { AnnexfsError, abortError, reasonOf } from '../errors.js'
import type { Content } from '../engine/content.js'
import type { Log } from '../log/log.js'
import type { Magnet } from '../torrent/magnet.js'
import { LARGEST_METAINFO, parseMetainfo, type Metainfo } from '../torrent/metainfo.js'
import { listItem } from './torrent-folder.js'
import { TorrentItem, TorrentMemory, keepLayout, summaryOf, type Origin } from './torrent-item.js'
import { MagnetResolver, type MagnetTimes, type MetainfoFacts, type ResolveMagnet } from './torrent-magnets.js'
import { readRegularFile } from './torrent-read.js'
import type { Entry, Node, Tree } from './tree.js'

export interface SingleTorrentOptions {
  /** A `.torrent` file, or a magnet link. */
  readonly source: { readonly file: string } | { readonly magnet: Magnet }
  readonly log: Log
  readonly resolveMagnet: ResolveMagnet
  readonly facts: MetainfoFacts
  readonly magnetTimes?: MagnetTimes
}

/** One torrent as a tree: a top folder with the torrent's file or folder in it, once its metadata is known. */
export class SingleTorrent implements Tree<Content> {
  readonly #memory = new TorrentMemory()
  readonly #controller = new AbortController()
  #mtime = Date.now()
  #item: TorrentItem | undefined
  #known: Promise<void> = Promise.resolve()

  private constructor() {}

  /**
   * Reads a `.torrent` file, or begins to learn the metadata of a magnet (see {@link ready}).
   * @throws AnnexfsError INVALID, UNSUPPORTED for a file that is no usable torrent; NOT_FOUND when it cannot be read.
   */
  static async open(options: SingleTorrentOptions): Promise<SingleTorrent> {
    const tree = new SingleTorrent()
    const { source } = options
    if ('file' in source) {
      tree.#mtime = (await stat(source.file).catch(unreadable(source.file))).mtimeMs
      const { bytes } = await readRegularFile(source.file, LARGEST_METAINFO).catch(unreadable(source.file))
      tree.#show(parseMetainfo(bytes))
      return tree
    }
    const magnets = new MagnetResolver({
      resolve: options.resolveMagnet,
      facts: options.facts,
      log: options.log,
      ...(options.magnetTimes !== undefined && { times: options.magnetTimes }),
    })
    tree.#known = magnets.want(source.magnet, tree.#controller.signal).then((metainfo) => tree.#show(metainfo))
    tree.#known.catch((error: unknown) => {
      if (!tree.#controller.signal.aborted) options.log.error('the magnet cannot be used', { reason: reasonOf(error) })
    })
    return tree
  }

  /** Resolves when the torrent is shown. @throws AnnexfsError ABORTED, TIMED_OUT for `signal`; INVALID, UNSUPPORTED. */
  async ready(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => reject(abortError(signal))
      signal.addEventListener('abort', onAbort, { once: true })
      if (signal.aborted) onAbort()
      void this.#known.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
    })
  }

  lookup(path: string, _signal: AbortSignal): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    const [name, ...rest] = path.split('/').filter((part) => part !== '')
    if (name === undefined) return { kind: 'dir', mtime: this.#mtime }
    return this.#item?.name === name ? this.#item.lookup(rest) : undefined
  }

  async list(path: string, _signal: AbortSignal): Promise<readonly Entry<Content>[]> {
    const [name, ...rest] = path.split('/').filter((part) => part !== '')
    const item = this.#item
    if (name === undefined) return item === undefined ? [] : [{ name: item.name, node: item.node() }]
    if (item?.name !== name) throw new AnnexfsError('NOT_FOUND', `there is no ${path} in the torrent`)
    return listItem(item, rest, path)
  }

  async close(): Promise<void> {
    this.#controller.abort()
    // Its failure was told already.
    await this.#known.catch(() => undefined)
  }

  /** Kept in memory: it is but one, and its file may be gone tomorrow. */
  #show(metainfo: Metainfo): void {
    if (metainfo.multiFile) keepLayout(metainfo, this.#memory)
    const origin: Origin = { summary: summaryOf(metainfo), mtime: this.#mtime, read: () => Promise.resolve(metainfo) }
    this.#item = new TorrentItem(origin, [], this.#memory)
  }
}

function unreadable(path: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof AnnexfsError) {
      throw new AnnexfsError(error.code, `cannot read the torrent ${path}: ${error.message}`, { cause: error })
    }
    throw new AnnexfsError('NOT_FOUND', `cannot read the torrent ${path}: ${reasonOf(error)}`, { cause: error })
  }
}
