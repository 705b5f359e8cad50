import { isUtf8 } from 'node:buffer'
import { readFile, realpath } from 'node:fs/promises'
import { join, resolve, sep } from 'node:path'
import { rewriteUrl } from '../annex/git-remote-url.js'
import { AnnexRepository } from '../annex/repository.js'
import { abortError, AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import type { SubmoduleOrigin, Superproject } from '../git/clone-candidates.js'
import { SubmoduleClones, type SubmoduleClonesOptions } from '../git/clone-submodules.js'
import { GitConfig } from '../git/config.js'
import { findRepository, GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import { findCommit } from './git-commit.js'
import type { Folder } from './git-folder.js'
import { GitBlob, Scope, type GitSubmodule } from './git-node.js'

/** Where a submodule goes in: the repository around it, and the path from that one's root (bytes as latin1). */
export interface Spot {
  readonly scope: Scope
  readonly path: string
  /** The root folder of the repository around it. */
  readonly root: Folder
  readonly node: GitSubmodule
}

/** The repository of a submodule and the tree that is to be shown of it. */
export interface Entered {
  readonly scope: Scope
  readonly tree: string
}

/** What cloning submodules that are not here takes. */
export interface RecursiveOptions extends Omit<SubmoduleClonesOptions, 'log'> {
  /** Time after which one that could not be cloned is tried again, in milliseconds. Default 30 s. */
  readonly retryAfter?: number
}

/** Most submodules that are entered; beyond it they are shown empty. */
const MOST = 10_000

/** Time after which a submodule that was not there is looked for again, in milliseconds. */
const LOOK_AGAIN = 5000

/** Time after which a submodule that could not be cloned is tried again, in milliseconds. */
const CLONE_AGAIN = 30_000

/** A submodule that is not here, and the clone of it at one commit. */
interface Cloned {
  readonly commit: string
  readonly opening: Promise<Entered>
  entered?: Entered
  /** Set when it could not be cloned. */
  failedAt?: number
}

/** A submodule's place, and what was found for it. */
interface Nested {
  readonly opening: Promise<Scope | undefined>
  /** When it was looked for. */
  readonly at: number
  /** Set once it has been opened. */
  scope?: Scope
  /** Set when it turned out not to be there. */
  absent?: boolean
  /** The commit that was last entered, and its tree. */
  commit?: string
  tree?: string
}

/**
 * The submodules that have been entered, by the place where they go in. Each has a repository of its own, opened once
 * and closed with the mount; its processes come and go.
 */
export class Submodules {
  private readonly nested = new Map<string, Nested>()
  private readonly cloned = new Map<string, Cloned>()
  /** Of clones, by their folder, apart for each place: locations and times are its own. */
  private readonly scopes = new Map<string, Promise<Scope>>()
  private readonly clones: SubmoduleClones | undefined
  private readonly pause: number
  private readonly log: Log
  private closed = false
  private turn = 0

  /** @param recursive what is not here is cloned when it is entered; undefined: it is shown empty. */
  constructor(log: Log, recursive: RecursiveOptions | undefined) {
    this.log = log
    this.pause = recursive?.retryAfter ?? CLONE_AGAIN
    this.clones = recursive === undefined ? undefined : new SubmoduleClones({ ...recursive, log })
  }

  /** The submodule when it is known already and at the right commit. */
  known(spot: Spot): Entered | undefined {
    const { scope, commit, tree, at } = this.nested.get(identity(spot)) ?? {}
    if (scope !== undefined && tree !== undefined && commit === spot.node.commit) return { scope, tree }
    // It may have come here meanwhile: then what is here is better.
    if (at === undefined || Date.now() - at > LOOK_AGAIN) return undefined
    const cloned = this.cloned.get(identity(spot))
    return cloned?.commit === spot.node.commit ? cloned.entered : undefined
  }

  /**
   * Enters a submodule; undefined when its repository or the recorded commit is not here. Where such ones are cloned it
   * waits for that, until the signal fires; the clone goes on then.
   * @throws AnnexfsError UNAVAILABLE when it cannot be cloned, TIMED_OUT, ABORTED.
   */
  async enter(spot: Spot, signal: AbortSignal): Promise<Entered | undefined> {
    const nested = this.nestedAt(spot)
    const scope = await nested?.opening
    if (nested !== undefined && scope !== undefined) {
      const commit = await findCommit(scope.git.objects, spot.node.commit)
      if (commit !== undefined) {
        scope.mtime = commit.time
        nested.commit = spot.node.commit
        nested.tree = commit.tree
        return { scope, tree: commit.tree }
      }
    }
    if (nested === undefined) return undefined
    if (this.clones !== undefined) return untilAborted(this.enterClone(spot, this.clones), signal)
    if (scope !== undefined) {
      this.log.warn('a submodule lacks the commit that is recorded for it and is shown empty; fetch it with git', {
        path: spot.path,
        commit: spot.node.commit,
      })
    }
    return undefined
  }

  /** One clone for all who enter; one that failed is tried again after a pause. */
  private async enterClone(spot: Spot, clones: SubmoduleClones): Promise<Entered> {
    const id = identity(spot)
    const existing = this.cloned.get(id)
    if (existing?.commit === spot.node.commit) {
      const { failedAt } = existing
      const resting = failedAt !== undefined && Math.abs(Date.now() - failedAt) < this.pause
      if (failedAt === undefined || resting) return existing.opening
    }
    if (this.closed) throw new AnnexfsError('ABORTED', 'the repository was closed')
    const cloned: Cloned = { commit: spot.node.commit, opening: this.clone(spot, id, clones) }
    this.cloned.set(id, cloned)
    try {
      cloned.entered = await cloned.opening
      return cloned.entered
    } catch (error) {
      cloned.failedAt = Date.now()
      if (!isAnnexfsError(error, 'ABORTED')) {
        const again = `${Math.round(this.pause / 1000)} s`
        this.log.warn('a sub-dataset cannot be entered', { path: spot.path, reason: reasonOf(error), again })
      }
      throw error
    }
  }

  private async clone(spot: Spot, id: string, clones: SubmoduleClones): Promise<Entered> {
    const bytes = Buffer.from(spot.path, 'latin1')
    if (!isUtf8(bytes) || !isInner(spot.path)) {
      throw new AnnexfsError('UNAVAILABLE', 'a sub-dataset at a path like this cannot be told from .gitmodules')
    }
    const [around, origin] = [await superproject(spot.scope.git), await this.originOf(spot, bytes.toString('utf8'))]
    const folder = await clones.find(around, origin, spot.node.commit)
    const scope = await this.scopeOf(folder, id)
    const commit = await findCommit(scope.git.objects, spot.node.commit)
    if (commit === undefined) {
      throw new AnnexfsError('UNAVAILABLE', `the clone ${folder} does not have the commit ${spot.node.commit}`)
    }
    scope.mtime = commit.time
    return { scope, tree: commit.tree }
  }

  private async scopeOf(folder: string, id: string): Promise<Scope> {
    if (this.closed) throw new AnnexfsError('ABORTED', 'the repository was closed')
    const key = `${folder} ${id}`
    const existing = this.scopes.get(key)
    if (existing !== undefined) return existing
    const opening = this.openFolder(folder, `${id}\0${folder}\0`)
    this.scopes.set(key, opening)
    opening.catch(() => this.scopes.delete(key))
    return opening
  }

  private async originOf(spot: Spot, path: string): Promise<SubmoduleOrigin> {
    const modules = await this.modulesOf(spot)
    const name = modules?.subsections('submodule').find((one) => modules.get(`submodule.${one}.path`) === path)
    const own = await spot.scope.git.config()
    const value = (config: GitConfig | undefined, key: string): string | undefined =>
      name === undefined ? undefined : config?.get(`submodule.${name}.${key}`)
    return {
      path,
      configured: value(own, 'url'),
      url: value(modules, 'url'),
      dataladUrl: value(modules, 'datalad-url'),
    }
  }

  /** Brings the knowledge of the next repository up to date: one at a call, each in turn. */
  async refreshNext(): Promise<void> {
    const scopes = [...this.nested.values()].flatMap(({ scope }) => (scope === undefined ? [] : [scope]))
    for (const { entered } of this.cloned.values()) if (entered !== undefined) scopes.push(entered.scope)
    await scopes[this.turn++ % Math.max(1, scopes.length)]?.annex.changed()
  }

  private nestedAt(spot: Spot): Nested | undefined {
    const id = identity(spot)
    const existing = this.nested.get(id)
    if (existing !== undefined && !(existing.absent === true && Date.now() - existing.at > LOOK_AGAIN)) return existing
    if (this.closed || (existing === undefined && this.nested.size >= MOST)) return undefined
    const nested: Nested = {
      at: Date.now(),
      opening: this.open(spot, id).then((scope) => {
        if (scope === undefined) nested.absent = true
        else nested.scope = scope
        return scope
      }),
    }
    this.nested.set(id, nested)
    return nested
  }

  async close(): Promise<void> {
    this.closed = true
    await this.clones?.close()
    await Promise.allSettled([...this.cloned.values()].map(({ opening }) => opening))
    for (const opening of this.scopes.values()) {
      // One that could not be opened was told of when it was wanted.
      const scope = await opening.catch(() => undefined)
      await scope?.annex.close()
      await scope?.git.close()
    }
    for (const { opening } of this.nested.values()) {
      const scope = await opening
      await scope?.annex.close()
      await scope?.git.close()
    }
  }

  private async open(spot: Spot, id: string): Promise<Scope | undefined> {
    try {
      const folder = await this.find(spot)
      if (folder === undefined) return undefined
      return await this.openFolder(folder, `${id}\0`)
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) return undefined
      this.log.warn('a submodule cannot be opened and is shown empty', { path: spot.path, reason: reasonOf(error) })
      return undefined
    }
  }

  private async openFolder(folder: string, prefix: string): Promise<Scope> {
    const git = await GitRepository.open(folder, this.log)
    try {
      return new Scope(git, await AnnexRepository.open(git, this.log), prefix)
    } catch (error) {
      await git.close()
      throw error
    }
  }

  /**
   * The folder of the submodule's repository: in the work tree, else below the git directory. Neither may lead out of
   * the repository around it, whatever the tree, `.gitmodules` or a `.git` file says.
   */
  private async find(spot: Spot): Promise<string | undefined> {
    const { git } = spot.scope
    const bytes = Buffer.from(spot.path, 'latin1')
    if (!isUtf8(bytes) || !isInner(spot.path)) return undefined
    const path = bytes.toString('utf8')
    if (git.workTree !== undefined) {
      const folder = join(git.workTree, path)
      // A symbolic link on the way would lead elsewhere.
      if ((await realpath(folder).catch(() => undefined)) === folder) {
        const places = await findRepository(folder)
        if (places?.workTree !== undefined) {
          if (isBelow(places.gitDir, git.commonDir) || isBelow(places.gitDir, folder)) return folder
          throw new AnnexfsError('FORBIDDEN', `its .git leads out of the repository, to ${places.gitDir}`)
        }
      }
    }
    const name = await this.nameOf(spot, path)
    if (name === undefined || !isInner(name)) return undefined
    const folder = join(git.commonDir, 'modules', name)
    if ((await realpath(folder).catch(() => undefined)) !== folder) return undefined
    return (await findRepository(folder)) === undefined ? undefined : folder
  }

  /** The submodule's name: of the section of `.gitmodules` with its path. */
  private async nameOf(spot: Spot, path: string): Promise<string | undefined> {
    const modules = await this.modulesOf(spot)
    return modules?.subsections('submodule').find((name) => modules.get(`submodule.${name}.path`) === path)
  }

  private async modulesOf(spot: Spot): Promise<GitConfig | undefined> {
    const file = spot.root.get('.gitmodules')
    if (!(file instanceof GitBlob) || file.size === undefined || file.size > 16 * 1024 * 1024) return undefined
    try {
      const listing = await spot.scope.git.run(['config', `--blob=${file.content.sha}`, '--list', '-z'], {
        maxOutput: 64 * 1024 * 1024,
        timeout: 30_000,
      })
      return new GitConfig(listing)
    } catch (error) {
      this.log.warn('.gitmodules cannot be read', { reason: reasonOf(error) })
      return undefined
    }
  }
}

/** Where a repository comes from: its remotes, the one of the branch that is checked out first, as git has it. */
async function superproject(git: GitRepository): Promise<Superproject> {
  const config = await git.config()
  const head = await readFile(join(git.gitDir, 'HEAD'), 'utf8').catch(() => '')
  const branch = /^ref: refs\/heads\/(.+)$/m.exec(head)?.[1]
  const first = (branch === undefined ? undefined : config.get(`branch.${branch}.remote`)) ?? 'origin'
  const names = config.subsections('remote').filter((name) => name !== first)
  const remotes = [first, ...names].flatMap((name) => {
    const url = config.get(`remote.${name}.url`)
    // A folder is relative to the repository that names it.
    return url === undefined ? [] : [absolute(rewriteUrl(url, config), git)]
  })
  return { remotes, folder: git.workTree ?? git.gitDir }
}

function absolute(url: string, git: GitRepository): string {
  return /^\.\.?(?:\/|$)/.test(url) ? resolve(git.workTree ?? git.gitDir, url) : url
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((fulfil, reject) => {
    const aborted = (): void => reject(abortError(signal))
    if (signal.aborted) aborted()
    signal.addEventListener('abort', aborted, { once: true })
    void work.then(fulfil, reject).finally(() => signal.removeEventListener('abort', aborted))
  })
}

function identity(spot: Spot): string {
  return `${spot.scope.prefix}${spot.path}`
}

/** True for a relative path that stays below where it starts (git-check: check_submodule_name). */
function isInner(path: string): boolean {
  if (path === '' || path.startsWith('/') || path.includes('\0') || path.includes('\\')) return false
  return !path.split('/').some((part) => part === '' || part === '.' || part === '..' || part.toLowerCase() === '.git')
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder + sep)
}
