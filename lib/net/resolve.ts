import { readFileSync } from 'node:fs'
import { lookup, Resolver } from 'node:dns/promises'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Milliseconds } from '../space/space.js'

/** The addresses of a host name, IPv4 and IPv6, in the order to try them. @throws AnnexfsError UNAVAILABLE. */
export type Resolve = (hostname: string) => Promise<readonly string[]>

const DNS_TIMEOUT: Milliseconds = 2_000
const DNS_TRIES = 2
const MOST_ADDRESSES = 16
/** A longer hosts file is somebody's block list; its names can be had from DNS. */
const LARGEST_HOSTS_FILE = 4 * 1024 * 1024

/**
 * Asks /etc/hosts, then DNS, then the system's name service (mDNS, LDAP, search domains). The last goes through the
 * thread pool that file reads need too, and may be stuck there for long: so one at a time, and only for names that
 * DNS does not know.
 */
export const systemResolve: Resolve = async (hostname) => {
  const fixed = hostsFile().get(hostname.toLowerCase().replace(/\.$/, ''))
  if (fixed !== undefined) return fixed
  // A resolver of its own each time: the configured servers may have changed with the network.
  const resolver = new Resolver({ timeout: DNS_TIMEOUT, tries: DNS_TRIES })
  const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)])
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []))
  if (found.length > 0) return found.slice(0, MOST_ADDRESSES)
  try {
    return await lookupAlone(hostname)
  } catch (error) {
    const first = answers.find((answer) => answer.status === 'rejected')
    const reason = reasonOf(systemCode(error) === 'ENOTFOUND' && first !== undefined ? first.reason : error)
    throw new AnnexfsError('UNAVAILABLE', `no address is known for the host ${hostname}: ${reason}`, { cause: error })
  }
}

let lastLookup: Promise<unknown> = Promise.resolve()

function lookupAlone(hostname: string): Promise<readonly string[]> {
  const answer = lastLookup.then(async () => {
    const entries = await lookup(hostname, { all: true })
    return entries.slice(0, MOST_ADDRESSES).map((entry) => entry.address)
  })
  // The next one waits for this one however it ends; its caller has the error.
  lastLookup = answer.catch(() => undefined)
  return answer
}

const HOSTS_FRESH: Milliseconds = 5_000
let hosts: { readonly readAt: Milliseconds; readonly names: ReadonlyMap<string, readonly string[]> } | undefined

function hostsFile(): ReadonlyMap<string, readonly string[]> {
  const now = performance.now()
  if (hosts === undefined || now - hosts.readAt > HOSTS_FRESH) hosts = { readAt: now, names: readHosts() }
  return hosts.names
}

function readHosts(): ReadonlyMap<string, readonly string[]> {
  let text: string
  try {
    text = readFileSync('/etc/hosts', 'latin1')
  } catch {
    // A system without the file resolves by DNS alone.
    return new Map()
  }
  return text.length > LARGEST_HOSTS_FILE ? new Map() : parseHosts(text)
}

/** hosts(5). */
export function parseHosts(text: string): Map<string, string[]> {
  const names = new Map<string, string[]>()
  for (const line of text.split('\n')) {
    const [address, ...aliases] = line.replace(/#.*/, '').trim().split(/\s+/)
    if (address === undefined || address === '') continue
    for (const alias of aliases) {
      const name = alias.toLowerCase()
      const known = names.get(name)
      if (known === undefined) names.set(name, [address])
      else if (known.length < MOST_ADDRESSES) known.push(address)
    }
  }
  return names
}
