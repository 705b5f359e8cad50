import { join } from 'node:path'
import {
  abortError,
  AnnexfsError,
  attemptText,
  isAnnexfsError,
  reasonOf,
  throwIfAborted,
  type Attempt,
} from '../errors.js'
import type { Log } from '../log/log.js'
import { cloneCandidates, type CloneCandidate, type SubmoduleOrigin, type Superproject } from './clone-candidates.js'
import { guarded, type CloneGuard } from './clone-guard.js'
import { cloneFolder, exists, makeClone, transfer, type CloneSource } from './clone.js'
import { runGit } from './process.js'

export interface SubmoduleClonesOptions extends CloneGuard {
  readonly cacheFolder: string
  readonly log: Log
}

/** Clones made at once; the others wait. */
const AT_ONCE = 4
/** A clone of a huge repository takes its time. */
const LONGEST = 60 * 60 * 1000

/**
 * Bare clones of submodules that are not here, beside those of URLs that were given: all branches (git-annex's among them),
 * no annexed content. Each is made once, whoever asks; later ones find it, and bring it up to date behind the scenes.
 */
export class SubmoduleClones {
  readonly #options: SubmoduleClonesOptions
  readonly #closing = new AbortController()
  /** By the URL that is cloned and the commit that is wanted of it. */
  readonly #making = new Map<string, Promise<string>>()
  readonly #refreshed = new Map<string, Promise<void>>()
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(options: SubmoduleClonesOptions) {
    this.#options = options
  }

  /**
   * The folder of a clone that has `commit`; resolves after the network was waited for when there is none yet.
   * @throws AnnexfsError UNAVAILABLE with what was tried and why it failed, ABORTED when closed meanwhile.
   */
  async find(around: Superproject, origin: SubmoduleOrigin, commit: string): Promise<string> {
    const { candidates, refused } = cloneCandidates(around, origin)
    for (const candidate of candidates) {
      const folder = this.#folderOf(candidate)
      if ((await exists(folder)) && (await hasCommit(folder, commit))) {
        this.#refresh(candidate, folder)
        return folder
      }
    }
    const attempts: Attempt[] = []
    for (const candidate of candidates) {
      const { shown } = candidate.from
      try {
        return await this.#once(candidate, commit)
      } catch (error) {
        throwIfAborted(this.#closing.signal)
        attempts.push({ source: shown, reason: candidate.from.redact(reasonOf(error)) })
      }
    }
    attempts.push(...refused)
    const tried = attempts.map(attemptText).join('; ')
    throw new AnnexfsError(
      'UNAVAILABLE',
      `the sub-dataset ${JSON.stringify(origin.path)} cannot be cloned at ${commit}: ${tried || 'no place is known for it'}`,
      { attempts },
    )
  }

  /** Ends what is under way; resolves when its processes are gone. */
  async close(): Promise<void> {
    this.#closing.abort(new AnnexfsError('ABORTED', 'the repository was closed'))
    for (const go of this.#waiting.splice(0)) go()
    await Promise.allSettled([...this.#making.values(), ...this.#refreshed.values()])
  }

  #folderOf(candidate: CloneCandidate): string {
    return cloneFolder(candidate.from.url, this.#options.cacheFolder)
  }

  #once(candidate: CloneCandidate, commit: string): Promise<string> {
    const id = `${candidate.from.url} ${commit}`
    const running = this.#making.get(id)
    if (running !== undefined) return running
    const making = this.#inTurn(() => this.#make(candidate, commit)).finally(() => this.#making.delete(id))
    this.#making.set(id, making)
    return making
  }

  async #make(candidate: CloneCandidate, commit: string): Promise<string> {
    const { log, cacheFolder } = this.#options
    const signal = this.#signal()
    const source = await this.#source(candidate, signal)
    const folder = this.#folderOf(candidate)
    if (!(await exists(folder))) {
      log.info('cloning a sub-dataset', { url: candidate.from.shown })
      await makeClone(source, join(cacheFolder, 'clones'), folder, signal)
    }
    if (await hasCommit(folder, commit)) return folder
    await transfer(source, folder, '+refs/heads/*:refs/heads/*', signal)
    // Of a commit that no branch has any more; kept by a name of its own.
    if (!(await hasCommit(folder, commit))) {
      await transfer(source, folder, `+${commit}:refs/annexfs/${commit}`, signal)
    }
    if (await hasCommit(folder, commit)) return folder
    throw new AnnexfsError('UNAVAILABLE', `the repository does not have the commit ${commit}`)
  }

  async #source(candidate: CloneCandidate, signal: AbortSignal): Promise<CloneSource> {
    const { url, protocols, settings } = await guarded(candidate, this.#options, signal)
    return { url, protocols, settings, named: candidate.from.url }
  }

  /** Once in the life of a mount: what git-annex learned since of where content is. */
  #refresh(candidate: CloneCandidate, folder: string): void {
    if (this.#refreshed.has(folder)) return
    const work = this.#inTurn(async () => {
      const signal = this.#signal()
      await transfer(await this.#source(candidate, signal), folder, '+refs/heads/*:refs/heads/*', signal)
    }).catch((error: unknown) => {
      if (this.#closing.signal.aborted || isAnnexfsError(error, 'ABORTED')) return
      this.#options.log.info('the clone of a sub-dataset cannot be brought up to date', {
        url: candidate.from.shown,
        reason: candidate.from.redact(reasonOf(error)),
      })
    })
    this.#refreshed.set(folder, work)
  }

  #signal(): AbortSignal {
    return AbortSignal.any([this.#closing.signal, AbortSignal.timeout(LONGEST)])
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE) await new Promise<void>((go) => this.#waiting.push(go))
    else this.#running++
    try {
      if (this.#closing.signal.aborted) throw abortError(this.#closing.signal)
      return await work()
    } finally {
      // The place goes to who waits, or is free.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}

async function hasCommit(folder: string, commit: string): Promise<boolean> {
  const options = { gitDir: folder, maxOutput: 1024, timeout: 30_000, accept: [1, 128] }
  const type = await runGit(['cat-file', '-t', commit], options)
  return type.toString().trim() === 'commit'
}
