import { createHash, randomBytes } from 'node:crypto'
import type { Credentials } from './context.js'

/** What a server asks for with digest authentication (RFC 7616, 3.3). */
export interface DigestChallenge {
  readonly realm: string
  readonly nonce: string
  readonly opaque: string | undefined
  readonly algorithm: Algorithm
  /** False for servers of RFC 2069, which know no `qop`. */
  readonly qop: boolean
  /** The last answer was right but for its nonce. */
  readonly stale: boolean
  /** The user's name is to be sent as a hash. */
  readonly userhash: boolean
}

type Algorithm = 'MD5' | 'MD5-sess' | 'SHA-256' | 'SHA-256-sess'

/** Best first. */
const ALGORITHMS: readonly Algorithm[] = ['SHA-256', 'SHA-256-sess', 'MD5', 'MD5-sess']
const LONGEST_HEADER = 8192

/** The best digest challenge of a header `WWW-Authenticate` that we can answer; undefined when there is none. */
export function digestChallenge(header: string): DigestChallenge | undefined {
  const usable = challenges(header).flatMap(({ scheme, parameters }) => {
    const algorithm = ALGORITHMS.find(
      (known) => known.toLowerCase() === (parameters.get('algorithm') ?? 'MD5').toLowerCase(),
    )
    const [realm, nonce, qop] = [parameters.get('realm'), parameters.get('nonce'), parameters.get('qop')]
    if (scheme !== 'digest' || realm === undefined || nonce === undefined || algorithm === undefined) return []
    if (qop !== undefined && !qop.split(/[\s,]+/).includes('auth')) return []
    return {
      realm,
      nonce,
      algorithm,
      opaque: parameters.get('opaque'),
      qop: qop !== undefined,
      stale: parameters.get('stale')?.toLowerCase() === 'true',
      userhash: parameters.get('userhash')?.toLowerCase() === 'true',
    }
  })
  return usable.sort((a, b) => ALGORITHMS.indexOf(a.algorithm) - ALGORITHMS.indexOf(b.algorithm))[0]
}

/** Whether a header `WWW-Authenticate` offers basic authentication (RFC 7617). */
export function offersBasic(header: string): boolean {
  return challenges(header).some(({ scheme }) => scheme === 'basic')
}

export interface DigestRequest {
  readonly method: string
  /** Path and query, as sent. */
  readonly uri: string
  /** Which use of the nonce this is, from 1. */
  readonly count: number
  /** For tests; otherwise random. */
  readonly cnonce?: string
}

/** The header `Authorization` that answers `challenge` for one request. */
export function digestAuthorization(
  challenge: DigestChallenge,
  request: DigestRequest,
  credentials: Credentials,
): string {
  const { realm, nonce, opaque, algorithm, qop, userhash } = challenge
  const { method, uri, count, cnonce = randomBytes(16).toString('base64') } = request
  const { user, password } = credentials
  const hash = (text: string): string =>
    createHash(algorithm.startsWith('MD5') ? 'md5' : 'sha256')
      .update(text, 'utf8')
      .digest('hex')
  const once = hash(`${user}:${realm}:${password}`)
  const secret = algorithm.endsWith('-sess') ? hash(`${once}:${nonce}:${cnonce}`) : once
  const nc = count.toString(16).padStart(8, '0')
  const what = hash(`${method}:${uri}`)
  const response = hash(qop ? `${secret}:${nonce}:${nc}:${cnonce}:auth:${what}` : `${secret}:${nonce}:${what}`)
  const parameters = [
    `username=${quoted(userhash ? hash(`${user}:${realm}`) : user)}`,
    `realm=${quoted(realm)}`,
    `nonce=${quoted(nonce)}`,
    `uri=${quoted(uri)}`,
    `algorithm=${algorithm}`,
    ...(qop ? ['qop=auth', `nc=${nc}`] : []),
    ...(qop || algorithm.endsWith('-sess') ? [`cnonce=${quoted(cnonce)}`] : []),
    `response=${quoted(response)}`,
    ...(opaque === undefined ? [] : [`opaque=${quoted(opaque)}`]),
    ...(userhash ? ['userhash=true'] : []),
  ]
  return `Digest ${parameters.join(', ')}`
}

/** Header bytes are Latin-1 to the client; names and realms are UTF-8 to servers. */
function quoted(text: string): string {
  return `"${Buffer.from(text.replace(/["\\]/g, '\\$&'), 'utf8').toString('latin1')}"`
}

interface Challenge {
  /** In lower case. */
  readonly scheme: string
  /** By name in lower case. */
  readonly parameters: ReadonlyMap<string, string>
}

/** The challenges of one header (RFC 9110, 11.6.1): schemes and parameters share its commas. */
function challenges(header: string): Challenge[] {
  const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/.source
  const parts = new RegExp(`(${token})\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|(${token}))|(${token})`, 'g')
  const found: { scheme: string; parameters: Map<string, string> }[] = []
  for (const [, name, text, plain, scheme] of header.slice(0, LONGEST_HEADER).matchAll(parts)) {
    if (scheme !== undefined) found.push({ scheme: scheme.toLowerCase(), parameters: new Map() })
    if (name === undefined) continue
    const value = text === undefined ? (plain ?? '') : text.replace(/\\(.)/g, '$1')
    found.at(-1)?.parameters.set(name.toLowerCase(), Buffer.from(value, 'latin1').toString('utf8'))
  }
  return found
}
