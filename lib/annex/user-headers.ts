import { reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import type { Log } from '../log/log.js'
import { isOwn, runConfigured } from './command.js'
import { headerLines, type NetworkSettings } from './network.js'

const SETTING = 'annex.http-headers-command'

/**
 * The headers that the user wants with every request: what `annex.http-headers-command` prints, else
 * `annex.http-headers`. Without those of a command that fails or may not be run.
 */
export async function userHeaders(
  { headers, headersCommand }: NetworkSettings,
  git: Pick<GitRepository, 'gitDir' | 'commonDir'>,
  log: Log,
): Promise<readonly (readonly [string, string])[]> {
  if (headersCommand === undefined || headersCommand === '') return headers
  if (!(await isOwn(git))) {
    log.warn(`${SETTING} is not run: the repository belongs to another user`, { repository: git.gitDir })
    return []
  }
  try {
    const { output, code } = await runConfigured(SETTING, headersCommand, git.gitDir)
    if (code !== 0) log.warn(`${SETTING} failed; no headers are sent`, { exit: code })
    return code === 0 ? headerLines(output.split('\n')) : []
  } catch (error) {
    log.warn(`${SETTING} failed; no headers are sent`, { reason: reasonOf(error) })
    return []
  }
}
