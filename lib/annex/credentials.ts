import { isUtf8 } from 'node:buffer'
import { inspect } from 'node:util'
import type { Cipher } from '../cipher/cipher.js'
import { decryptCreds } from '../cipher/creds.js'
import { AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import { openLocalFile } from '../sources/local-file.js'
import type { Milliseconds } from '../space/space.js'
import type { Credentials } from '../stores/context.js'
import type { AnnexRemote } from './remote.js'

/** User and password that no log, error or dump shows by accident: they are neither properties nor text. */
export class HiddenCredentials implements Credentials {
  readonly #user: string
  readonly #password: string
  declare readonly token?: string

  constructor(user: string, password: string, token?: string) {
    this.#user = user
    this.#password = password
    if (token !== undefined && token !== '') Object.defineProperty(this, 'token', { value: token, enumerable: false })
  }

  get user(): string {
    return this.#user
  }

  get password(): string {
    return this.#password
  }

  toString(): string {
    return HIDDEN
  }

  toJSON(): string {
    return HIDDEN
  }

  [inspect.custom](): string {
    return HIDDEN
  }
}

const HIDDEN = '[credentials]'

/** Where git-annex keeps the credentials of a kind of special remote (Creds.hs, Remote/Helper/AWS.hs, Remote/WebDAV.hs). */
interface Places {
  /** Environment variables: user, password, session token. */
  readonly environment: readonly [string, string, string?]
  /** The field of remote.log, with `embedcreds=yes`. */
  readonly field: string
}

const AWS: Places = {
  environment: ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'],
  field: 's3creds',
}

const PLACES: ReadonlyMap<string, Places> = new Map([
  ['S3', AWS],
  ['glacier', AWS],
  ['webdav', { environment: ['WEBDAV_USERNAME', 'WEBDAV_PASSWORD'], field: 'davcreds' }],
])

/** Two lines, each shorter than any server takes. */
const LARGEST_FILE = 64 * 1024
const DECRYPT_TIMEOUT: Milliseconds = 30_000

export interface CredentialsOptions {
  /** The folder that holds `annex/creds`. */
  readonly commonDir: string
  readonly environment?: NodeJS.ProcessEnv
  /** Of the remote: what it keeps in remote.log may be encrypted. */
  readonly cipher: () => Promise<Cipher | undefined>
}

/**
 * The credentials of a special remote, looked for where git-annex does, in its order: the environment, the repository's
 * `annex/creds/UUID`, `s3creds=` or `davcreds=` in remote.log. Undefined when there are none. A remote that the
 * user has not enabled gets none: somebody else has named its host.
 * @throws AnnexfsError INVALID when they are there but damaged; what opening the cipher throws.
 */
export async function remoteCredentials(
  remote: AnnexRemote,
  options: CredentialsOptions,
): Promise<HiddenCredentials | undefined> {
  const places = PLACES.get(remote.kind)
  if (places === undefined || !remote.configured) return undefined
  const { environment = process.env } = options
  const [userName, passwordName, tokenName] = places.environment
  const user = environment[userName]
  const password = environment[passwordName]
  if (user !== undefined && user !== '' && password !== undefined && password !== '') {
    return new HiddenCredentials(user, password, tokenName === undefined ? undefined : environment[tokenName])
  }
  for (const uuid of new Set([remote.uuid, remote.configUuid ?? remote.uuid])) {
    const stored = await storedCredentials(options.commonDir, uuid)
    if (stored !== undefined) return stored
  }
  return embedded(remote, places.field, options)
}

/**
 * What `annex/creds/NAME` holds: user and password, a line each. Undefined when there is no such file.
 * @throws AnnexfsError INVALID, SYSTEM when it cannot be read; the content is never shown.
 */
export async function storedCredentials(commonDir: string, name: string): Promise<HiddenCredentials | undefined> {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,255}$/.test(name)) return undefined
  const path = `${commonDir}/annex/creds/${name}`
  const file = await openLocalFile(path, undefined)
  if (file === undefined) return undefined
  try {
    if (file.size > LARGEST_FILE) throw damaged(path)
    return parsePair(Buffer.from(await file.read(0, file.size)), path)
  } finally {
    file.close()
  }
}

async function embedded(
  remote: AnnexRemote,
  field: string,
  { cipher }: CredentialsOptions,
): Promise<HiddenCredentials | undefined> {
  const text = remote.config.get(field)
  if (text === undefined || text === '') return undefined
  try {
    const signal = AbortSignal.timeout(DECRYPT_TIMEOUT)
    const { user, password } = await decryptCreds({ text, cipher: await cipher(), signal })
    return new HiddenCredentials(user, password)
  } catch (error) {
    const code = isAnnexfsError(error) ? error.code : 'SYSTEM'
    const what = `${field}= of remote ${remote.name} in remote.log cannot be used: ${reasonOf(error)}`
    throw new AnnexfsError(code, what, { cause: error })
  }
}

function parsePair(bytes: Buffer, where: string): HiddenCredentials {
  const [user, password] = bytes.toString(isUtf8(bytes) ? 'utf8' : 'latin1').split('\n')
  if (user === undefined || user === '' || password === undefined) throw damaged(where)
  return new HiddenCredentials(user, password)
}

function damaged(where: string): AnnexfsError {
  return new AnnexfsError(
    'INVALID',
    `${where} should hold credentials, a user and a password in a line each, but does not`,
  )
}
