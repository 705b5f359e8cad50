import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { CommitSignatures, type ManifestSignatures } from './signatures.js'

/** The repository's own manifests. */
export const MANIFEST_REF = 'refs/annexfs/manifests'
/** Refs that are read at most; a repository that was cloned from thousands of others has that many. */
const MOST_REFS = 200
/** Known refs are looked at again when this has passed since, and all refs are listed again after the second. */
const LOOK_EVERY: Milliseconds = 1_000
const LIST_EVERY: Milliseconds = 30_000

/** A ref that holds manifests, and what it points to now. */
export interface ManifestTip {
  readonly ref: string
  readonly commit: string
  readonly tree: string
}

/**
 * The ref `refs/annexfs/manifests` and all others that end in `/annexfs/manifests`, the repository's own first. They may
 * move at any time: those that are known, and those that a fetch from a configured remote would make, are looked at once a second
 * when somebody asks; all others are found within half a minute.
 */
export class ManifestRefs {
  readonly #git: GitRepository
  readonly #log: Log
  readonly #signatures: CommitSignatures | undefined
  #tips: readonly ManifestTip[] = []
  #names: readonly string[] = []
  #commits: readonly (string | undefined)[] = []
  #packed = ''
  #lookedAt = -Infinity
  #listedAt = -Infinity
  #looking: Promise<void> | undefined

  constructor(git: GitRepository, signatures: ManifestSignatures, log: Log) {
    this.#git = git
    this.#log = rateLimited(log, 60_000)
    this.#signatures = signatures === 'require' ? new CommitSignatures(git, this.#log) : undefined
  }

  /** The tips that may be read, the repository's own first. @throws AnnexfsError SYSTEM when git fails. */
  async tips(): Promise<readonly ManifestTip[]> {
    const now = performance.now()
    if (now - this.#lookedAt > LOOK_EVERY) {
      this.#looking ??= this.#look(now).finally(() => {
        this.#looking = undefined
      })
      await this.#looking
    }
    return this.#tips
  }

  /** Looks again at the next question, whatever the time. */
  expire(): void {
    this.#lookedAt = -Infinity
    this.#listedAt = -Infinity
  }

  async #look(now: number): Promise<void> {
    const packed = await packedRefs(this.#git.commonDir)
    if (this.#listedAt === -Infinity) await this.#relist(now, packed)
    // A process of git takes as long as all the rest of an open: nobody waits for it a second time.
    else if (now - this.#listedAt > LIST_EVERY || packed !== this.#packed) void this.#relistLater(now, packed)
    // They may be listed anew meanwhile.
    const names = this.#names
    const commits = (await this.#git.objects.infos(names.map((name) => `${name}^{commit}`))).map((info) => info?.sha)
    const same = commits.length === this.#commits.length && commits.every((sha, index) => sha === this.#commits[index])
    if (!same) {
      this.#tips = await this.#readable(names, commits)
      this.#commits = commits
    }
    this.#lookedAt = now
  }

  async #relist(now: number, packed: string): Promise<void> {
    this.#names = await this.#list()
    this.#listedAt = now
    this.#packed = packed
  }

  async #relistLater(now: number, packed: string): Promise<void> {
    this.#listedAt = now
    try {
      await this.#relist(now, packed)
      this.#lookedAt = -Infinity
    } catch (error) {
      this.#log.warn('the refs that hold manifests cannot be listed', { reason: reasonOf(error) })
    }
  }

  async #readable(names: readonly string[], commits: readonly (string | undefined)[]): Promise<readonly ManifestTip[]> {
    const there = names.flatMap((ref, index) => {
      const commit = commits[index]
      return commit === undefined ? [] : [{ ref, commit }]
    })
    const trees = await this.#git.objects.infos(there.map(({ commit }) => `${commit}^{tree}`))
    const tips: ManifestTip[] = []
    for (const [index, { ref, commit }] of there.entries()) {
      const tree = trees[index]?.sha
      if (tree === undefined || tips.some((tip) => tip.commit === commit)) continue
      if (this.#signatures !== undefined && !(await this.#signatures.isGood(commit))) continue
      tips.push({ ref, commit, tree })
    }
    return tips
  }

  /** All refs there are now, and those that the next fetch may make. */
  async #list(): Promise<readonly string[]> {
    const names = new Set([MANIFEST_REF])
    const listing = await this.#git.run(
      ['for-each-ref', `--count=${MOST_REFS}`, '--format=%(refname)', MANIFEST_REF, 'refs/**/annexfs/manifests'],
      { maxOutput: 1024 * 1024, timeout: 30_000 },
    )
    for (const name of listing.toString('utf8').split('\n')) if (name.startsWith('refs/')) names.add(name)
    const config = await this.#git.config()
    for (const remote of config.subsections('remote').slice(0, MOST_REFS)) {
      if (isRefPart(remote)) names.add(`refs/remotes/${remote}/annexfs/manifests`)
    }
    return [...names]
  }
}

/** Names of remotes may be URLs and worse, which no ref is named after. */
function isRefPart(name: string): boolean {
  return /^[\w.-][\w./-]{0,200}$/.test(name) && !name.includes('..')
}

async function packedRefs(commonDir: string): Promise<string> {
  try {
    const status = await stat(join(commonDir, 'packed-refs'))
    return `${status.mtimeMs}/${status.size}`
  } catch (error) {
    // Mostly there is none; whatever else is wrong shows when git reads it.
    return reasonOf(error)
  }
}
