import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { AnnexfsError, reasonOf } from '../lib/errors.js'
import type { Authentication } from '../lib/gateway/authentication.js'
import type { ListenAddress } from '../lib/gateway/gateway.js'
import type { Log } from '../lib/log/log.js'
import type { Given, OptionSpec } from './options.js'

/** Of `mount`, which serves HTTP when it is told where. */
export const LISTEN_OPTION: OptionSpec = {
  name: 'listen',
  value: 'ADDRESS:PORT',
  help: 'also serve the files over HTTP and WebDAV, as annexfs serve does',
}

/** Of every command that serves HTTP, beside `--listen`. */
export const GATEWAY_OPTIONS: readonly OptionSpec[] = [
  { name: 'token', help: 'let in who sends the secret as a bearer token, or as the password of any user' },
  { name: 'basic-auth', value: 'USER', help: 'let in USER with the secret as password' },
  { name: 'auth-file', value: 'FILE', help: 'the secret is the first line of FILE (default: $ANNEXFS_AUTH)' },
  {
    name: 'allow-host',
    value: 'NAME',
    help: 'a name that clients may call this server by, beside localhost and its address',
    several: true,
  },
]

/** What the options say about serving HTTP. */
export interface GatewaySettings {
  readonly listen: ListenAddress
  readonly authentication?: Authentication
  readonly allowHosts: readonly string[]
}

/**
 * Undefined when nothing is to be served. Reads the secret.
 * @throws AnnexfsError USAGE for options that do not go together, and a secret that is not there.
 */
export async function gatewaySettings(given: Given, log: Log): Promise<GatewaySettings | undefined> {
  const listen = given.get('listen')
  const allowHosts = given.all('allow-host')
  if (listen === undefined) {
    const idle = GATEWAY_OPTIONS.find(({ name, value }) => (value === undefined ? given.has(name) : given.all(name)[0]))
    if (idle === undefined) return undefined
    throw new AnnexfsError('USAGE', `--${idle.name} wants --listen as well`)
  }
  const authentication = await authenticationOf(given, log)
  for (const name of allowHosts) {
    if (!/^[a-z0-9._-]+$|^\[?[0-9a-f:.]+\]?$/i.test(name)) {
      throw new AnnexfsError('USAGE', `--allow-host wants a name without port, not ${JSON.stringify(name)}`)
    }
  }
  return { listen: parseListen(listen), allowHosts, ...(authentication !== undefined && { authentication }) }
}

/** `127.0.0.1:8080`, `[::1]:8080`, `localhost:0`, or a port alone. @throws AnnexfsError USAGE. */
export function parseListen(text: string): ListenAddress {
  const match = /^(?:(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+)):)?(\d{1,5})$/i.exec(text)
  const port = Number(match?.[3] ?? NaN)
  if (match === null || port > 65_535) {
    throw new AnnexfsError('USAGE', `--listen wants ADDRESS:PORT such as 127.0.0.1:8080, not ${JSON.stringify(text)}`)
  }
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port }
}

async function authenticationOf(given: Given, log: Log): Promise<Authentication | undefined> {
  const user = given.get('basic-auth')
  const file = given.get('auth-file')
  // Programs that we start have no need to know it.
  const fromEnvironment = process.env['ANNEXFS_AUTH']
  delete process.env['ANNEXFS_AUTH']
  if (user === undefined && !given.has('token')) {
    if (file === undefined) return undefined
    throw new AnnexfsError('USAGE', '--auth-file wants --token or --basic-auth USER as well')
  }
  if (user !== undefined && given.has('token')) {
    throw new AnnexfsError('USAGE', 'give --token or --basic-auth, not both')
  }
  const secret = file === undefined ? fromEnvironment : await readSecret(file, log)
  if (secret === undefined || secret === '') {
    throw new AnnexfsError(
      'USAGE',
      '--token and --basic-auth need a secret, from --auth-file FILE or the variable ANNEXFS_AUTH',
    )
  }
  return { secret, ...(user !== undefined && { user }) }
}

/** More is no secret that anybody types. */
const LONGEST_SECRET = 4096

async function readSecret(path: string, log: Log): Promise<string> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOCTTY)
    try {
      const { mode } = await file.stat()
      if ((mode & 0o077) !== 0) log.warn('other users can read the secret; chmod 600 it', { file: path })
      const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST_SECRET), 0, LONGEST_SECRET, null)
      return (buffer.toString('utf8', 0, bytesRead).split('\n', 1)[0] ?? '').replace(/\r$/, '')
    } finally {
      await file.close()
    }
  } catch (error) {
    throw new AnnexfsError('USAGE', `cannot read the secret from ${path}: ${reasonOf(error)}`, { cause: error })
  }
}
