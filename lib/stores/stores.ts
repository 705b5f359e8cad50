import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { isOwn } from '../annex/command.js'
import { userHeaders } from '../annex/user-headers.js'
import { Exports } from '../annex/exports.js'
import { remoteCredentials } from '../annex/credentials.js'
import { bandwidthOf, limitsOf } from '../annex/limits.js'
import { networkSettings, type NetworkSettings } from '../annex/network.js'
import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Cipher } from '../cipher/cipher.js'
import { remoteCipher } from '../cipher/open.js'
import type { Scratch } from '../cache/scratch.js'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { GitConfig } from '../git/config.js'
import type { Log } from '../log/log.js'
import { addressPolicy, type AddressPolicy } from '../net/address-policy.js'
import { hasScheme, onlySchemes } from '../net/allowed-schemes.js'
import { HttpClient, type WebReads } from '../net/http-client.js'
import type { SourceLimits } from '../sources/source.js'
import type { Milliseconds } from '../space/space.js'
import { Bandwidth, limitedStore } from './bandwidth.js'
import type { Credentials, StoreContext } from './context.js'
import { LazyStore } from './lazy-store.js'
import type { OpenStore } from './open-store.js'
import type { ObjectStore } from './store.js'

export interface StoresOptions {
  /** `--allow-address`. */
  readonly allowAddresses: readonly string[]
  readonly cacheFolder: string
  /** The cache's room for whole transfers. */
  readonly scratch: Scratch
  readonly log: Log
  readonly forbid: (path: string) => boolean
  /** How long a replaced store may still be read from; default: a minute. */
  readonly closeReplacedAfter?: Milliseconds
}

/** Files that are open look up their sources afresh within that time, or end with their reads. */
const CLOSE_REPLACED_AFTER: Milliseconds = 60_000

/** What a configuration says about the network, and the client made by it. */
interface Network {
  readonly id: string
  readonly settings: NetworkSettings
  readonly client: HttpClient
  readonly urls: WebReads
  readonly policy: AddressPolicy
}

/** What a remote is read through. */
export interface OpenRemote {
  readonly store: ObjectStore
  /** Opened when first asked for; undefined for a remote that is not encrypted. */
  readonly cipher: () => Promise<Cipher | undefined>
}

interface Kept extends OpenRemote {
  readonly remote: string
}

/**
 * The open stores of one repository, one for each remote, kept for the repository's life. Who owns what: the stores, the
 * HTTP client and the lists of exported trees are made and closed here; a store whose remote is configured anew is
 * replaced by another.
 */
export class Stores {
  readonly exports: Exports
  readonly #annex: AnnexRepository
  readonly #options: StoresOptions
  /** By what the store is made of. */
  readonly #stores = new Map<string, Kept>()
  readonly #bandwidths = new Map<string, Bandwidth>()
  /** Those that were replaced, which files that are open may still read from. */
  readonly #replaced = new Map<Kept, NodeJS.Timeout>()
  readonly #clients = new Set<HttpClient>()
  #network: Promise<Network> | undefined
  #config: GitConfig | undefined
  #serial = 0
  #closed = false

  constructor(annex: AnnexRepository, options: StoresOptions) {
    this.#annex = annex
    this.#options = options
    this.exports = new Exports(annex.git, options.log)
  }

  /** For URLs that the repository names: under the address policy, with the user's headers. */
  async client(): Promise<HttpClient> {
    return (await this.#currentNetwork()).client
  }

  /** The addresses that the repository may reach, and the client that sees to it. */
  async reach(): Promise<{ readonly client: HttpClient; readonly policy: AddressPolicy }> {
    const { client, policy } = await this.#currentNetwork()
    return { client, policy }
  }

  /** Whether URLs of this scheme may be asked (`annex.security.allowed-url-schemes`). */
  async allowsScheme(url: string): Promise<boolean> {
    const { settings } = await this.#currentNetwork()
    return hasScheme(url, settings.schemes)
  }

  async limits(remote: Pick<AnnexRemote, 'config'>): Promise<SourceLimits> {
    return limitsOf(remote, await this.#annex.git.config())
  }

  /** The bucket that all transfers from the remote called `name` share; undefined when there is no limit. */
  async bandwidth(name: string, remote: Pick<AnnexRemote, 'config'>): Promise<Bandwidth | undefined> {
    const rate = bandwidthOf(remote, await this.#annex.git.config())
    if (rate === undefined) return undefined
    const id = `${rate} ${name}`
    const bucket = this.#bandwidths.get(id) ?? new Bandwidth(rate)
    this.#bandwidths.set(id, bucket)
    return bucket
  }

  /** The store of `remote`, which `open` makes when it is first asked for something. */
  async open(remote: AnnexRemote, open: OpenStore): Promise<OpenRemote> {
    const [network, bandwidth, room] = await Promise.all([
      this.#currentNetwork(),
      this.bandwidth(remote.name, remote),
      this.#room(),
    ])
    if (this.#closed) throw new AnnexfsError('ABORTED', 'the repository was closed')
    const id = identity(remote, network.id)
    const known = this.#stores.get(id)
    if (known !== undefined) return known
    const annex = this.#annex
    const { scratch, log, forbid } = this.#options
    const folder = join(room, `remote-${this.#serial++}`)
    const cipher = remoteCipher({ remote, annex, folder, scratch, log })
    const credentials = (): Promise<Credentials | undefined> =>
      remoteCredentials(remote, { commonDir: annex.git.commonDir, cipher })
    const { client, urls } = network
    const context: StoreContext = { remote, annex, client, urls, credentials, folder, scratch, log, forbid }
    const lazy = new LazyStore(remote.name, async () => open(context))
    const store = bandwidth === undefined ? lazy : limitedStore(lazy, bandwidth)
    const kept = { store, cipher, remote: whichRemote(remote) }
    this.#stores.set(id, kept)
    this.#replace(remote, id)
    return kept
  }

  async close(): Promise<void> {
    this.#closed = true
    this.exports.close()
    for (const timer of this.#replaced.values()) clearTimeout(timer)
    const kept = [...this.#stores.values(), ...this.#replaced.keys()]
    this.#stores.clear()
    this.#replaced.clear()
    const open = kept.map(async ({ store, remote }) => this.#closeStore(store, remote))
    await Promise.all(open)
    await Promise.all([...this.#clients].map((client) => client.close()))
  }

  /** Where stores may make folders; with a cache that cannot be written to, none can be made there. */
  async #room(): Promise<string> {
    try {
      return await this.#options.scratch.folder()
    } catch (error) {
      this.#options.log.debug('the cache has no room for transfers', { reason: reasonOf(error) })
      return join(this.#options.cacheFolder, 'no-room')
    }
  }

  /** Has those closed after a while that were made for the same remote by an earlier configuration. */
  #replace(remote: AnnexRemote, current: string): void {
    const name = whichRemote(remote)
    for (const [id, kept] of Array.from(this.#stores)) {
      if (kept.remote !== name || id === current) continue
      this.#stores.delete(id)
      const close = (): void => {
        this.#replaced.delete(kept)
        void this.#closeStore(kept.store, name)
      }
      this.#replaced.set(kept, setTimeout(close, this.#options.closeReplacedAfter ?? CLOSE_REPLACED_AFTER).unref())
    }
  }

  async #closeStore(store: ObjectStore, remote: string): Promise<void> {
    try {
      await store.close?.()
    } catch (error) {
      this.#options.log.warn('a remote could not be closed properly', { remote, reason: reasonOf(error) })
    }
  }

  async #currentNetwork(): Promise<Network> {
    const config = await this.#annex.git.config()
    if (this.#network === undefined || this.#config !== config) {
      this.#config = config
      this.#network = this.#makeNetwork(config, this.#network)
      this.#network.catch(() => (this.#network = undefined))
    }
    return this.#network
  }

  /** A repository of another user opens no way to private addresses, nor says who may vouch for servers. */
  async #trusted(settings: NetworkSettings): Promise<NetworkSettings> {
    const { git } = this.#annex
    const { allow, authorities } = settings
    if ((allow.length === 0 && authorities === undefined) || (await isOwn(git))) return settings
    const names = [
      ...(allow.length === 0 ? [] : ['annex.security.allowed-ip-addresses']),
      ...(authorities === undefined ? [] : ['http.sslCAInfo']),
    ]
    for (const name of names) {
      this.#options.log.warn(`${name} is not obeyed: the repository belongs to another user`, {
        repository: git.gitDir,
      })
    }
    return { ...settings, allow: [], authorities: undefined }
  }

  async #makeNetwork(config: GitConfig, previous: Promise<Network> | undefined): Promise<Network> {
    const settings = await this.#trusted(networkSettings(config))
    const id = JSON.stringify([...Object.entries(settings), [...settings.schemes]])
    const before = await previous?.catch(() => undefined)
    if (before?.id === id) return before
    const { log, allowAddresses } = this.#options
    if (settings.refused.length > 0) {
      log.warn('entries of annex.security.allowed-ip-addresses are not understood and allow nothing', {
        entries: settings.refused.join(' ').slice(0, 200),
      })
    }
    const headers = await userHeaders(settings, this.#annex.git, log)
    const policy = addressPolicy({ allow: [...allowAddresses, ...settings.allow] })
    // As git has it: the environment goes before the configuration.
    const authorities = process.env['GIT_SSL_CAINFO'] ?? settings.authorities
    const client = new HttpClient({
      policy,
      log,
      headers,
      ...(settings.userAgent === undefined ? {} : { userAgent: settings.userAgent }),
      ...(authorities === undefined ? {} : { trustBesides: authorities }),
    })
    // Closed with the repository: reads may still be under way over the one before.
    this.#clients.add(client)
    return { id, settings, client, urls: onlySchemes(client, settings.schemes), policy }
  }
}

/** Equal for remotes whose stores would be the same. Nothing of it can be read back: settings may hold secrets. */
function identity(remote: AnnexRemote, network: string): string {
  const { uuid, name, kind, url, directory, configUuid } = remote
  const facts = JSON.stringify([uuid, name, kind, url, directory, configUuid, [...remote.config], network])
  return createHash('sha256').update(facts).digest('hex')
}

function whichRemote(remote: AnnexRemote): string {
  return `${remote.name} ${remote.configUuid ?? remote.uuid}`
}
