import type { IncomingMessage } from 'node:http'
import ipaddr from 'ipaddr.js'

/**
 * Who may speak to us, judged by what browsers cannot be made to lie about. A page of another site can send requests to
 * any address that its reader can reach: by our address (seen in `Origin` and `Sec-Fetch-Site`), or by a name of its own
 * that it points at our address (seen in `Host`).
 */
export interface HostRule {
  /** Names, in lower case, without a dot at the end. */
  readonly names: ReadonlySet<string>
  /** The address that we listen on, as the user gave it. */
  readonly own: string
}

export function hostRule(own: string, allowed: readonly string[]): HostRule {
  return { own: plainAddress(own) ?? own, names: new Set(['localhost', ...allowed.map(plainName)]) }
}

/** No client sends as many; what came after them was not read, and may have been what matters. */
export const MOST_HEADERS = 100

export interface Refusal {
  readonly status: number
  readonly reason: string
}

/** Why a request is not answered; undefined when nothing is wrong with where it comes from. */
export function refusalOf(request: IncomingMessage, host: string | undefined, rule: HostRule): Refusal | undefined {
  if (request.rawHeaders.length > 2 * MOST_HEADERS) return { status: 431, reason: 'there are too many headers' }
  if (host === undefined || hasSeveral(request, 'host')) {
    return { status: 400, reason: 'the request does not say which Host it is for' }
  }
  const { localAddress } = request.socket
  if (!isAllowedHost(host, localAddress, rule)) {
    return { status: 403, reason: 'this Host is not served here (allow a name with --allow-host)' }
  }
  return crossOrigin(request, host)
}

/** Whether `Host` names us: a name that we know to be ours, or the very address that was connected to. */
export function isAllowedHost(host: string, localAddress: string | undefined, rule: HostRule): boolean {
  const name = hostName(host)
  if (name === undefined) return false
  if (rule.names.has(name)) return true
  const address = plainAddress(name)
  if (address === undefined) return false
  return isLoopback(address) || address === rule.own || address === plainAddress(localAddress ?? '')
}

function crossOrigin(request: IncomingMessage, host: string): Refusal | undefined {
  const { headers, method } = request
  const refused = { status: 403, reason: 'requests of other sites are not answered' }
  const { origin } = headers
  if (origin !== undefined && !isOwnOrigin(origin, host)) return refused
  const site = headers['sec-fetch-site']
  if (site === undefined || site === 'same-origin' || site === 'none') return undefined
  // To follow a link shows the page to who followed it, and to nobody else.
  const followed =
    (method === 'GET' || method === 'HEAD') &&
    headers['sec-fetch-mode'] === 'navigate' &&
    headers['sec-fetch-dest'] === 'document'
  return followed ? undefined : refused
}

/** A proxy before us may speak TLS, so only host and port are compared. */
function isOwnOrigin(origin: string, host: string): boolean {
  const match = /^(https?):\/\/([^/?#@\s]+)$/i.exec(origin)
  if (match === null) return false
  const port = match[1]?.toLowerCase() === 'https' ? ':443' : ':80'
  const bare = (text: string): string => text.toLowerCase().replace(new RegExp(`${port}$`), '')
  return bare(match[2] ?? '') === bare(host)
}

/** Node.js keeps the first of several; another server on the way may have looked at the last. */
function hasSeveral(request: IncomingMessage, name: string): boolean {
  return request.rawHeaders.filter((one, index) => index % 2 === 0 && one.toLowerCase() === name).length > 1
}

/** The name or bare address of a `Host`, in lower case; undefined when it is none. */
function hostName(host: string): string | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?$/i.exec(host)
  const name = match?.[1] ?? match?.[2]
  return name === undefined ? undefined : plainName(name)
}

function plainName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

/** An address in one spelling; undefined for names, and for the odd forms of IPv4 that browsers would rewrite. */
function plainAddress(text: string): string | undefined {
  const bare = text.replace(/^\[(.*)\]$/, '$1')
  if (!ipaddr.IPv4.isValidFourPartDecimal(bare) && !ipaddr.IPv6.isValid(bare)) return undefined
  return ipaddr.process(bare).toString()
}

/** True for `localhost` and the addresses that only this machine can reach. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === 'localhost') return true
  const address = plainAddress(host)
  return address !== undefined && ipaddr.parse(address).range() === 'loopback'
}

/** A host as URLs have it: IPv6 in brackets. */
export function showHost(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
