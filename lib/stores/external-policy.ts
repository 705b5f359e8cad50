import { isOwn } from '../annex/command.js'
import { AnnexfsError } from '../errors.js'
import type { StoreContext } from './context.js'

/**
 * The type of external special remote that the user's own git configuration names. What the git-annex branch says does
 * not count: everybody who pushes to the repository can write there.
 * @throws AnnexfsError UNSUPPORTED, INVALID, FORBIDDEN.
 */
export async function configuredType(context: StoreContext): Promise<string> {
  const type = await ownSetting(context, 'annex-externaltype')
  const { name } = context.remote
  if (type === undefined) {
    throw new AnnexfsError(
      'UNSUPPORTED',
      `${name}: its program is not run because it is not configured here; run "git annex enableremote ${name}" first`,
    )
  }
  if (!/^[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}$/.test(type)) {
    throw new AnnexfsError('INVALID', `${name}: annex-externaltype is not the name of a program`)
  }
  if (type === 'readonly') {
    throw new AnnexfsError('UNSUPPORTED', `${name}: a read-only external remote is read by its URLs alone`)
  }
  await requireOwnRepository(context)
  return type
}

/** A setting of the remote in the git configuration itself, without those that the git-annex branch has of it. */
export async function ownSetting({ annex, remote }: StoreContext, setting: string): Promise<string | undefined> {
  return remote.configured ? (await annex.git.config()).get(`remote.${remote.name}.${setting}`) : undefined
}

/**
 * Programs that a configuration names are run only when it is the user's own.
 * @throws AnnexfsError FORBIDDEN.
 */
export async function requireOwnRepository({ annex, remote }: StoreContext): Promise<void> {
  const { commonDir } = annex.git
  if (await isOwn(annex.git)) return
  throw new AnnexfsError(
    'FORBIDDEN',
    `${remote.name}: ${commonDir} belongs to another user, so no program that its configuration names is run; mount it as that user`,
  )
}
