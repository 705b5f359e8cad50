import { isAnnexfsError, reasonOf } from '../errors.js'
import { GitConfig } from '../git/config.js'
import { runGit } from '../git/process.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'

/** `require`: only refs whose latest commit carries a good signature are read. */
export type ManifestSignatures = 'ignore' | 'require'
export const MANIFEST_SIGNATURES: readonly ManifestSignatures[] = ['ignore', 'require']

const TIMEOUT = 30_000
const MOST_REMEMBERED = 10_000
/** A commit that could not be checked is not good, and is checked again after so long. */
const CHECK_AGAIN: Milliseconds = 60_000
/** What git says when the program that checks could not be run at all. */
const NOT_RUN = /(?:cannot|could not|unable to|failed to) (?:run|exec|fork|create|start|spawn)/i

/**
 * What decides whom to trust is the user's: the repository may belong to somebody else, and its configuration must
 * neither name programs for us to run nor say whose signatures count. Undefined: git's default.
 */
const USERS_OWN: readonly (readonly [name: string, otherwise: string])[] = [
  ['gpg.program', 'gpg'],
  ['gpg.openpgp.program', 'gpg'],
  ['gpg.x509.program', 'gpgsm'],
  ['gpg.ssh.program', 'ssh-keygen'],
  ['gpg.ssh.allowedsignersfile', '/dev/null'],
  ['gpg.ssh.revocationfile', ''],
  ['gpg.mintrustlevel', 'undefined'],
]

/** Checks signatures of commits with the user's own keys and settings (git-verify-commit(1)). */
export class CommitSignatures {
  readonly #git: GitRepository
  readonly #log: Log
  readonly #known = new Map<string, { readonly good: boolean; readonly until: Milliseconds }>()
  readonly #checkAgain: Milliseconds
  #settings: Promise<readonly (readonly [string, string])[]> | undefined

  /** @param checkAgain after how long a commit is asked about again that could not be checked. */
  constructor(git: GitRepository, log: Log, checkAgain = CHECK_AGAIN) {
    this.#git = git
    this.#log = log
    this.#checkAgain = checkAgain
  }

  /**
   * Whether the commit carries a good signature by a key that the user's settings trust. Each is asked about once, but
   * for those that could not be checked.
   */
  async isGood(commit: string): Promise<boolean> {
    const known = this.#known.get(commit)
    if (known !== undefined && performance.now() < known.until) return known.good
    const good = await this.#verify(commit)
    if (this.#known.size >= MOST_REMEMBERED) this.#known.clear()
    const until = good === undefined ? performance.now() + this.#checkAgain : Infinity
    this.#known.set(commit, { good: good === true, until })
    return good === true
  }

  /** Undefined when there is no verdict. */
  async #verify(commit: string): Promise<boolean | undefined> {
    this.#settings ??= userSettings().catch((error: unknown) => {
      this.#settings = undefined
      throw error
    })
    try {
      const { gitDir } = this.#git
      const settings = await this.#settings
      await runGit(['verify-commit', '--', commit], { gitDir, settings, maxOutput: 65_536, timeout: TIMEOUT })
      return true
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.#log.warn('manifests without a good signature are not used', { commit, reason: reasonOf(error) })
      return isVerdict(error) ? false : undefined
    }
  }
}

/** git-verify-commit(1) says no with the exit code 1; a git that was killed, or came to no end, has said nothing. */
function isVerdict(error: unknown): boolean {
  const said = reasonOf(error)
  return isAnnexfsError(error, 'SYSTEM') && said.includes('failed (exit code 1)') && !NOT_RUN.test(said)
}

/** The settings of {@link USERS_OWN} from the system's and the user's configuration alone. */
async function userSettings(): Promise<readonly (readonly [string, string])[]> {
  const listings = await Promise.all(
    ['--system', '--global'].map((scope) =>
      // 1: there is no such file.
      runGit(['config', scope, '--includes', '--list', '-z'], {
        maxOutput: 16 * 1024 * 1024,
        timeout: TIMEOUT,
        accept: [1, 128],
      }),
    ),
  )
  const own = new GitConfig(Buffer.concat(listings))
  const program = own.get('gpg.program')
  return USERS_OWN.map(([name, otherwise]) => {
    const fallback = name === 'gpg.openpgp.program' ? (program ?? otherwise) : otherwise
    return [name, own.get(name) ?? fallback] as const
  })
}
