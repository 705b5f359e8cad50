import { setTimeout as setTimeoutPromise } from 'node:timers/promises'
import { abortable } from '../abortable.js'
import { abortError, isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { withSources, metainfoFromInfo, parseMetainfo, type Metainfo } from '../torrent/metainfo.js'
import type { Magnet } from '../torrent/magnet.js'
import { Gate } from './torrent-gate.js'

/** Asks peers for the raw info dictionary of a magnet (BEP 9). */
export type ResolveMagnet = (magnet: Magnet, signal: AbortSignal) => Promise<Buffer>

/** Where metadata is kept on disk, by infohash. */
export interface MetainfoFacts {
  loadMetainfo(infohash: string): Promise<Buffer | undefined>
  saveMetainfo(infohash: string, bytes: Buffer): Promise<void>
}

export interface MagnetTimes {
  /** One attempt gives its place to another magnet after this; most magnets that will ever answer do so sooner. */
  readonly attempt: Milliseconds
  /** The first pause between attempts; each is twice the one before, up to `longestPause`. */
  readonly firstPause: Milliseconds
  readonly longestPause: Milliseconds
}

export const MAGNET_TIMES: MagnetTimes = { attempt: 120_000, firstPause: 5_000, longestPause: 600_000 }
/** Each attempt holds connections to many peers. */
const ATTEMPTS_AT_ONCE = 4
const READS_AT_ONCE = 4

interface Running {
  readonly promise: Promise<Metainfo>
  readonly controller: AbortController
  users: number
}

/**
 * Learns the metadata of magnets in the background: from disk, else from peers, a few at a time and again after a pause
 * for as long as someone wants it. What comes is checked against the infohash before it is used or kept.
 */
export class MagnetResolver {
  readonly #resolve: ResolveMagnet
  readonly #facts: MetainfoFacts
  readonly #log: Log
  readonly #times: MagnetTimes
  readonly #gate = new Gate(ATTEMPTS_AT_ONCE)
  readonly #reading = new Gate(READS_AT_ONCE)
  readonly #running = new Map<string, Running>()
  readonly #unfinished = new Set<Promise<unknown>>()
  /** Metadata that could not be kept on disk. */
  readonly #unsaved = new Map<string, Buffer>()

  constructor(options: { resolve: ResolveMagnet; facts: MetainfoFacts; log: Log; times?: MagnetTimes }) {
    this.#resolve = options.resolve
    this.#facts = options.facts
    this.#log = options.log
    this.#times = options.times ?? MAGNET_TIMES
  }

  /**
   * The torrent of `magnet`, as soon as it is known.
   * @throws AnnexfsError ABORTED when `signal` fires; INVALID or UNSUPPORTED when the metadata is the right one, but not
   *   usable.
   */
  async want(magnet: Magnet, signal: AbortSignal): Promise<Metainfo> {
    if (signal.aborted) throw abortError(signal)
    const running = this.#running.get(magnet.infohash) ?? this.#start(magnet)
    running.users += 1
    try {
      return withSources(await abortable(running.promise, signal), magnet)
    } finally {
      running.users -= 1
      if (running.users === 0) {
        running.controller.abort()
        if (this.#running.get(magnet.infohash) === running) this.#running.delete(magnet.infohash)
      }
    }
  }

  /** The torrent of a magnet whose metadata is kept, or undefined. */
  async kept(magnet: Magnet): Promise<Metainfo | undefined> {
    const bytes = this.#unsaved.get(magnet.infohash) ?? (await this.#load(magnet.infohash))
    if (bytes === undefined) return undefined
    try {
      const metainfo = parseMetainfo(bytes)
      if (metainfo.infohash === magnet.infohash) return withSources(metainfo, magnet)
      this.#log.warn('kept metadata is that of another torrent, asking peers again', { infohash: magnet.infohash })
    } catch (error) {
      this.#log.warn('kept metadata is not usable, asking peers again', {
        infohash: magnet.infohash,
        reason: reasonOf(error),
      })
    }
    return undefined
  }

  /** Waits for what is under way to end; to be called when nobody wants anything any more. */
  async close(): Promise<void> {
    await Promise.all(this.#unfinished)
  }

  #start(magnet: Magnet): Running {
    const controller = new AbortController()
    const promise = this.#learn(magnet, controller.signal)
    // Everyone who wants it sees the failure; when nobody is left nobody needs to.
    const finished = promise.then(
      () => undefined,
      () => undefined,
    )
    this.#unfinished.add(finished)
    void finished.then(() => this.#unfinished.delete(finished))
    const running: Running = { promise, controller, users: 0 }
    this.#running.set(magnet.infohash, running)
    return running
  }

  async #learn(magnet: Magnet, signal: AbortSignal): Promise<Metainfo> {
    const kept = await this.#reading.run(() => this.kept(magnet))
    if (kept !== undefined) return kept
    for (let pause = this.#times.firstPause; ; pause = Math.min(pause * 2, this.#times.longestPause)) {
      try {
        const metainfo = await this.#gate.run(() => this.#attempt(magnet, signal))
        await this.#save(metainfo)
        return metainfo
      } catch (error) {
        if (signal.aborted) throw abortError(signal)
        if (isAnnexfsError(error, 'INVALID') || isAnnexfsError(error, 'UNSUPPORTED')) throw error
        this.#log.info('no metadata for a magnet yet, trying again', {
          infohash: magnet.infohash,
          reason: reasonOf(error),
          seconds: Math.round(pause / 1000),
        })
      }
      await sleep(pause, signal)
    }
  }

  /** One attempt; bytes of another infohash are CORRUPT and tried again, as another peer may be honest. */
  async #attempt(magnet: Magnet, signal: AbortSignal): Promise<Metainfo> {
    if (signal.aborted) throw abortError(signal)
    const controller = new AbortController()
    const onAbort = (): void => controller.abort(signal.reason)
    const timer = setTimeout(() => controller.abort(new DOMException('no answer', 'TimeoutError')), this.#times.attempt)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      const info = await abortable(this.#resolve(magnet, controller.signal), controller.signal)
      return metainfoFromInfo(Buffer.from(info), magnet)
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
  }

  async #load(infohash: string): Promise<Buffer | undefined> {
    try {
      return await this.#facts.loadMetainfo(infohash)
    } catch (error) {
      this.#log.warn('kept metadata cannot be read', { infohash, reason: reasonOf(error) })
      return undefined
    }
  }

  async #save(metainfo: Metainfo): Promise<void> {
    const { infohash, raw } = metainfo
    try {
      await this.#facts.saveMetainfo(infohash, raw)
      if ((await this.#facts.loadMetainfo(infohash)) !== undefined) return
      this.#log.warn('metadata of a magnet could not be kept on disk', { infohash })
    } catch (error) {
      this.#log.warn('metadata of a magnet could not be kept on disk', { infohash, reason: reasonOf(error) })
    }
    this.#unsaved.set(infohash, raw)
  }
}

async function sleep(pause: Milliseconds, signal: AbortSignal): Promise<void> {
  try {
    await setTimeoutPromise(pause, undefined, { signal, ref: false })
  } catch {
    // The only way for it to fail is the signal.
    throw abortError(signal)
  }
}
