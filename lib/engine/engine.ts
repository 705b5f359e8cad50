import { openFacts } from '../cache/facts.js'
import { openPieceStore } from '../cache/open.js'
import type { PieceStore } from '../cache/store.js'
import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import { addressPolicy, anyAddress } from '../net/address-policy.js'
import { HttpClient } from '../net/http-client.js'
import type { Bytes, Slice } from '../space/space.js'
import type { QuotaSpec } from '../scheduler/quota.js'
import { StoreSets } from '../stores/store-sets.js'
import { startSwarm, type Swarm, type SwarmOptions } from '../swarm/swarm.js'
import type { FileNode, Node, Tree } from '../tree/tree.js'
import { attributesOf } from './attributes.js'
import { Activity } from './activity.js'
import type { WatchedFile } from './activity-file.js'
import { cachedSlices } from './cached-slices.js'
import type { Content } from './content.js'
import type { Deps, VerifyMode } from './deps.js'
import { DEFAULT_MANIFESTS, ManifestAccess, type ManifestSettings } from './manifest-access.js'
import { BlobOpener } from './open-blob.js'
import { openKey } from './open-key.js'
import { openTree, type SourceOptions } from './open-source.js'
import { openTorrentFile } from './open-torrent.js'
import { rehearseOpening, rehearseReading } from './rehearsal.js'
import { SizeFiller } from './sizes.js'
import { Spaces } from './spaces.js'
import { sourceNames, UnionTree } from './union-tree.js'
import type { OpenFile, Volume } from './volume.js'
import { whereaboutsOf, type Whereabouts } from './whereabouts.js'

export interface EngineOptions {
  readonly cacheFolder: string
  readonly cacheLimit: Bytes
  readonly minFree: Bytes
  /** The most to fetch ahead of each open file; 0 for nothing. */
  readonly readahead: Bytes
  /** What may be fetched at all; default: no bound. */
  readonly quota?: QuotaSpec | undefined
  readonly verify: VerifyMode
  /** Default: used, unsigned ones too, without the swarm. */
  readonly manifests?: ManifestSettings
  /** Addresses and blocks that URLs of a repository or a torrent may reach although they are local or private. */
  readonly allowAddresses: readonly string[]
  readonly swarm: Omit<SwarmOptions, 'cache' | 'store' | 'allowAddress'>
  /** The ref whose tree is shown; undefined for HEAD. */
  readonly ref: string | undefined
  /** Sub-datasets that are not here are cloned when they are entered. Default: they are empty folders. */
  readonly recursive?: boolean
  /** Learn the sizes of keys without one in the background. */
  readonly learnSizes: boolean
  /** Log what each read that waited noticeably waited for. */
  readonly explain?: boolean
  readonly log: Log
  /** True for paths inside the mount point; nothing is ever read there. */
  readonly forbid: (path: string) => boolean
}

/** An opened set of SOURCEs: the volume and what it is made of. */
export interface Engine {
  readonly volume: Volume
  readonly store: PieceStore
  readonly swarm: Swarm
  /** Who reads what, what waits and what failed. */
  readonly activity: Activity
  /** The piece spaces in use. */
  readonly spaces: Spaces
  /** Opens a file node, for who wants to do more than read it. */
  openWatched(node: Node<Content>, path: string, signal: AbortSignal): Promise<WatchedFile>
  /** Where the content of a file is, as far as the records say. */
  whereabouts(node: Node<Content>, path: string): Promise<Whereabouts>
  /** As what the content of an annexed file may lie in the cache beside what it is read from now; none for others. */
  cachedAs(node: Node<Content>): Promise<readonly Slice[]>
  /** Makes the first open and the first read quick. Uses neither the network nor the cache. */
  rehearse(): Promise<void>
  /** Bytes fetched since the start, by the name of the source. */
  readonly fetched: ReadonlyMap<string, Bytes>
}

/** Code that has run some times is compiled better; each one after the first takes 4 to 10 ms. */
const REHEARSALS = 3

/**
 * Opens SOURCEs as one volume: a single one is its root, several are folders named after them.
 * @throws AnnexfsError for a source that is none, a cache folder that cannot be used, an option out of range.
 */
export async function openEngine(sources: readonly string[], options: EngineOptions): Promise<Engine> {
  const { log, cacheFolder, cacheLimit, minFree } = options
  const policy = addressPolicy({ allow: options.allowAddresses })
  const store = await openPieceStore({ folder: cacheFolder, limitBytes: cacheLimit, minFreeBytes: minFree, log })
  const client = new HttpClient({ policy, log })
  const userClient = new HttpClient({ policy: anyAddress, redirectPolicy: policy, log })
  const cache = { folder: cacheFolder, limitBytes: cacheLimit, minFreeBytes: minFree }
  const allowAddress = (address: string): boolean => policy.allows(address)
  const swarm = startSwarm({ ...options.swarm, cache, store, allowAddress }, log)
  const facts = openFacts({ folder: cacheFolder, log })
  const { allowAddresses, forbid } = options
  const stores = new StoreSets({ allowAddresses, cacheFolder, scratch: store.scratch, log, forbid })
  const activity = new Activity({ log, explain: options.explain ?? false })
  const spaces = new Spaces({
    store,
    cacheLimit,
    log,
    activity,
    quota: options.quota,
  })
  const deps: Deps = {
    spaces,
    facts,
    manifests: new ManifestAccess(options.manifests ?? DEFAULT_MANIFESTS, facts, log),
    client,
    stores,
    swarm,
    log,
    cacheFolder,
    verify: options.verify,
    readahead: options.readahead,
    webSeeds: options.swarm.webSeeds,
    forbid: options.forbid,
  }
  const close = async (): Promise<void> => {
    activity.waits.close()
    deps.spaces.close()
    await Promise.all([stores.close(), swarm.close(), client.close(), userClient.close()])
    await store.close()
  }
  try {
    const recursive = options.recursive === true ? { recursive: { cacheFolder, client, policy, forbid } } : {}
    const sourceOptions: SourceOptions = { deps, userClient, ref: options.ref, cacheFolder, ...recursive }
    const tree = await openTrees(sources, sourceOptions)
    const sizes = new SizeFiller(tree, deps)
    if (options.learnSizes) sizes.start()
    const volume = new EngineVolume({ tree, deps, store, sizes, activity, close })
    return {
      volume,
      store,
      swarm,
      activity,
      spaces,
      openWatched: (node, path, signal) => volume.open(node, path, signal),
      cachedAs: async (node) => {
        if (node.kind !== 'file' || node.content.kind !== 'key') return []
        const { plain, manifest, torrents } = await cachedSlices(node.content, deps)
        return [plain, manifest, ...torrents].filter((slice) => slice !== undefined)
      },
      whereabouts: (node, path) => whereaboutsOf(node, path, deps),
      rehearse: async () => {
        for (let turn = 0; turn < REHEARSALS; turn++) await rehearseReading()
        await rehearseOpening(volume, deps)
      },
      fetched: spaces.fetched,
    }
  } catch (error) {
    await close()
    throw error
  }
}

async function openTrees(sources: readonly string[], options: SourceOptions): Promise<Tree<Content>> {
  const opened = new Map<string, Tree<Content>>()
  const names = sourceNames(sources)
  try {
    for (const [index, source] of sources.entries()) {
      const tree = await openTree(source, options)
      if (sources.length === 1) return tree
      opened.set(names[index] ?? source, tree)
    }
    return new UnionTree(opened, Date.now())
  } catch (error) {
    await Promise.all([...opened.values()].map((tree) => tree.close()))
    throw error
  }
}

interface VolumeParts {
  readonly tree: Tree<Content>
  readonly deps: Deps
  readonly store: PieceStore
  readonly sizes: SizeFiller
  readonly activity: Activity
  readonly close: () => Promise<void>
}

class EngineVolume implements Volume {
  readonly #parts: VolumeParts
  readonly #blobs: BlobOpener

  constructor(parts: VolumeParts) {
    this.#parts = parts
    this.#blobs = new BlobOpener(parts.deps)
  }

  lookup(path: string, signal: AbortSignal): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    const found = this.#parts.tree.lookup(path, signal)
    if (found === undefined || !('then' in found)) return this.#parts.sizes.withSize(found)
    return found.then((node) => this.#parts.sizes.withSize(node))
  }

  list(path: string, signal: AbortSignal): ReturnType<Tree<Content>['list']> {
    return this.#parts.tree.list(path, signal)
  }

  async open(node: Node<Content>, path: string, signal: AbortSignal): Promise<WatchedFile> {
    if (node.kind !== 'file') {
      throw new AnnexfsError(node.kind === 'dir' ? 'IS_A_DIRECTORY' : 'INVALID', `${path} is not a file`)
    }
    const { activity } = this.#parts
    const file = await this.#open(node, signal).catch((error: unknown) => {
      activity.failed(path, error)
      throw error
    })
    if (node.size === undefined && node.content.kind === 'key') this.#parts.sizes.learned(node.content, file.size)
    return activity.watch(path, file)
  }

  #open(node: FileNode<Content>, signal: AbortSignal): Promise<OpenFile> {
    const { content } = node
    const { deps } = this.#parts
    switch (content.kind) {
      case 'blob':
        return this.#blobs.open(content)
      case 'key':
        return openKey(content, deps, signal)
      case 'torrent':
        return openTorrentFile(content, deps)
    }
  }

  async attributes(node: Node<Content>): Promise<ReadonlyMap<string, string>> {
    if (node.kind !== 'file') return new Map()
    return attributesOf(node, this.#parts.deps)
  }

  async capacity(): Promise<{ totalBytes: Bytes; freeBytes: Bytes }> {
    const { usedBytes, limitBytes } = await this.#parts.store.usage()
    return { totalBytes: limitBytes, freeBytes: Math.max(0, limitBytes - usedBytes) }
  }

  async close(): Promise<void> {
    this.#parts.sizes.close()
    await this.#parts.tree.close()
    await this.#parts.close()
  }
}
