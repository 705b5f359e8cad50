import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AnnexRepository } from '../annex/repository.js'
import { AnnexfsError, isAnnexfsError } from '../errors.js'
import { cloneForMount } from '../git/clone.js'
import { GitRepository } from '../git/repository.js'
import type { HttpClient } from '../net/http-client.js'
import { parseMagnet, type Magnet } from '../torrent/magnet.js'
import type { RecursiveOptions } from '../tree/git-submodules.js'
import { GitTree } from '../tree/git-tree.js'
import { LARGEST_MAGNET_LIST, parseMagnetList, readRegularFile } from '../tree/torrent-read.js'
import { TorrentFolder } from '../tree/torrent-folder.js'
import { SingleTorrent, type SingleTorrentOptions } from '../tree/torrent-single.js'
import type { Tree } from '../tree/tree.js'
import type { Content } from './content.js'
import type { Deps } from './deps.js'
import { sourceKind } from './source-kind.js'
import { downloadMetainfo, metainfoFacts } from './torrent-urls.js'

export interface SourceOptions {
  readonly deps: Deps
  /** For URLs that the user gave by hand. */
  readonly userClient: HttpClient
  readonly ref: string | undefined
  readonly cacheFolder: string
  readonly recursive?: RecursiveOptions
}

/** A clone of a huge repository takes its time; an unreachable host must not. */
const CLONE_TIMEOUT = 60 * 60 * 1000
const DOWNLOAD_TIMEOUT = 60 * 1000

/**
 * The names of one SOURCE.
 * @throws AnnexfsError INVALID when it is none, USAGE for options that do not fit it, those of git and of the network.
 */
export async function openTree(source: string, options: SourceOptions): Promise<Tree<Content>> {
  const { deps, ref } = options
  const kind = await sourceKind(source)
  if (ref !== undefined && kind.kind !== 'repository' && kind.kind !== 'clone-url') {
    throw new AnnexfsError('USAGE', `--ref names a branch or commit, but ${source} is not a git repository`)
  }
  // Its process takes half a second to start; that must not be part of the first read. No connection is made yet.
  if (kind.kind !== 'repository' && kind.kind !== 'clone-url') deps.swarm.warm()
  switch (kind.kind) {
    case 'repository':
      return openRepository(kind.path, options)
    case 'clone-url': {
      const signal = AbortSignal.timeout(CLONE_TIMEOUT)
      return openRepository(await cloneForMount(kind.url, options.cacheFolder, deps.log, signal), options)
    }
    case 'torrent-folder':
      return TorrentFolder.open({ folder: kind.path, ...torrentOptions(deps) })
    case 'torrent-file':
      if (/\.magnet$/i.test(kind.path)) return openMagnet(await onlyMagnet(kind.path), deps)
      return named(kind.path, () => openSingle({ file: kind.path }, deps))
    case 'torrent-url':
      return openDownloaded(kind.url, options)
    case 'magnet':
      return openMagnet(parseMagnet(kind.link), deps)
  }
}

/** What is wrong with a file is said with its name. */
async function named<T>(path: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    if (!isAnnexfsError(error) || error.message.includes(path)) throw error
    throw new AnnexfsError(error.code, `${path}: ${error.message}`, { cause: error, attempts: error.attempts })
  }
}

async function openRepository(path: string, { deps, ref, recursive }: SourceOptions): Promise<Tree<Content>> {
  const git = await GitRepository.open(path, deps.log)
  let annex: AnnexRepository | undefined
  try {
    annex = await AnnexRepository.open(git, deps.log)
    // The user's git configuration says, too, which addresses may be reached.
    const clones = recursive && { recursive: { ...recursive, ...(await deps.stores.of(annex).reach()) } }
    const tree = await GitTree.open({ git, annex, ref, log: deps.log, ...clones })
    const prepared = deps.manifests.prepare(git)
    const opened = annex
    return closing(tree, async () => {
      await prepared
      await opened.close()
      await git.close()
    })
  } catch (error) {
    await annex?.close()
    await git.close()
    throw error
  }
}

/** `tree`, which on closing also closes what it was made of. */
function closing<C>(tree: Tree<C>, close: () => Promise<void>): Tree<C> {
  return {
    lookup: (path, signal) => tree.lookup(path, signal),
    list: (path, signal) => tree.list(path, signal),
    close: async () => {
      await tree.close()
      await close()
    },
  }
}

async function openDownloaded(url: string, { deps, userClient }: SourceOptions): Promise<Tree<Content>> {
  const bytes = await downloadMetainfo(url, userClient, AbortSignal.timeout(DOWNLOAD_TIMEOUT))
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-'))
  try {
    const file = join(folder, 'source.torrent')
    await writeFile(file, bytes)
    return await openSingle({ file }, deps)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function onlyMagnet(path: string): Promise<Magnet> {
  const { bytes } = await readRegularFile(path, LARGEST_MAGNET_LIST)
  const { magnets, problems } = parseMagnetList(bytes)
  const [magnet] = magnets
  if (magnet === undefined) {
    throw new AnnexfsError(
      'INVALID',
      `${path} holds no usable magnet link (one a line): ${problems.join('; ') || 'it is empty'}`,
    )
  }
  if (magnets.length > 1) {
    throw new AnnexfsError(
      'INVALID',
      `${path} holds ${magnets.length} magnet links; mount the folder it lies in instead`,
    )
  }
  return magnet
}

/** Waits a little for the metadata, so that `ls` right after the mount shows the torrent when peers are near. */
const METADATA_PATIENCE = 5_000

async function openMagnet(magnet: Magnet, deps: Deps): Promise<Tree<Content>> {
  const tree = await openSingle({ magnet }, deps)
  try {
    await tree.ready(AbortSignal.timeout(METADATA_PATIENCE))
  } catch (error) {
    if (!(error instanceof AnnexfsError) || !['TIMED_OUT', 'ABORTED'].includes(error.code)) {
      await tree.close()
      throw error
    }
    deps.log.info('the metadata of the magnet is not known yet; the torrent shows when peers have given it')
  }
  return tree
}

function openSingle(source: SingleTorrentOptions['source'], deps: Deps): Promise<SingleTorrent> {
  return SingleTorrent.open({ source, ...torrentOptions(deps) })
}

function torrentOptions(deps: Deps): Pick<SingleTorrentOptions, 'log' | 'resolveMagnet' | 'facts'> {
  return {
    log: deps.log,
    resolveMagnet: (magnet, signal) => deps.swarm.resolveMagnet(magnet, signal),
    facts: metainfoFacts(deps.facts),
  }
}
