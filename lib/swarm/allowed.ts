import { isIP } from 'node:net'
import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import { systemResolve } from '../net/resolve.js'
import { joinAddress, splitAddress } from './peer-address.js'

const LONGEST_HOST = 255
const MOST_AT_ONCE = 64

/** Looks up hosts for the swarm's process, and gives it only addresses that `allows` takes. */
export class AllowedHosts {
  #asking = 0

  constructor(
    private readonly allows: (address: string) => boolean,
    private readonly log: Log,
  ) {}

  /** The addresses of `host` that may be connected to; none when it is unknown, forbidden or too much is asked. */
  async addresses(host: string): Promise<readonly string[]> {
    if (host.length > LONGEST_HOST || this.#asking >= MOST_AT_ONCE) return []
    if (isIP(host) !== 0) return this.allows(host) ? [host] : []
    this.#asking += 1
    try {
      return (await systemResolve(host)).filter((address) => this.allows(address))
    } catch (error) {
      this.log.debug('a host was not found', { host, reason: reasonOf(error) })
      return []
    } finally {
      this.#asking -= 1
    }
  }

  /** `host:port` of each peer by address; those that may not be connected to are left out. */
  async peers(peers: readonly string[]): Promise<string[]> {
    const found = await Promise.all(
      peers.slice(0, MOST_AT_ONCE).map(async (peer) => {
        const at = splitAddress(peer)
        if (at === undefined) return []
        return (await this.addresses(at.host)).map((address) => joinAddress(address, at.port))
      }),
    )
    return found.flat()
  }
}
