import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import { DataConnection, type WebRtcLibrary } from './data-connection.js'
import { safeDescription, type AllowsPeer } from './sdp.js'

/** Offered or answered and not yet connected, in the whole process: each has a UDP port open. */
const MOST_PENDING = 60

export interface WebRtcOptions {
  readonly allows: AllowsPeer
  readonly log: Log
  /** Default: node-datachannel, a native library, which is not there for every platform. */
  readonly load?: () => Promise<WebRtcLibrary>
}

export interface Description {
  readonly connection: DataConnection
  readonly sdp: string
}

/**
 * Makes WebRTC connections to peers whose addresses `allows` takes. What a peer says of itself is made safe first, and
 * where a connection really leads is checked again when it is there: ICE (RFC 8445) also finds addresses that nobody named.
 */
export class WebRtc {
  readonly #pending = new Set<DataConnection>()
  #library: Promise<WebRtcLibrary | undefined> | undefined
  #preparing = 0

  constructor(private readonly options: WebRtcOptions) {}

  /** Can peers be reached so at all? Says once in the log when not. */
  async usable(): Promise<boolean> {
    return (await this.#load()) !== undefined
  }

  /** How many connections may be begun now. */
  get room(): number {
    return Math.max(0, MOST_PENDING - this.#pending.size - this.#preparing)
  }

  /** Undefined when too many are under way. @throws AnnexfsError UNAVAILABLE. */
  async offer(): Promise<Description | undefined> {
    return await this.#begin((library) => DataConnection.offer(library))
  }

  /** An answer to a stranger's offer. @throws AnnexfsError INVALID, UNAVAILABLE. */
  async answer(offer: unknown): Promise<Description | undefined> {
    return await this.#begin(async (library) => {
      return await DataConnection.answer(library, await safeDescription(offer, this.options.allows))
    })
  }

  /** A stranger's answer to our offer. @throws AnnexfsError INVALID. */
  async accept(connection: DataConnection, answer: unknown): Promise<void> {
    connection.accept(await safeDescription(answer, this.options.allows))
  }

  /** Resolves when `connection` leads to a peer that is allowed. @throws AnnexfsError UNAVAILABLE. */
  async opened(connection: DataConnection): Promise<boolean> {
    await connection.opened()
    this.#pending.delete(connection)
    const address = connection.remoteAddress ?? ''
    if (!connection.destroyed && (await this.options.allows(address))) return true
    this.options.log.debug('a WebRTC peer is at an address that is not allowed', { address })
    connection.destroy()
    return false
  }

  async #begin(describe: (library: WebRtcLibrary) => Promise<Description>): Promise<Description | undefined> {
    if (this.room === 0) return undefined
    this.#preparing += 1
    try {
      const library = await this.#load()
      if (library === undefined) return undefined
      const description = await describe(library)
      const { connection } = description
      this.#pending.add(connection)
      connection.once('close', () => this.#pending.delete(connection))
      return description
    } finally {
      this.#preparing -= 1
    }
  }

  #load(): Promise<WebRtcLibrary | undefined> {
    const { log, load = () => import('node-datachannel') } = this.options
    this.#library ??= load().catch((error: unknown) => {
      log.warn('ws and wss trackers are not asked: the library for WebRTC peers, node-datachannel, cannot be loaded', {
        reason: reasonOf(error),
      })
      return undefined
    })
    return this.#library
  }
}
