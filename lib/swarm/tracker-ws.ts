import { randomBytes } from 'node:crypto'
import type { WebSocket } from 'ws'
import { AnnexfsError, reasonOf } from '../errors.js'
import { printable, type Log } from '../log/log.js'
import { shownUrl } from '../net/url.js'
import type { Milliseconds } from '../space/space.js'
import type { AllowedAddresses, Announcement } from './announce.js'
import type { DataConnection } from './data-connection.js'
import { openSocket, pong } from './web-socket.js'
import type { WebRtc } from './web-rtc.js'

/** The protocol of bittorrent-tracker and of browsers' WebTorrent: JSON texts over a web socket (no BEP describes it). */

export interface WsTrackerOptions {
  readonly url: string
  readonly allowed: AllowedAddresses
  readonly webRtc: WebRtc
  readonly announcement: (event: Announcement['event']) => Announcement
  /** Is another peer of use now? */
  readonly hasRoom: () => boolean
  /** Takes over a connection that is open. */
  readonly peer: (connection: DataConnection) => void
  readonly log: Log
}

/** As many as the other clients send, and as this tracker's server passes on. */
const OFFERS = 5
const MOST_OFFERS = 20
/** Answers of ours that have not led to a connection. */
const MOST_ANSWERING = 10
const USUAL_INTERVAL: Milliseconds = 2 * 60_000
const SOONEST: Milliseconds = 30_000
const LATEST: Milliseconds = 60 * 60_000
const ANSWER_WITHIN: Milliseconds = 20_000
const AFTER_FAILURE: Milliseconds = 15_000
const MOST_AFTER_FAILURE: Milliseconds = 30 * 60_000
/** Announcements at the soonest while no peer is reached: when both sides offer at once, both connections may be lost. */
const EARLY_ANNOUNCEMENTS = 3
const GOODBYE: Milliseconds = 1000
/** Messages that may come at once, and a second. A tracker passes on an offer for every peer that comes. */
const BURST = 100
const MESSAGES_A_SECOND = 5
const ID_LENGTH = 20
const LONGEST_OFFER_ID = 64

type Fields = Readonly<Record<string, unknown>>

/** One ws or wss tracker of one torrent: told about us as long as this is not closed, however often it has to be called again. */
export class WsTracker {
  readonly #closed = new AbortController()
  readonly #offers = new Map<string, DataConnection>()
  readonly #shown: string
  #socket: WebSocket | undefined
  #timer: NodeJS.Timeout | undefined
  #answering = 0
  #greeted = false
  #early = EARLY_ANNOUNCEMENTS
  #failures = 0
  #tokens = BURST
  #lastMessage = Date.now()

  constructor(private readonly options: WsTrackerOptions) {
    this.#shown = shownUrl(options.url)
    void this.#keepTelling()
  }

  close(): void {
    if (this.#closed.signal.aborted) return
    this.#closed.abort()
    clearTimeout(this.#timer)
    for (const connection of this.#offers.values()) connection.destroy()
    this.#offers.clear()
    const socket = this.#socket
    if (socket === undefined) return
    if (this.#greeted) this.#send(this.#message(this.options.announcement('stopped')))
    socket.close()
    setTimeout(() => socket.terminate(), GOODBYE).unref()
  }

  async #keepTelling(): Promise<void> {
    const { signal } = this.#closed
    try {
      if (!(await this.options.webRtc.usable())) return
      await this.#talk(signal)
    } catch (error) {
      if (signal.aborted) return
      this.options.log.info('a tracker gave no peers', { reason: reasonOf(error) })
    }
    if (signal.aborted) return
    this.#socket = undefined
    clearTimeout(this.#timer)
    if (this.#greeted) this.#failures = 0
    this.#greeted = false
    const pause = Math.min(MOST_AFTER_FAILURE, AFTER_FAILURE * 2 ** this.#failures)
    this.#failures += 1
    this.#timer = setTimeout(() => void this.#keepTelling(), pause)
  }

  /** Ends only by an error, or when this is closed. */
  async #talk(signal: AbortSignal): Promise<void> {
    const socket = await openSocket(this.options.url, this.options.allowed, signal)
    this.#socket = socket
    this.#tokens = BURST
    this.#early = EARLY_ANNOUNCEMENTS
    await new Promise<void>((resolve, reject) => {
      const end = (reason: string): void => {
        socket.terminate()
        reject(new AnnexfsError('UNAVAILABLE', `the tracker ${this.#shown} ${reason}`))
      }
      socket.on('error', (error: unknown) => end(`failed: ${reasonOf(error)}`))
      socket.on('close', () => {
        if (signal.aborted) resolve()
        else end('closed the connection')
      })
      socket.on('ping', (data: Buffer) => {
        if (!this.#take() || !pong(socket, data)) end('sends too much')
      })
      socket.on('message', (data: Buffer, binary: boolean) => {
        if (signal.aborted) return
        if (!this.#take()) return end('sends too much')
        const message = binary ? undefined : parse(data)
        if (message === undefined) return end('sent what is no message')
        this.#hear(message, end)
      })
      this.#announce(end).catch((error: unknown) => end(`was not told: ${reasonOf(error)}`))
    })
  }

  async #announce(end: (reason: string) => void): Promise<void> {
    const { options } = this
    const offers: { readonly offer: object; readonly offer_id: string }[] = []
    const wanted = options.hasRoom() ? Math.min(OFFERS, options.webRtc.room, MOST_OFFERS - this.#offers.size) : 0
    await Promise.all(
      Array.from({ length: wanted }, async () => {
        const made = await options.webRtc.offer()
        if (made === undefined) return
        const id = randomBytes(ID_LENGTH).toString('latin1')
        this.#offers.set(id, made.connection)
        made.connection.once('close', () => this.#offers.delete(id))
        offers.push({ offer: { type: 'offer', sdp: made.sdp }, offer_id: id })
        if (this.#closed.signal.aborted) made.connection.destroy()
      }),
    )
    if (this.#closed.signal.aborted) return
    const event = this.#greeted ? undefined : 'started'
    this.#send({ ...this.#message(options.announcement(event)), numwant: offers.length, offers })
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => end('does not answer'), ANSWER_WITHIN)
  }

  #message(announcement: Announcement): Fields {
    const { infohash, peerId, uploaded, downloaded, left, event } = announcement
    return {
      action: 'announce',
      info_hash: binary(infohash),
      peer_id: binary(peerId),
      uploaded,
      downloaded,
      left,
      ...(event === undefined ? {} : { event }),
    }
  }

  #hear(message: Fields, end: (reason: string) => void): void {
    const own = this.options.announcement(undefined)
    const refusal = message['failure reason']
    if (typeof refusal === 'string') return end(`refused: ${printable(refusal.slice(0, 200))}`)
    if (message['action'] !== 'announce' || message['info_hash'] !== binary(own.infohash)) return
    const from = message['peer_id']
    if (typeof from !== 'string' || from === binary(own.peerId)) {
      this.#answered(message['interval'], end)
      return
    }
    if (!/^[\0-\xff]{20}$/.test(from)) return
    const peerId = Buffer.from(from, 'latin1').toString('hex')
    const { offer, answer, offer_id: offerId } = message
    if (typeof offerId !== 'string' || offerId.length > LONGEST_OFFER_ID) return
    const ignored = (error: unknown): void => {
      this.options.log.debug('a WebRTC peer of a tracker was not reached', { reason: reasonOf(error) })
    }
    if (isFields(offer)) this.#meet(peerId, from, offerId, offer).catch(ignored)
    else if (isFields(answer)) this.#accept(peerId, offerId, answer).catch(ignored)
  }

  #answered(interval: unknown, end: (reason: string) => void): void {
    // Offers and warnings of a server come the same way; only the first after an announcement sets the clock.
    this.#greeted = true
    const seconds = typeof interval === 'number' && interval > 0 ? interval : USUAL_INTERVAL / 1000
    const soon = this.#early > 0
    if (soon) this.#early -= 1
    this.#announceIn(soon ? SOONEST : Math.min(LATEST, Math.max(SOONEST, seconds * 1000)), end)
  }

  #announceIn(pause: Milliseconds, end: (reason: string) => void): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#announce(end).catch((error: unknown) => end(`was not told: ${reasonOf(error)}`))
    }, pause)
  }

  async #meet(peerId: string, from: string, offerId: string, offer: Fields): Promise<void> {
    const { webRtc } = this.options
    if (!this.options.hasRoom() || this.#answering >= MOST_ANSWERING) return
    this.#answering += 1
    try {
      const made = await webRtc.answer(offer['sdp'])
      if (made === undefined) return
      const { announcement } = this.options
      const { infohash, peerId: ours } = announcement(undefined)
      const answer = { type: 'answer', sdp: made.sdp }
      const head = { action: 'announce', info_hash: binary(infohash), peer_id: binary(ours) }
      if (!this.#send({ ...head, to_peer_id: from, answer, offer_id: offerId })) made.connection.destroy()
      await this.#handOver(peerId, made.connection)
    } finally {
      this.#answering -= 1
    }
  }

  async #accept(peerId: string, offerId: string, answer: Fields): Promise<void> {
    const connection = this.#offers.get(offerId)
    // One answer for an offer; what comes later finds none.
    this.#offers.delete(offerId)
    if (connection === undefined) return
    try {
      await this.options.webRtc.accept(connection, answer['sdp'])
    } catch (error) {
      connection.destroy()
      throw error
    }
    await this.#handOver(peerId, connection)
  }

  async #handOver(peerId: string, connection: DataConnection): Promise<void> {
    connection.id = peerId
    if (!(await this.options.webRtc.opened(connection))) return
    if (this.#closed.signal.aborted) connection.destroy()
    else {
      this.#early = 0
      this.options.peer(connection)
    }
  }

  #send(message: Fields): boolean {
    const socket = this.#socket
    if (socket === undefined || socket.readyState !== 1) return false
    socket.send(JSON.stringify(message))
    return true
  }

  #take(): boolean {
    const now = Date.now()
    this.#tokens = Math.min(BURST, this.#tokens + (Math.max(0, now - this.#lastMessage) / 1000) * MESSAGES_A_SECOND)
    this.#lastMessage = now
    this.#tokens -= 1
    return this.#tokens >= 0
  }
}

function parse(data: Buffer): Fields | undefined {
  try {
    const message: unknown = JSON.parse(data.toString('utf8'))
    return isFields(message) ? message : undefined
  } catch {
    // Not JSON: the caller says so.
    return undefined
  }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** 20 bytes as this protocol writes them: a character each. */
function binary(hex: string): string {
  return Buffer.from(hex, 'hex').toString('latin1')
}
