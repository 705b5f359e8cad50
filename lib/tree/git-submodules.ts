import { isUtf8 } from 'node:buffer'
import { realpath } from 'node:fs/promises'
import { join, sep } from 'node:path'
import { AnnexRepository } from '../annex/repository.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
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

/** Most submodules that are entered; beyond it they are shown empty. */
const MOST = 10_000

/** Time after which a submodule that was not there is looked for again, in milliseconds. */
const LOOK_AGAIN = 5000

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
  private readonly log: Log
  private closed = false
  private turn = 0

  constructor(log: Log) {
    this.log = log
  }

  /** The submodule when it is known already and at the right commit. */
  known(spot: Spot): Entered | undefined {
    const { scope, commit, tree } = this.nested.get(identity(spot)) ?? {}
    return scope === undefined || tree === undefined || commit !== spot.node.commit ? undefined : { scope, tree }
  }

  /** Enters a submodule; undefined when its repository or the recorded commit is not here. */
  async enter(spot: Spot): Promise<Entered | undefined> {
    const nested = this.nestedAt(spot)
    const scope = await nested?.opening
    if (nested === undefined || scope === undefined) return undefined
    const commit = await findCommit(scope.git.objects, spot.node.commit)
    if (commit === undefined) {
      this.log.warn('a submodule lacks the commit that is recorded for it and is shown empty; fetch it with git', {
        path: spot.path,
        commit: spot.node.commit,
      })
      return undefined
    }
    scope.mtime = commit.time
    nested.commit = spot.node.commit
    nested.tree = commit.tree
    return { scope, tree: commit.tree }
  }

  /** Brings the knowledge of the next repository up to date: one at a call, each in turn. */
  async refreshNext(): Promise<void> {
    const scopes = [...this.nested.values()].flatMap(({ scope }) => (scope === undefined ? [] : [scope]))
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
      const git = await GitRepository.open(folder, this.log)
      try {
        return new Scope(git, await AnnexRepository.open(git, this.log), `${id}\0`)
      } catch (error) {
        await git.close()
        throw error
      }
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) return undefined
      this.log.warn('a submodule cannot be opened and is shown empty', { path: spot.path, reason: reasonOf(error) })
      return undefined
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
    const file = spot.root.get('.gitmodules')
    if (!(file instanceof GitBlob) || file.size === undefined || file.size > 16 * 1024 * 1024) return undefined
    try {
      const listing = await spot.scope.git.run(['config', `--blob=${file.content.sha}`, '--list', '-z'], {
        maxOutput: 64 * 1024 * 1024,
        timeout: 30_000,
      })
      const config = new GitConfig(listing)
      return config.subsections('submodule').find((name) => config.get(`submodule.${name}.path`) === path)
    } catch (error) {
      this.log.warn('.gitmodules cannot be read', { reason: reasonOf(error) })
      return undefined
    }
  }
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
