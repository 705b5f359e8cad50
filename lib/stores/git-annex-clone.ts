import { randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, rename, rmdir, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { displayKey, keyFile, type Key } from '../annex/key.js'
import { findObject } from '../annex/object-file.js'
import { removeTree } from '../cache/scratch.js'
import { AnnexfsError, isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { gitEnvironment, runGit } from '../git/process.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { StoreContext } from './context.js'
import { deathGuard } from './external-process.js'
import { runAnnex } from './git-annex-run.js'
import { cloneSettings } from './git-annex-config.js'
import { copyJournals, inFolder, isAbsent, linkCredentials } from './git-annex-journal.js'
import type { ObjectName } from './store.js'

/** What git may speak for git-annex; nothing that a URL could make it run. */
const PROTOCOLS = ['file', 'git', 'http', 'https', 'ssh', 'gcrypt', 'tor-annex', 'rsync']
const SETUP_TIMEOUT: Milliseconds = 60_000
const LONGEST_LISTING: Bytes = 16 * 1024 * 1024

/**
 * A private bare clone of the repository for git-annex to work in: it borrows the objects, has the git-annex branches and
 * the settings of one remote, and a uuid of its own that is told to nobody. The repository itself is only read.
 */
export class AnnexClone {
  readonly #context: StoreContext
  readonly #program: string
  readonly #patience: Milliseconds
  #made: Promise<string> | undefined
  /** One at a time: the refs of the clone and its journals. */
  #preparing: Promise<unknown> = Promise.resolve()
  #refs = ''

  constructor(context: StoreContext, program: string, patience: Milliseconds) {
    this.#context = context
    this.#program = program
    this.#patience = patience
  }

  /**
   * Brings the content of a key into `file`, which may hold a beginning.
   * @throws AnnexfsError UNAVAILABLE with what git-annex said, TIMED_OUT, ABORTED.
   */
  async get(
    name: ObjectName,
    file: string,
    { signal, progress }: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<void> {
    const key = name.content
    if (key.raw.includes('\n') || name.suffix !== undefined) {
      throw new AnnexfsError('UNSUPPORTED', `git-annex cannot be asked for ${displayKey(key)}`)
    }
    const clone = await this.#ready(key, signal)
    const partial = inFolder(join(clone, 'annex', 'tmp'), keyFile(key))
    await mkdir(join(clone, 'annex', 'tmp'), { recursive: true, mode: 0o700 })
    await moved(file, partial)
    try {
      await this.#run(clone, key, { signal, progress })
      const object = await findObject(clone, key, { bare: true, lower: true, oneLevel: false })
      if (object === undefined) {
        throw new AnnexfsError(
          'UNAVAILABLE',
          `git-annex has brought ${displayKey(key)}, but it is not where it should be`,
        )
      }
      await takeObject(object.path, file)
    } catch (error) {
      // A beginning for the next try.
      await moved(partial, file)
      throw error
    }
  }

  async close(): Promise<void> {
    const made = this.#made
    this.#made = Promise.reject(new AnnexfsError('ABORTED', `${this.#context.remote.name} was closed`))
    this.#made.catch(() => undefined)
    const clone = await made?.catch(() => undefined)
    if (clone !== undefined) await removeTree(clone)
  }

  async #run(
    clone: string,
    key: Key,
    { signal, progress }: { readonly signal: AbortSignal; readonly progress: (bytes: Bytes) => void },
  ): Promise<void> {
    const { remote, log } = this.#context
    const outcome = await runAnnex({
      program: this.#program,
      name: `git-annex for ${remote.name} (${remote.kind})`,
      args: ['get', '--json', '--json-progress', '--json-error-messages', '--batch-keys', `--from=${remote.name}`],
      input: key.raw,
      cwd: clone,
      env: await this.#environment(),
      guard: await deathGuard(),
      patience: this.#patience,
      signal,
      progress,
      log,
    })
    if (outcome.success && outcome.told) return
    if (outcome.success) {
      throw new AnnexfsError(
        'UNAVAILABLE',
        `git-annex does not try to get ${displayKey(key)} from ${remote.name}: it does not believe that it is there`,
      )
    }
    const why = outcome.messages === '' ? 'git-annex does not say why' : outcome.messages
    throw new AnnexfsError('UNAVAILABLE', `${displayKey(key)} cannot be had from ${remote.name}: ${why}`)
  }

  async #environment(): Promise<NodeJS.ProcessEnv> {
    return gitEnvironment({ protocols: PROTOCOLS, settings: await cloneSettings(this.#context), secrets: true })
  }

  /** The clone, with what the repository knows now. */
  async #ready(key: Key, signal: AbortSignal): Promise<string> {
    const clone = await this.#clone()
    throwIfAborted(signal)
    const work = this.#preparing.then(async () => {
      await this.#copyRefs(clone)
      await copyJournals(this.#context.annex.git.commonDir, clone, key)
    })
    this.#preparing = work.catch(() => undefined)
    try {
      await work
    } catch (error) {
      throw isAnnexfsError(error) ? error : new AnnexfsError('SYSTEM', `cannot prepare ${clone}: ${reasonOf(error)}`)
    }
    return clone
  }

  async #clone(): Promise<string> {
    const made = await this.#made?.catch((error: unknown) => {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      return undefined
    })
    if (made !== undefined && (await exists(join(made, 'HEAD')))) return made
    // The cache folder was emptied under us, or it failed before.
    const making = (this.#made = this.#make())
    return making
  }

  async #make(): Promise<string> {
    const { annex, scratch, folder, log, remote } = this.#context
    const base = scratch === undefined ? folder : await scratch.folder()
    await mkdir(base, { recursive: true, mode: 0o700 })
    const clone = join(base, `clone-${randomBytes(6).toString('hex')}`)
    const { commonDir } = annex.git
    if (/[\r\n]/.test(commonDir)) throw new AnnexfsError('UNSUPPORTED', `the path ${commonDir} has a line break in it`)
    const format = (await annex.git.config()).get('extensions.objectformat') ?? 'sha1'
    try {
      const init = ['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, '--', clone]
      await runGit(init, { maxOutput: LONGEST_LISTING, timeout: SETUP_TIMEOUT })
      await chmod(clone, 0o700)
      await mkdir(join(clone, 'objects', 'info'), { recursive: true })
      // git-annex writes there and expects the folder.
      await mkdir(join(clone, 'info'), { recursive: true })
      await writeFile(join(clone, 'objects', 'info', 'alternates'), `${join(commonDir, 'objects')}\n`)
      await copyFile(join(commonDir, 'shallow'), join(clone, 'shallow')).catch((error: unknown) => {
        if (!isAbsent(error)) throw error
      })
      this.#refs = ''
      await this.#copyRefs(clone)
      const { success, messages } = await runAnnex({
        program: this.#program,
        name: `git-annex init for ${remote.name}`,
        args: ['init', '--quiet', '--no-autoenable', 'annexfs'],
        cwd: clone,
        env: await this.#environment(),
        guard: await deathGuard(),
        patience: SETUP_TIMEOUT,
        signal: AbortSignal.timeout(SETUP_TIMEOUT),
        log,
      })
      if (!success) throw new AnnexfsError('UNAVAILABLE', `git-annex cannot be set up in the cache: ${messages}`)
      await linkCredentials(commonDir, clone)
      return clone
    } catch (error) {
      await removeTree(clone)
      throw error
    }
  }

  /** Makes the clone's git-annex branches those of the repository, when they have changed. */
  async #copyRefs(clone: string): Promise<void> {
    const { git } = this.#context.annex
    const args = [
      'for-each-ref',
      '--count=1000',
      '--format=%(objectname) %(refname)',
      'refs/heads/git-annex',
      'refs/**/git-annex',
    ]
    const listing = (await git.run(args, { maxOutput: LONGEST_LISTING, timeout: SETUP_TIMEOUT })).toString('latin1')
    if (listing === this.#refs) return
    const tips = new Map<string, string>()
    for (const line of listing.split('\n')) {
      const [, sha, ref] = /^([0-9a-f]{40,64}) (refs\/.*)$/.exec(line) ?? []
      if (sha !== undefined && ref !== undefined) tips.set(ref, sha)
    }
    const [first, ...others] = new Set(
      [...tips]
        .sort(([a], [b]) => Number(b === 'refs/heads/git-annex') - Number(a === 'refs/heads/git-annex'))
        .map(([, sha]) => sha),
    )
    if (first === undefined) {
      throw new AnnexfsError('UNAVAILABLE', `${git.commonDir} has no git-annex branch`)
    }
    const commands = [
      `update refs/heads/git-annex ${first}`,
      ...others.map((sha, index) => `update refs/remotes/other-${index}/git-annex ${sha}`),
    ]
    await runGit(['update-ref', '--stdin'], {
      gitDir: clone,
      input: `${commands.join('\n')}\n`,
      maxOutput: LONGEST_LISTING,
      timeout: SETUP_TIMEOUT,
    })
    this.#refs = listing
  }
}

/** Moves the object out of git-annex's own folder, which it protects from writing. */
async function takeObject(object: Buffer, file: string): Promise<void> {
  const folder = Buffer.from(dirname(object.toString('latin1')), 'latin1')
  await chmod(folder, 0o700)
  await rename(object, file)
  await chmod(file, 0o600)
  await rmdir(folder).catch((error: unknown) => {
    // Something else of the key is there, and goes with the clone.
    if (!isAbsent(error) && !/ENOTEMPTY|EEXIST/.test(reasonOf(error))) throw error
  })
}

/** Moves a file if it is there. */
async function moved(from: string | Buffer, to: string | Buffer): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    if (!isAbsent(error)) throw error
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: unknown) => {
      if (isAbsent(error)) return false
      throw error
    },
  )
}
