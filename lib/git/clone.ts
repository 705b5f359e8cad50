import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import { CLONE_PROTOCOLS, parseCloneUrl, type CloneUrl } from './clone-url.js'
import { runGit } from './process.js'

/** Longest time that bringing an existing clone up to date may hold up a mount, in milliseconds. */
const FETCH_TIMEOUT = 120_000

/** Age at which an unfinished clone was surely left behind by a process that died, in milliseconds. */
const LEFT_BEHIND = 24 * 60 * 60 * 1000

/** Piece hashes that the repository has for its content; of a form that may match nothing. */
const MANIFESTS = '+refs/annexfs/*:refs/remotes/origin/annexfs/*'

/** A transfer that gives less than 1,000 bytes a second for this many seconds is given up. */
const SLOW: readonly (readonly [string, string])[] = [
  ['http.lowSpeedLimit', '1000'],
  ['http.lowSpeedTime', '30'],
]

/** Where a clone is made from. */
export interface CloneSource {
  /** What git is given, without secrets. */
  readonly url: string
  /** Those that git may speak. */
  readonly protocols: readonly string[]
  /** For the environment: they may carry secrets. */
  readonly settings: readonly (readonly [string, string])[]
  /** What the clone remembers as its origin; default: `url`. */
  readonly named?: string
}

/** What git says when a server answers, and there is no repository at the path. */
const NOT_THERE = /repository '[^']*' not found|does not (?:exist|appear to be a git repository)/i

/**
 * A bare clone of `url` (all branches, no annexed content) below `cacheDir`, made at the first call and brought up to
 * date by later ones; when that fails, with a warning, the clone as it is. Safe to call from several processes at once:
 * a clone is made beside its place and renamed into it.
 * @returns the folder of the clone.
 * @throws AnnexfsError INVALID for a URL that is refused, NOT_FOUND when no repository is there, UNAVAILABLE when it cannot be
 * cloned, ABORTED.
 */
export async function cloneForMount(url: string, cacheDir: string, log: Log, signal: AbortSignal): Promise<string> {
  const from = parseCloneUrl(url)
  const source: CloneSource = { url: from.url, protocols: CLONE_PROTOCOLS, settings: from.settings }
  const folder = cloneFolder(url, cacheDir)
  if (await exists(folder)) {
    await update(from, source, folder, log, signal)
    return folder
  }
  log.info('cloning the repository', { url: from.shown })
  try {
    await makeClone(source, join(cacheDir, 'clones'), folder, signal)
  } catch (error) {
    if (isAnnexfsError(error, 'ABORTED')) throw error
    const reason = from.redact(reasonOf(error))
    const code = NOT_THERE.test(reason) ? 'NOT_FOUND' : 'UNAVAILABLE'
    throw new AnnexfsError(code, `cannot clone ${from.shown}: ${reason}`)
  }
  return folder
}

/** Where the clone of `url` is, or will be. */
export function cloneFolder(url: string, cacheDir: string): string {
  return join(cacheDir, 'clones', createHash('sha256').update(url).digest('hex'))
}

/**
 * Makes a clone at `folder`, which lies in `clones`; one that another process made meanwhile is as good.
 * @throws AnnexfsError SYSTEM with what git said, ABORTED.
 */
export async function makeClone(
  source: CloneSource,
  clones: string,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  await mkdir(clones, { recursive: true, mode: 0o700 })
  await chmod(clones, 0o700)
  await removeLeftBehind(clones)
  const temporary = join(clones, `.new-${process.pid}-${randomBytes(6).toString('hex')}`)
  try {
    const args = ['clone', '--quiet', '--bare', '--no-tags', '--template=', '-c', `remote.origin.fetch=${MANIFESTS}`]
    await git(source, [...args, '--', source.url, temporary], signal)
    if (source.named !== undefined && source.named !== source.url) {
      await git(source, ['config', 'remote.origin.url', source.named], signal, temporary)
    }
    await chmod(temporary, 0o700)
    await rename(temporary, folder)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    const code = systemCode(error)
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
}

async function update(
  from: CloneUrl,
  source: CloneSource,
  folder: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  try {
    await transfer(source, folder, '+refs/heads/*:refs/heads/*', signal)
  } catch (error) {
    if (isAnnexfsError(error, 'ABORTED')) throw error
    log.warn('the clone cannot be brought up to date; it is mounted as it is', {
      url: from.shown,
      reason: from.redact(reasonOf(error)),
    })
  }
}

/** Fetches what `refspec` names into a clone, and with all branches its manifests. @throws AnnexfsError SYSTEM with what git said, TIMED_OUT, ABORTED. */
export async function transfer(
  source: CloneSource,
  folder: string,
  refspec: string,
  signal: AbortSignal,
): Promise<void> {
  // A branch that is gone there goes here too; a commit that was asked for by its id stays.
  const all = refspec.includes('*')
  const [prune, also] = all ? [['--prune'], [MANIFESTS]] : [[], []]
  const args = ['fetch', '--quiet', ...prune, '--no-tags', '--no-write-fetch-head', '--', source.url, refspec, ...also]
  await git(source, args, signal, folder)
}

async function git(from: CloneSource, args: readonly string[], signal: AbortSignal, gitDir?: string): Promise<void> {
  await runGit(args, {
    protocols: from.protocols,
    settings: [...SLOW, ...from.settings],
    maxOutput: 1024 * 1024,
    signal,
    ...(gitDir === undefined ? {} : { gitDir, timeout: FETCH_TIMEOUT }),
  })
}

/** Whether there is a clone. @throws AnnexfsError SYSTEM when that cannot be told. */
export async function exists(folder: string): Promise<boolean> {
  return stat(join(folder, 'HEAD')).then(
    () => true,
    (error: unknown) => {
      if (systemCode(error) === 'ENOENT') return false
      throw new AnnexfsError('SYSTEM', `cannot look into ${folder}: ${reasonOf(error)}`, { cause: error })
    },
  )
}

async function removeLeftBehind(clones: string): Promise<void> {
  for (const name of await readdir(clones)) {
    if (!name.startsWith('.new-')) continue
    const path = join(clones, name)
    const status = await stat(path).catch(() => undefined)
    if (status !== undefined && Date.now() - status.mtimeMs > LEFT_BEHIND)
      await rm(path, { recursive: true, force: true })
  }
}
