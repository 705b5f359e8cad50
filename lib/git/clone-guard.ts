import { isIP } from 'node:net'
import { AnnexfsError } from '../errors.js'
import type { AddressPolicy } from '../net/address-policy.js'
import type { HttpClient } from '../net/http-client.js'
import { systemResolve, type Resolve } from '../net/resolve.js'
import { shownUrl } from '../net/url.js'
import type { CloneCandidate } from './clone-candidates.js'

/** What stands between what a repository names and what git connects to. */
export interface CloneGuard {
  readonly policy: AddressPolicy
  /** Guarded by the same policy. */
  readonly client: HttpClient
  /** True for folders that must not be read because they lie inside the mount. */
  readonly forbid: (path: string) => boolean
  readonly resolve?: Resolve
}

/** How git is to be run for a candidate. */
export interface GuardedUrl {
  readonly url: string
  readonly protocols: readonly string[]
  readonly settings: readonly (readonly [string, string])[]
}

/** Nothing is followed that was not looked at before; no transfer brings another along. */
const STRICT: readonly (readonly [string, string])[] = [
  ['http.followRedirects', 'false'],
  ['fetch.recurseSubmodules', 'false'],
  ['submodule.recurse', 'false'],
]

/**
 * Looks where git would connect to for `candidate`, and ties it to that: of http and https the redirects are followed here,
 * by the guarded client, and the addresses that were checked are the only ones that git may use.
 * @throws AnnexfsError FORBIDDEN (address, folder inside the mount), UNAVAILABLE (no repository there), TIMED_OUT, ABORTED.
 */
export async function guarded(candidate: CloneCandidate, guard: CloneGuard, signal: AbortSignal): Promise<GuardedUrl> {
  const { from, protocol, host } = candidate
  const settings = [...STRICT, ...from.settings]
  switch (protocol) {
    case 'file': {
      const folder = decodeURIComponent(new URL(from.url).pathname)
      if (guard.forbid(folder)) throw new AnnexfsError('FORBIDDEN', `${folder} lies inside the mount`)
      return { url: from.url, protocols: ['file'], settings }
    }
    case 'ssh':
      // Which may be an alias that only the user's ssh knows, if the user named it.
      if (!candidate.named) await allowedAddresses(host, guard)
      return { url: from.url, protocols: ['ssh'], settings }
    case 'git': {
      const url = new URL(from.url)
      const [address = ''] = await allowedAddresses(host, guard, Number(url.port) || GIT_PORT)
      url.hostname = isIP(address) === 6 ? `[${address}]` : address
      return { url: url.href, protocols: ['git'], settings }
    }
    default: {
      const url = await finalUrl(candidate, guard, signal)
      const { hostname, protocol: scheme } = url
      const port = url.port === '' ? (scheme === 'https:' ? '443' : '80') : url.port
      const addresses = await allowedAddresses(hostname, guard, Number(port))
      const pinned = addresses.map((address) => (isIP(address) === 6 ? `[${address}]` : address)).join(',')
      const bare = hostname.replace(/^\[|\]$/g, '')
      const pin = isIP(bare) === 0 ? [['http.curloptResolve', `${bare}:${port}:${pinned}`] as const] : []
      return { url: url.href, protocols: ['http', 'https'], settings: [...settings, ...pin] }
    }
  }
}

/** git-daemon(1). */
const GIT_PORT = 9418
const REFS = '/info/refs'

/** Where the repository is after redirects: git asks for the same first (gitprotocol-http(5)). */
async function finalUrl({ from }: CloneCandidate, { client }: CloneGuard, signal: AbortSignal): Promise<URL> {
  const base = from.url.replace(/\/+$/, '')
  const authorization = from.settings.find(([name]) => name.endsWith('.extraHeader'))?.[1]
  const answer = await client.get(`${base}${REFS}?service=git-upload-pack`, {
    signal,
    ...(authorization === undefined ? {} : { headers: { authorization: authorization.replace(/^[^:]*:\s*/, '') } }),
  })
  answer.cancel()
  // Git has credential helpers, and asks them itself.
  if (answer.status === 401) return new URL(base)
  const url = new URL(answer.url)
  if (answer.status !== 200 || !url.pathname.endsWith(REFS)) {
    throw new AnnexfsError('UNAVAILABLE', `no git repository is at ${shownUrl(base)} (${answer.status})`)
  }
  url.pathname = url.pathname.slice(0, -REFS.length)
  url.search = ''
  return url
}

async function allowedAddresses(
  host: string,
  { policy, resolve = systemResolve }: CloneGuard,
  port?: number,
): Promise<readonly string[]> {
  const bare = host.replace(/^\[|\]$/g, '')
  const addresses = isIP(bare) === 0 ? await resolve(bare) : [bare]
  // All of them: which one git or ssh will take is not known here.
  if (addresses.length === 0 || !addresses.every((address) => policy.allows(address, port))) {
    const which = addresses.includes(bare) ? bare : `${bare} (${addresses.join(', ')})`
    throw new AnnexfsError(
      'FORBIDDEN',
      `no connection to ${which}: not an address of the public internet; if it is meant, allow it with --allow-address`,
    )
  }
  return addresses
}
