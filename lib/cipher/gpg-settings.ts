import { isOwn } from '../annex/command.js'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Log } from '../log/log.js'

export interface GpgSettings {
  readonly program: string
  /** Given to gpg before our own, when it decrypts with the user's keys. */
  readonly decryptOptions: readonly string[]
}

export const DEFAULT_GPG: GpgSettings = { program: 'gpg', decryptOptions: [] }

/**
 * `gpg.program`, and `annex-gnupg-decrypt-options` of the remote or `annex.gnupg-decrypt-options`, from the git
 * configuration alone: what remote.log says is not the user's word. (`gnupg-options` are for encrypting.) A repository
 * whose configuration belongs to somebody else names no program for us to run, nor options that could.
 */
export async function gpgSettings(annex: AnnexRepository, remote: AnnexRemote, log: Log): Promise<GpgSettings> {
  const config = await annex.git.config()
  const own = remote.configured ? config.under('remote', remote.name) : new Map<string, string>()
  const program = config.get('gpg.program')
  const options = own.get('annex-gnupg-decrypt-options') ?? config.get('annex.gnupg-decrypt-options')
  if (program === undefined && options === undefined) return DEFAULT_GPG
  if (!(await isOwn(annex.git))) {
    log.warn('the settings for gpg are not used: the repository belongs to another user', { remote: remote.name })
    return DEFAULT_GPG
  }
  return {
    program: program === undefined || program === '' ? DEFAULT_GPG.program : program,
    decryptOptions: (options ?? '').split(/\s+/).filter((word) => word !== ''),
  }
}
