import { lstat, readFile, realpath, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import { GitConfig } from './config.js'
import { GitObjects } from './objects.js'
import { runGit } from './process.js'

/** Most that a configuration may print. */
const LONGEST_CONFIG = 16 * 1024 * 1024

/** Longest `.git` or `commondir` file that is read, in bytes. */
const LONGEST_GITFILE = 16 * 1024

/** Where the parts of a repository are. */
export interface GitPlaces {
  /** Real path of the git directory (of a linked worktree: its own). */
  readonly gitDir: string
  /** Real path of the directory that holds objects, refs and annex data: the git directory itself, mostly. */
  readonly commonDir: string
  /** The folder that was given, when it has a `.git`; undefined for a git directory or a bare repository. */
  readonly workTree: string | undefined
}

/**
 * A git repository, for reading. Nothing is ever written to it and no program that its configuration names is run,
 * whoever owns it.
 */
export class GitRepository {
  readonly gitDir: string
  readonly commonDir: string
  readonly workTree: string | undefined
  readonly bare: boolean
  readonly objects: GitObjects
  private latestConfig: GitConfig

  private constructor(places: GitPlaces, config: GitConfig, objects: GitObjects) {
    this.gitDir = places.gitDir
    this.commonDir = places.commonDir
    this.workTree = places.workTree
    this.latestConfig = config
    this.bare = places.workTree === undefined && config.bool('core.bare') !== false
    this.objects = objects
  }

  /**
   * Opens the repository at `path`: a work tree (with `.git` as directory, symbolic link or `gitdir:` file), a bare
   * repository or a git directory.
   * @throws AnnexfsError INVALID when it is none of these.
   */
  static async open(path: string, log: Log): Promise<GitRepository> {
    const places = await findRepository(path)
    if (places === undefined) {
      throw new AnnexfsError(
        'INVALID',
        `${path} is not a git repository: it has no .git and is not a bare repository. Give the folder of a clone.`,
      )
    }
    const objects = new GitObjects(places.gitDir, log)
    // Its process starts while another reads the configuration.
    objects.warmUp()
    try {
      return new GitRepository(places, await readConfig(places.gitDir), objects)
    } catch (error) {
      await objects.close()
      if (!isAnnexfsError(error, 'SYSTEM')) throw error
      throw new AnnexfsError('INVALID', `git cannot read the repository ${path}: ${reasonOf(error)}`, { cause: error })
    }
  }

  /** The configuration in force, with git's own rules (system, user, repository, includes), as last read. */
  async config(): Promise<GitConfig> {
    return Promise.resolve(this.latestConfig)
  }

  /** Reads the configuration again. @throws AnnexfsError SYSTEM when git cannot. */
  async reloadConfig(): Promise<GitConfig> {
    this.latestConfig = await readConfig(this.gitDir)
    return this.latestConfig
  }

  /** Runs a git command that reads this repository and gives its output. @throws AnnexfsError as {@link runGit}. */
  async run(args: readonly string[], limits: { maxOutput: number; timeout?: number; input?: string }): Promise<Buffer> {
    return runGit(args, { gitDir: this.gitDir, ...limits })
  }

  async close(): Promise<void> {
    await this.objects.close()
  }
}

async function readConfig(gitDir: string): Promise<GitConfig> {
  return new GitConfig(await runGit(['config', '--list', '-z'], { gitDir, maxOutput: LONGEST_CONFIG, timeout: 30_000 }))
}

/**
 * Finds the git directory that belongs to `path` without asking git, so that nothing above `path` is taken instead.
 * Undefined when there is none.
 */
export async function findRepository(path: string): Promise<GitPlaces | undefined> {
  const folder = resolve(path)
  const within = join(folder, '.git')
  const type = await stat(within).catch(() => undefined)
  const found = type?.isFile() === true ? await followGitFile(within) : within
  return (await places(found, folder)) ?? (await places(folder, undefined))
}

async function places(found: string | undefined, workTree: string | undefined): Promise<GitPlaces | undefined> {
  // Real paths first: git-annex makes `.git` of a worktree a symbolic link, from whose target `commondir` counts.
  const gitDir = found === undefined ? undefined : await realpath(found).catch(() => undefined)
  if (gitDir === undefined || !(await isGitDir(gitDir))) return undefined
  const commonDir = await realpath(await commonDirOf(gitDir))
  return { gitDir, commonDir, workTree: workTree === undefined ? undefined : await realpath(workTree) }
}

/** `gitdir: PATH`, relative to the folder of the file (gitrepository-layout(5)). */
async function followGitFile(file: string): Promise<string | undefined> {
  const target = /^gitdir: (.+?)\r?\n?$/s.exec(await smallFile(file))?.[1]
  return target === undefined || target.includes('\0') ? undefined : resolve(dirname(file), target)
}

async function commonDirOf(gitDir: string): Promise<string> {
  const target = (await smallFile(join(gitDir, 'commondir'))).replace(/\r?\n$/, '')
  return target === '' || target.includes('\0') ? gitDir : resolve(gitDir, target)
}

/** The text of a short regular file; empty when it is not there or not that. */
async function smallFile(path: string): Promise<string> {
  const type = await stat(path).catch(() => undefined)
  if (type?.isFile() !== true || type.size > LONGEST_GITFILE) return ''
  return readFile(path, 'utf8')
}

/** What git itself looks for (setup.c, is_git_directory): HEAD, objects and refs. */
async function isGitDir(path: string): Promise<boolean> {
  const head = await lstat(join(path, 'HEAD')).catch(() => undefined)
  if (head === undefined) return false
  const common = await commonDirOf(path)
  const [objects, refs] = await Promise.all(
    ['objects', 'refs'].map((name) => stat(join(common, name)).catch(() => undefined)),
  )
  return objects?.isDirectory() === true && refs?.isDirectory() === true
}
