import { mayRunCommandsOf } from '../annex/command.js'
import { displayKey, type Key } from '../annex/key.js'
import { AnnexfsError } from '../errors.js'
import type { StoreContext } from './context.js'

/** Content of these is only a name: nothing tells whether what a remote gives is what was stored. */
const UNVERIFIABLE: ReadonlySet<string> = new Set(['URL', 'WORM'])
const ALLOW = 'allow-unverified-downloads'
const UNDERSTOOD = 'ACKTHPPT'

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
  if (await mayRunCommandsOf(commonDir)) return
  throw new AnnexfsError(
    'FORBIDDEN',
    `${remote.name}: ${commonDir} belongs to another user, so no program that its configuration names is run; mount it as that user`,
  )
}

/**
 * git-annex's rule for remotes that are programs: content without a hash is not taken from them.
 * @throws AnnexfsError FORBIDDEN unless the user has allowed it.
 */
export async function refuseUnverifiable({ annex, remote }: StoreContext, content: Key): Promise<void> {
  if (!UNVERIFIABLE.has(content.backend)) return
  const config = await annex.git.config()
  const names = [`annex.security.${ALLOW}`, `remote.${remote.name}.annex-security-${ALLOW}`]
  if (names.some((name) => config.get(name) === UNDERSTOOD)) return
  throw new AnnexfsError(
    'FORBIDDEN',
    `${displayKey(content)} has no hash to check it with, so it is not taken from ${remote.name}; ` +
      `git config ${names[0]} ${UNDERSTOOD} allows it`,
  )
}
