import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { AnnexfsError } from '../errors.js'

/** What a client must know. */
export interface Authentication {
  /** Asked for with the secret as password; undefined: any name, or a bearer token. */
  readonly user?: string
  readonly secret: string
}

/** Fewer can be guessed over a network. */
export const LEAST_SECRET = 8

/** How the credentials of a request look: `absent` when it has none. */
export type Verdict = 'right' | 'wrong' | 'absent'

/**
 * Makes the check of `Authorization` headers: `Bearer SECRET`, or `Basic` with the secret as password. Takes equally
 * long for all wrong ones.
 * @throws AnnexfsError USAGE for a secret that is too short, or cannot be sent.
 */
export function authenticator({ user, secret }: Authentication): (authorization: string | undefined) => Verdict {
  // oxlint-disable-next-line no-control-regex -- neither can be sent by HTTP
  if (secret.length < LEAST_SECRET || /[\u0000-\u001f\u007f]/.test(secret)) {
    throw new AnnexfsError('USAGE', `the secret must be one line of at least ${LEAST_SECRET} characters`)
  }
  if (user !== undefined && (user === '' || /[:\p{Cc}]/u.test(user))) {
    throw new AnnexfsError('USAGE', 'the user of --basic-auth must be a name without a colon')
  }
  const key = randomBytes(32)
  const digest = (text: string | Buffer): Buffer => createHmac('sha256', key).update(text).digest()
  const password = digest(secret)
  const pair = digest(`${user ?? ''}:${secret}`)
  return (authorization) => {
    if (authorization === undefined) return 'absent'
    const [, scheme = '', value = ''] = /^([A-Za-z]+) +(\S+) *$/.exec(authorization) ?? []
    const basic = scheme.toLowerCase() === 'basic'
    const given = basic ? Buffer.from(value, 'base64') : Buffer.from(value, 'latin1')
    // With any name: what follows the first colon is the password.
    const compared = basic && user === undefined ? given.subarray(given.indexOf(0x3a) + 1) : given
    const known = scheme.toLowerCase() === 'bearer' ? user === undefined : basic
    const equal = timingSafeEqual(digest(compared), user === undefined ? password : pair)
    return known && equal ? 'right' : 'wrong'
  }
}
