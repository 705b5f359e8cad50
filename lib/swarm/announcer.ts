import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { AllowedAddresses, AnnounceAnswer, Announcement } from './announce.js'
import type { DataConnection } from './data-connection.js'
import { announceHttp } from './tracker-http.js'
import { announceUdp } from './tracker-udp.js'
import { WsTracker } from './tracker-ws.js'
import type { WebRtc } from './web-rtc.js'

export interface AnnouncerOptions {
  readonly infohash: string
  readonly peerId: string
  readonly port: number
  /** BEP 12: tiers of announce URLs. */
  readonly trackers: readonly (readonly string[])[]
  readonly allowed: AllowedAddresses
  readonly progress: () => { readonly uploaded: Bytes; readonly downloaded: Bytes; readonly left: Bytes }
  readonly peer: (address: string) => void
  readonly webRtc: WebRtc
  /** May another peer be connected to? */
  readonly hasRoom: () => boolean
  /** Takes over an open connection to a WebRTC peer. */
  readonly connected: (connection: DataConnection) => void
  readonly log: Log
}

/** Tracker lists of found torrents run to hundreds, most of them dead. */
const MOST_TRACKERS = 20
const SOONEST: Milliseconds = 60_000
const LATEST: Milliseconds = 60 * 60_000
const AFTER_FAILURE: Milliseconds = 15_000
const MOST_AFTER_FAILURE: Milliseconds = 30 * 60_000
const DEADLINE: Milliseconds = 20_000
const GOODBYE: Milliseconds = 2000

/**
 * Tells the trackers of one torrent about us, and gives the peers that they name. Unlike BEP 12 all of the first
 * 20 trackers are asked at once, as most clients do: somebody waits for the first peer.
 */
export class Announcer {
  readonly #closed = new AbortController()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #greeted = new Set<string>()
  readonly #sockets: readonly WsTracker[]

  constructor(private readonly options: AnnouncerOptions) {
    const urls = [...new Set(options.trackers.flat())].slice(0, MOST_TRACKERS)
    const overSocket = (url: string): boolean => /^wss?:/i.test(url)
    this.#sockets = urls.filter(overSocket).map((url) => this.#overSocket(url))
    for (const url of urls) if (!overSocket(url)) void this.#keepTelling(url, 0)
  }

  close(): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    for (const socket of this.#sockets) socket.close()
    for (const url of this.#greeted) {
      this.#announce(url, 'stopped', AbortSignal.timeout(GOODBYE)).catch((error: unknown) => {
        this.options.log.debug('a tracker was not told that we stopped', { reason: reasonOf(error) })
      })
    }
  }

  async #keepTelling(url: string, failures: number): Promise<void> {
    const { signal } = this.#closed
    let next: Milliseconds
    let failed = failures
    try {
      const event = this.#greeted.has(url) ? undefined : 'started'
      const answer = await this.#announce(url, event, AbortSignal.any([signal, AbortSignal.timeout(DEADLINE)]))
      if (signal.aborted) return
      this.#greeted.add(url)
      failed = 0
      for (const peer of answer.peers) this.options.peer(peer)
      next = Math.min(LATEST, Math.max(SOONEST, answer.interval))
    } catch (error) {
      if (signal.aborted) return
      this.options.log.info('a tracker gave no peers', { reason: reasonOf(error) })
      next = Math.min(MOST_AFTER_FAILURE, AFTER_FAILURE * 2 ** failed)
      failed += 1
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      void this.#keepTelling(url, failed)
    }, next)
    this.#timers.add(timer)
  }

  async #announce(url: string, event: Announcement['event'], signal: AbortSignal): Promise<AnnounceAnswer> {
    const { allowed } = this.options
    const announcement = this.#announcement(event)
    if (/^udp:/i.test(url)) return await announceUdp(url, announcement, allowed, signal)
    return await announceHttp(url, announcement, allowed, signal)
  }

  #announcement(event: Announcement['event']): Announcement {
    const { infohash, peerId, port, progress } = this.options
    return { infohash, peerId, port, ...progress(), event }
  }

  #overSocket(url: string): WsTracker {
    const { allowed, webRtc, hasRoom, connected, log } = this.options
    const announcement = (event: Announcement['event']): Announcement => this.#announcement(event)
    return new WsTracker({ url, allowed, webRtc, announcement, hasRoom, peer: connected, log })
  }
}
