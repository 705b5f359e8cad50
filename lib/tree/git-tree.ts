import { LRUCache } from 'lru-cache'
import type { AnnexRepository } from '../annex/repository.js'
import type { Content } from '../engine/content.js'
import { AnnexfsError, isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { rateLimited, type Log } from '../log/log.js'
import { nextOfWalk } from './git-ahead.js'
import { checkRef, findCommit, type Commit } from './git-commit.js'
import { readFolder, turn, type Folder } from './git-folder.js'
import { GitDir, GitSubmodule, Scope } from './git-node.js'
import { Submodules, type RecursiveOptions, type Spot } from './git-submodules.js'
import type { Entry, Node, Tree } from './tree.js'

/** Entries of folders that are kept in memory, and as how many the largest folder counts (so that others stay too). */
const KEPT_ENTRIES = 300_000
const LARGEST_COUNTS = 200_000

/** What a folder costs besides its entries, in entries. */
const FOLDER_COSTS = 4

/** How often it is looked whether the ref has moved, in milliseconds. */
const POLL_EVERY = 500

/** Submodules within submodules. */
const DEEPEST_NESTING = 32

export interface GitTreeOptions {
  /** Stays the caller's, who closes it after the tree. */
  readonly git: GitRepository
  readonly annex: AnnexRepository
  /** A branch, tag, commit or `refs/…`; undefined for HEAD. */
  readonly ref: string | undefined
  readonly log: Log
  /** Called after the ref has moved and the names are the new ones. */
  readonly onMoved?: () => void
  /** Sub-datasets that are not here are cloned when they are entered; undefined: they are empty folders. */
  readonly recursive?: RecursiveOptions
}

/** Where a walk is: in a folder of a repository. */
interface Place {
  readonly scope: Scope
  /** The tree of the folder, and of the root of its repository. */
  readonly tree: string
  readonly rootTree: string
  /** From the root of its repository, bytes as latin1; undefined in the root. */
  readonly path: string | undefined
  readonly nesting: number
}

const EMPTY: Folder = new Map()

/**
 * The names of a git ref. Folders are read when they are first asked for and kept by the id of their tree, so that a
 * ref that moves costs only what it changed. The ref is followed: `root` is replaced as a whole, a lookup under way
 * ends on the one it began with.
 */
export class GitTree implements Tree<Content> {
  private readonly scope: Scope
  private readonly ref: string
  private readonly log: Log
  private readonly onMoved: () => void
  private readonly submodules: Submodules
  private root: Commit | undefined
  private readonly folders = new LRUCache<string, Folder>({
    maxSize: KEPT_ENTRIES,
    sizeCalculation: (folder) => Math.min(folder.size, LARGEST_COUNTS) + FOLDER_COSTS,
  })
  private readonly reading = new Map<string, Promise<Folder>>()
  private timer: NodeJS.Timeout | undefined
  private polling: Promise<void> = Promise.resolve()
  private closed = false
  private readonly ending = new AbortController()
  /** The path that was listed last. */
  private listedBefore: readonly string[] | undefined

  private constructor(options: GitTreeOptions) {
    this.scope = new Scope(options.git, options.annex, '')
    this.ref = options.ref ?? 'HEAD'
    this.log = rateLimited(options.log, 60_000)
    this.onMoved = options.onMoved ?? (() => undefined)
    this.submodules = new Submodules(this.log, options.recursive)
  }

  /** @throws AnnexfsError INVALID when a ref was named and is not there, SYSTEM. */
  static async open(options: GitTreeOptions): Promise<GitTree> {
    if (options.ref !== undefined) checkRef(options.ref)
    const tree = new GitTree(options)
    const commit = await findCommit(options.git.objects, tree.ref)
    if (commit === undefined && options.ref !== undefined) {
      throw new AnnexfsError('INVALID', `the repository has no branch, tag or commit ${JSON.stringify(options.ref)}`)
    }
    if (commit === undefined) options.log.warn('the repository has no commit yet; the tree is empty until it has one')
    tree.show(commit)
    tree.pollLater()
    return tree
  }

  lookup(path: string, signal: AbortSignal): Node<Content> | undefined | Promise<Node<Content> | undefined> {
    const names = split(path)
    const last = names.pop()
    if (last === undefined) return this.rootNode()
    const folder = this.walkKept(names)
    if (folder === 'absent') return undefined
    if (folder !== 'unread') return folder.get(last)
    return this.walk(names, signal).then(
      (found) => found.get(last),
      (error: unknown) => {
        if (isAnnexfsError(error, 'NOT_FOUND') || isAnnexfsError(error, 'NOT_A_DIRECTORY')) return undefined
        throw error
      },
    )
  }

  async list(path: string, signal: AbortSignal): Promise<readonly Entry<Content>[]> {
    const names = split(path)
    const folder = await this.walk(names, signal)
    this.readAhead(names, folder)
    const entries: Entry<Content>[] = []
    for (const [name, node] of folder) {
      entries.push({ name, node })
      if (entries.length % 32768 === 0) await turn()
    }
    throwIfAborted(signal)
    return entries
  }

  async close(): Promise<void> {
    this.closed = true
    this.ending.abort()
    clearTimeout(this.timer)
    await this.polling
    await this.submodules.close()
    this.folders.clear()
  }

  /** Reads the folder that whoever walks the tree will list next. */
  private readAhead(names: readonly string[], listed: Folder): void {
    const before = this.listedBefore
    this.listedBefore = names
    const parent = names.length === 0 ? undefined : this.walkKept(names.slice(0, -1))
    const next = nextOfWalk(names, listed, typeof parent === 'string' ? undefined : parent, before)
    if (next === undefined || this.walkKept(next) !== 'unread') return
    this.walk(next, this.ending.signal).catch((error: unknown) => {
      // Whoever lists it is told.
      this.log.debug('a folder could not be read ahead', { reason: reasonOf(error) })
    })
  }

  private rootNode(): Node<Content> {
    return new GitDir(this.scope, this.root?.tree ?? '', '')
  }

  private start(): Place | undefined {
    const tree = this.root?.tree
    return tree === undefined ? undefined : { scope: this.scope, tree, rootTree: tree, path: undefined, nesting: 0 }
  }

  /** Walks as long as everything is in memory. */
  private walkKept(names: readonly string[]): Folder | 'absent' | 'unread' {
    let place = this.start()
    if (place === undefined) return 'absent'
    for (const name of names) {
      const folder = this.kept(place)
      if (folder === undefined) return 'unread'
      const node = folder.get(name)
      if (node instanceof GitDir) place = below(place, node)
      else if (node instanceof GitSubmodule) {
        const root = this.kept({ ...place, tree: place.rootTree })
        const entered = root === undefined ? undefined : this.submodules.known(spotOf(place, node, root))
        if (entered === undefined) return 'unread'
        place = inside(place, entered.scope, entered.tree)
      } else return 'absent'
    }
    return this.kept(place) ?? 'unread'
  }

  private kept(place: Place): Folder | undefined {
    return this.folders.get(place.scope.prefix + place.tree)
  }

  /** The folder at a path. @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY, UNAVAILABLE, SYSTEM, ABORTED. */
  private async walk(names: readonly string[], signal: AbortSignal): Promise<Folder> {
    let place = this.start()
    if (place === undefined) {
      if (names.length === 0) return EMPTY
      throw new AnnexfsError('NOT_FOUND', 'the tree is empty: the ref has no commit')
    }
    for (const [depth, name] of names.entries()) {
      const node = (this.kept(place) ?? (await this.folder(place, signal))).get(name)
      if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${JSON.stringify(name)} in that folder`)
      if (node instanceof GitDir) place = below(place, node)
      else if (node instanceof GitSubmodule) {
        const next: Place | undefined = await this.enter(place, node, signal)
        if (next === undefined) {
          if (depth === names.length - 1) return EMPTY
          throw new AnnexfsError('NOT_FOUND', `the submodule ${JSON.stringify(name)} is not here`)
        }
        place = next
      } else throw new AnnexfsError('NOT_A_DIRECTORY', `${JSON.stringify(name)} is not a folder`)
    }
    return this.kept(place) ?? (await this.folder(place, signal))
  }

  private async enter(place: Place, node: GitSubmodule, signal: AbortSignal): Promise<Place | undefined> {
    if (place.nesting >= DEEPEST_NESTING) return undefined
    const root = await this.folder({ ...place, tree: place.rootTree }, signal)
    const entered = await this.submodules.enter(spotOf(place, node, root), signal)
    return entered === undefined ? undefined : inside(place, entered.scope, entered.tree)
  }

  /** Reads a folder once for all who wait for it; who gives up only stops waiting. */
  private async folder(place: Place, signal: AbortSignal): Promise<Folder> {
    throwIfAborted(signal)
    const id = place.scope.prefix + place.tree
    const kept = this.folders.get(id)
    if (kept !== undefined) return kept
    let reading = this.reading.get(id)
    if (reading === undefined) {
      reading = readFolder(place.scope, place.tree, this.log)
        .then((folder) => {
          if (!this.closed) this.folders.set(id, folder)
          return folder
        })
        .finally(() => this.reading.delete(id))
      this.reading.set(id, reading)
    }
    return untilAborted(reading, signal)
  }

  private show(commit: Commit | undefined): void {
    this.root = commit
    this.scope.mtime = commit?.time ?? 0
  }

  private pollLater(): void {
    if (this.closed) return
    this.timer = setTimeout(() => {
      this.polling = this.poll().then(() => this.pollLater())
    }, POLL_EVERY)
    this.timer.unref()
  }

  /** Never rejects: what was shown stays when git cannot be asked. */
  private async poll(): Promise<void> {
    try {
      const { objects } = this.scope.git
      const now = (await objects.info(`${this.ref}^{commit}`)) ?? (await objects.info(`${this.ref}^{tree}`))
      if (now?.sha !== this.root?.sha && !this.closed) {
        const commit = now === undefined ? undefined : await findCommit(objects, now.sha)
        if (commit === undefined)
          this.log.warn('the ref is gone; the tree is empty until it is back', { ref: this.ref })
        else this.log.info('the ref has moved', { ref: this.ref, commit: commit.sha })
        this.show(commit)
        this.onMoved()
      }
      await this.scope.annex.changed()
      await this.submodules.refreshNext()
    } catch (error) {
      if (!this.closed) {
        this.log.warn('the repository cannot be looked at for changes', { reason: reasonOf(error) })
      }
    }
  }
}

function split(path: string): string[] {
  return path.split('/').filter((name) => name !== '')
}

function below(place: Place, node: GitDir): Place {
  const path = place.path === undefined ? node.rawName : `${place.path}/${node.rawName}`
  return { ...place, tree: node.sha, path }
}

function inside(place: Place, scope: Scope, tree: string): Place {
  return { scope, tree, rootTree: tree, path: undefined, nesting: place.nesting + 1 }
}

function spotOf(place: Place, node: GitSubmodule, root: Folder): Spot {
  const path = place.path === undefined ? node.rawName : `${place.path}/${node.rawName}`
  return { scope: place.scope, path, root, node }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      try {
        throwIfAborted(signal)
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)))
      }
    }
    signal.addEventListener('abort', onAbort, { once: true })
    void work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
