import { createHash } from 'node:crypto'
import { openPieceStore } from '../cache/open.js'
import type { CachedSpace, PieceStore } from '../cache/store.js'
import { abortError, AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Demand } from '../sources/source.js'
import type { PieceSwarm } from '../sources/swarm.js'
import { pieceCount, type Milliseconds } from '../space/space.js'
import type { Magnet } from '../torrent/magnet.js'
import type { Metainfo } from '../torrent/torrent.js'
import type { VerifiedPiece } from '../verify/piece.js'
import { AllowedHosts } from './allowed.js'
import { Child } from './child.js'
import { PORT_TAKEN, type ProcessStatus, type ToParent, type TorrentMessage } from './messages.js'
import { LONGEST_METADATA } from './longest-metadata.js'
import { splitAddress } from './peer-address.js'
import type { SwarmOptions, SwarmStatus } from './swarm.js'
import { Wanted } from './wanted.js'

const IDLE_TIMEOUT: Milliseconds = 60_000
const STALL_TIMEOUT: Milliseconds = 30_000
const FIRST_BACK_OFF: Milliseconds = 100
const MOST_BACK_OFF: Milliseconds = 30_000
/** A read waits this long for the process to come back; if it takes longer, another source is better. */
const WORTH_WAITING: Milliseconds = 5000
/** A process that lived this long was not broken from the start. */
const HEALTHY_AFTER: Milliseconds = 60_000
const STATUS_TIMEOUT: Milliseconds = 2000
const MOST_BANNED = 10_000
const LOG_EVERY: Milliseconds = 1000

interface Active {
  /** Safe to show. */
  readonly name: string
  readonly message: TorrentMessage
  readonly wanted: Wanted
  readonly cached: CachedSpace | undefined
  lastUsed: Milliseconds
}

interface Resolving {
  readonly infohash: string
  readonly resolve: (info: Buffer) => void
  readonly reject: (error: AnnexfsError) => void
}

/**
 * The mount's side of the swarm. It owns the process: starts it at the first wish, starts it again with a growing
 * pause when it ended by itself, and tells it again which torrents are active. What was waited for when it ended
 * fails at once, so that the reader can turn to another source.
 */
export class SwarmProcess implements PieceSwarm {
  readonly #allowed: AllowedHosts
  readonly #named: AllowedHosts
  readonly #active = new Map<string, Active>()
  readonly #resolving = new Map<number, Resolving>()
  readonly #asking = new Map<number, (status: ProcessStatus | undefined) => void>()
  readonly #banned = new Set<string>()
  readonly #idle: NodeJS.Timeout
  readonly #childLog: Log
  #child: Child | undefined
  #starting: Promise<Child> | undefined
  #startedAt = 0
  #failures = 0
  #notBefore = 0
  #port: number | undefined
  #ids = 0
  #closed = false
  #anyPort = false
  #ownStore: Promise<PieceStore> | undefined

  constructor(
    private readonly options: SwarmOptions,
    private readonly log: Log,
  ) {
    const wrong = options.peers.find((peer) => splitAddress(peer) === undefined)
    if (wrong !== undefined) {
      throw new AnnexfsError(
        'USAGE',
        `${JSON.stringify(wrong)} is not a peer: give HOST:PORT, or [ADDRESS]:PORT for IPv6`,
      )
    }
    this.#allowed = new AllowedHosts(options.allowAddress, log)
    this.#named = new AllowedHosts(() => true, log)
    this.#childLog = rateLimited(log, LOG_EVERY)
    this.#idle = setInterval(() => this.#removeIdle(), Math.max(50, this.#idleTimeout / 4))
    this.#idle.unref()
  }

  async piece(torrent: Metainfo, extraPeers: readonly string[], index: number, demand: Demand): Promise<VerifiedPiece> {
    throwIfAborted(demand.signal)
    if (!Number.isSafeInteger(index) || index < 0 || index >= pieceCount(torrent.space)) {
      throw new AnnexfsError('INVALID', `${torrent.spaceId} has no piece ${index}`)
    }
    const active = this.#active.get(torrent.infohash) ?? (await this.#activate(torrent, extraPeers, demand.signal))
    await untilAborted(this.#running(), demand.signal)
    active.lastUsed = Date.now()
    try {
      return await active.wanted.piece(index, demand)
    } finally {
      active.lastUsed = Date.now()
    }
  }

  async resolveMagnet(magnet: Magnet, signal: AbortSignal): Promise<Buffer> {
    throwIfAborted(signal)
    const peers = await untilAborted(this.#allowed.peers(magnet.peers), signal)
    const child = await untilAborted(this.#running(), signal)
    const known = this.#active.get(magnet.infohash)
    if (known !== undefined) return Buffer.from(known.message.infoBytes)
    const id = ++this.#ids
    return await new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#resolving.delete(id)
        child.send({ type: 'metadata-cancel', id })
        reject(abortError(signal))
      }
      const settled = (): void => {
        signal.removeEventListener('abort', onAbort)
        this.#resolving.delete(id)
      }
      this.#resolving.set(id, {
        infohash: magnet.infohash,
        resolve: (info) => {
          settled()
          resolve(info)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      })
      signal.addEventListener('abort', onAbort, { once: true })
      child.send({ type: 'metadata', id, infohash: magnet.infohash, trackers: magnet.trackers, peers })
    })
  }

  async status(): Promise<SwarmStatus> {
    const child = this.#child
    const status = child === undefined ? undefined : await this.#ask(child)
    return {
      running: child?.pid !== undefined,
      pid: child?.pid,
      port: this.#port,
      torrents: (status?.torrents ?? []).map((one) => ({ ...one, name: this.#active.get(one.infohash)?.name })),
      downloadSpeed: status?.downloadSpeed ?? 0,
      uploadSpeed: status?.uploadSpeed ?? 0,
      downloaded: status?.downloaded ?? 0,
      uploaded: status?.uploaded ?? 0,
      evicted: status?.evicted ?? { pieces: 0, bytes: 0 },
      banned: [...this.#banned],
    }
  }

  warm(): void {
    this.#running().catch((error: unknown) => {
      this.log.warn('the swarm process could not be started', { reason: reasonOf(error) })
    })
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#idle)
    this.#failWaiting(new AnnexfsError('UNAVAILABLE', 'the swarm was closed'))
    // A start that is under way ends by itself once it sees that we are closed.
    await this.#starting?.catch(() => undefined)
    await this.#child?.close()
    for (const active of this.#active.values()) active.cached?.close()
    this.#active.clear()
    if (this.#ownStore !== undefined) await (await this.#ownStore).close()
  }

  get #idleTimeout(): Milliseconds {
    return this.options.idleTimeout ?? IDLE_TIMEOUT
  }

  #running(): Promise<Child> {
    if (this.#closed) return Promise.reject(new AnnexfsError('UNAVAILABLE', 'the swarm was closed'))
    if (this.#child !== undefined) return Promise.resolve(this.#child)
    const wait = this.#notBefore - Date.now()
    if (wait > WORTH_WAITING) {
      const seconds = Math.ceil(wait / 1000)
      return Promise.reject(
        new AnnexfsError(
          'UNAVAILABLE',
          `the swarm process ended ${this.#failures} times and is started again in ${seconds} s`,
        ),
      )
    }
    this.#starting ??= this.#start(wait).finally(() => {
      this.#starting = undefined
    })
    return this.#starting
  }

  async #start(wait: Milliseconds): Promise<Child> {
    if (wait > 0) await new Promise<void>((resolve) => setTimeout(resolve, wait))
    const peers = await this.#named.peers(this.options.peers)
    if (this.#closed) throw new AnnexfsError('UNAVAILABLE', 'the swarm was closed')
    const child: Child = new Child(
      {
        message: (message) => this.#heard(child, message),
        ended: (reason, code) => this.#ended(child, reason, code),
      },
      this.log,
    )
    this.#child = child
    this.#startedAt = Date.now()
    const { cache, port, uploadLimit, downloadLimit, maxConnections, dht, lsd, pex, trackers, seed } = this.options
    child.send({
      type: 'start',
      options: {
        cache,
        peers,
        port: this.#anyPort ? 0 : port,
        uploadLimit,
        downloadLimit,
        maxConnections,
        dht,
        lsd,
        pex,
        trackers,
        seed,
        dhtBootstrap: this.options.dhtBootstrap,
        stallTimeout: this.options.stallTimeout ?? STALL_TIMEOUT,
        banned: [...this.#banned],
      },
    })
    for (const active of this.#active.values()) child.send({ type: 'add', torrent: active.message })
    return child
  }

  #ended(child: Child, reason: string, code: number | null): void {
    if (this.#child !== child) return
    this.#child = undefined
    this.#port = undefined
    if (this.#closed) return
    if (code === PORT_TAKEN) {
      this.log.warn('the port for peers is taken; another is used', { port: this.options.port })
      this.#anyPort = true
    }
    if (Date.now() - this.#startedAt > HEALTHY_AFTER) this.#failures = 0
    const pause = Math.min(MOST_BACK_OFF, FIRST_BACK_OFF * 2 ** Math.min(20, this.#failures))
    this.#failures += 1
    this.#notBefore = Date.now() + pause
    this.log.warn('the swarm process ended', { reason, againInMs: pause })
    this.#failWaiting(new AnnexfsError('UNAVAILABLE', `the swarm process ended: ${reason}`))
    if (this.#active.size === 0) return
    setTimeout(() => {
      if (!this.#closed && this.#active.size > 0) this.warm()
    }, pause).unref()
  }

  #failWaiting(error: AnnexfsError): void {
    for (const active of this.#active.values()) active.wanted.failAll(error)
    for (const resolving of this.#resolving.values()) resolving.reject(error)
    for (const answer of this.#asking.values()) answer(undefined)
  }

  async #activate(torrent: Metainfo, extraPeers: readonly string[], signal: AbortSignal): Promise<Active> {
    const peers = await untilAborted(this.#allowed.peers(extraPeers), signal)
    const store = this.options.store ?? (await untilAborted(this.#openStore(), signal))
    // Others may have been here while we waited.
    const before = this.#active.get(torrent.infohash)
    if (before !== undefined) return before
    const { space } = torrent
    const cached = store.open(space)
    const count = pieceCount(space)
    const hashes = Buffer.concat(Array.from({ length: count }, (_, index) => space.hashes.at(index)))
    const active: Active = {
      name: torrent.name,
      message: {
        infohash: torrent.infohash,
        length: space.length,
        pieceLength: space.pieceLength,
        hashes,
        infoBytes: torrent.infoBytes,
        private: torrent.private,
        trackers: torrent.trackers,
        peers,
        nodes: torrent.nodes,
      },
      wanted: new Wanted(torrent.infohash, space, cached, (message) => this.#child?.send(message)),
      cached,
      lastUsed: Date.now(),
    }
    this.#active.set(torrent.infohash, active)
    // The process looks for the metadata of none that it has.
    for (const { infohash, resolve } of Array.from(this.#resolving.values())) {
      if (infohash === torrent.infohash) resolve(Buffer.from(torrent.infoBytes))
    }
    this.#child?.send({ type: 'add', torrent: active.message })
    return active
  }

  #openStore(): Promise<PieceStore> {
    this.#ownStore ??= openPieceStore({ ...this.options.cache, log: this.log })
    return this.#ownStore
  }

  #removeIdle(): void {
    for (const [infohash, active] of this.#active) {
      if (active.wanted.size > 0 || Date.now() - active.lastUsed < this.#idleTimeout) continue
      this.#active.delete(infohash)
      this.#child?.send({ type: 'remove', infohash })
      active.cached?.close()
    }
  }

  #ask(child: Child): Promise<ProcessStatus | undefined> {
    const id = ++this.#ids
    return new Promise((resolve) => {
      const answer = (status: ProcessStatus | undefined): void => {
        clearTimeout(timer)
        this.#asking.delete(id)
        resolve(status)
      }
      const timer = setTimeout(() => answer(undefined), STATUS_TIMEOUT)
      this.#asking.set(id, answer)
      child.send({ type: 'status', id })
    })
  }

  #heard(child: Child, message: ToParent): void {
    switch (message.type) {
      case 'ready':
        this.#port = message.port
        return
      case 'piece':
        void this.#active.get(message.infohash)?.wanted.arrived(message.index, message.bytes)
        return
      case 'failed':
        this.#active.get(message.infohash)?.wanted.failed(message.index, message.reason)
        return
      case 'metadata':
        this.#resolved(message.id, Buffer.from(message.bytes))
        return
      case 'metadata-failed':
        this.#resolving.get(message.id)?.reject(new AnnexfsError('UNAVAILABLE', `magnet: ${message.reason}`))
        return
      case 'status':
        this.#asking.get(message.id)?.(message.status)
        return
      case 'resolve':
        void this.#allowed
          .addresses(message.host)
          .then((addresses) => child.send({ type: 'resolved', id: message.id, addresses }))
        return
      case 'banned':
        if (this.#banned.size < MOST_BANNED) this.#banned.add(message.address)
        return
      case 'log':
        this.#childLog[message.level](message.message, message.fields)
        return
      case 'pong':
    }
  }

  #resolved(id: number, info: Buffer): void {
    const resolving = this.#resolving.get(id)
    if (resolving === undefined) return
    const hash = createHash('sha1').update(info).digest('hex')
    if (info.byteLength > LONGEST_METADATA || hash !== resolving.infohash) {
      resolving.reject(new AnnexfsError('CORRUPT', `magnet ${resolving.infohash}: the metadata has another hash`))
    } else resolving.resolve(info)
  }
}

/** `promise`, or the signal's error as soon as it fires; what the promise becomes then is of no interest. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  throwIfAborted(signal)
  return await new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
