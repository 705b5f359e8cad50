import { storedCredentials } from '../annex/credentials.js'
import { decryptCreds } from '../cipher/creds.js'
import { remoteCipher } from '../cipher/open.js'
import type { Milliseconds } from '../space/space.js'
import type { Credentials, StoreContext } from './context.js'

const DECRYPT_TIMEOUT: Milliseconds = 30_000

/**
 * The credentials that an external special remote has under `name`, where git-annex (Creds.hs) keeps them: the environment
 * (`UUID-NAMElogin`, `UUID-NAMEpassword`), `annex/creds/UUID-NAME`, the field NAME of remote.log; then those of the remote.
 * @throws AnnexfsError INVALID, SYSTEM when they are there and cannot be read.
 */
export async function externalCredentials(context: StoreContext, name: string): Promise<Credentials | undefined> {
  const { remote, annex, folder, log } = context
  const base = `${remote.uuid}-${name}`.replace(/\//g, '_')
  const user = process.env[`${base}login`]
  const password = process.env[`${base}password`]
  if (user !== undefined && password !== undefined) return { user, password }
  const stored = await storedCredentials(annex.git.commonDir, base)
  if (stored !== undefined) return stored
  const text = remote.config.get(name)
  if (text !== undefined && text !== '' && remote.config.get('embedcreds') === 'yes') {
    const cipher = await remoteCipher({ remote, annex, folder, log })()
    return decryptCreds({ text, cipher, signal: AbortSignal.timeout(DECRYPT_TIMEOUT) })
  }
  return context.credentials()
}
