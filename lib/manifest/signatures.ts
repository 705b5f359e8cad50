import { isAnnexfsError, reasonOf } from '../errors.js'
import { GitConfig } from '../git/config.js'
import { runGit } from '../git/process.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'

/** `require`: only refs whose latest commit carries a good signature are read. */
export type ManifestSignatures = 'ignore' | 'require'
export const MANIFEST_SIGNATURES: readonly ManifestSignatures[] = ['ignore', 'require']

const TIMEOUT = 30_000
const MOST_REMEMBERED = 10_000

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
  readonly #known = new Map<string, boolean>()
  #settings: Promise<readonly (readonly [string, string])[]> | undefined

  constructor(git: GitRepository, log: Log) {
    this.#git = git
    this.#log = log
  }

  /** Whether the commit carries a good signature by a key that the user's settings trust; each is asked about once. */
  async isGood(commit: string): Promise<boolean> {
    const known = this.#known.get(commit)
    if (known !== undefined) return known
    const good = await this.#verify(commit)
    if (this.#known.size >= MOST_REMEMBERED) this.#known.clear()
    this.#known.set(commit, good)
    return good
  }

  async #verify(commit: string): Promise<boolean> {
    this.#settings ??= userSettings()
    try {
      const { gitDir } = this.#git
      const settings = await this.#settings
      await runGit(['verify-commit', '--', commit], { gitDir, settings, maxOutput: 65_536, timeout: TIMEOUT })
      return true
    } catch (error) {
      if (isAnnexfsError(error, 'ABORTED')) throw error
      this.#log.warn('manifests without a good signature are not used', { commit, reason: reasonOf(error) })
      return false
    }
  }
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
