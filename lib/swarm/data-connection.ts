import { Duplex } from 'node:stream'
import type { DataChannel, PeerConnection } from 'node-datachannel'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'

/** As it is announced to the peer; the longest honest message of ours and theirs is a block and its head. */
const LONGEST_MESSAGE: Bytes = 256 * 1024
const LONGEST_SENT: Bytes = 64 * 1024
/** Handed to the library and not yet sent: enough for a distant peer, and when to hand it more. */
const MOST_UNSENT: Bytes = 1024 * 1024
const FEW_UNSENT: Bytes = 256 * 1024
/**
 * Received and not yet read. The library knows no way to hold a peer back, which is no harm while it sends what was
 * asked for; a peer that sends more than this unasked is not heard to its end.
 */
const MOST_UNREAD: Bytes = 12 * 1024 * 1024
const GATHERING: Milliseconds = 5000
/** From our offer to the open channel; the tracker and the peer have a part in it. */
const OPENING: Milliseconds = 50_000

export type WebRtcLibrary = Pick<typeof import('node-datachannel'), 'PeerConnection'>

/**
 * A WebRTC data channel (RFC 8831) as the stream of bytes that webtorrent takes for a connection to a peer. There is no
 * STUN or TURN server: nobody is told that we are here but the tracker and its peers, and two peers that are both behind
 * address translation do not find each other; one of them has to be reachable.
 */
export class DataConnection extends Duplex {
  /** The peer's id, 40 hexadecimal digits; webtorrent keeps one connection for each. */
  id = ''
  connected = false
  remoteAddress: string | undefined
  remotePort: number | undefined
  readonly #peer: PeerConnection
  readonly #opened: Promise<void>
  readonly #timer: NodeJS.Timeout
  #open: () => void = () => undefined
  #channel: DataChannel | undefined
  #goOn: ((error?: Error) => void) | undefined

  private constructor(library: WebRtcLibrary) {
    super()
    this.#opened = new Promise((resolve, reject) => {
      this.#open = resolve
      this.once('close', () => reject(new AnnexfsError('UNAVAILABLE', 'a WebRTC peer was not reached')))
    })
    this.#opened.catch(() => undefined)
    // Whoever takes the connection over listens too; until then an error is the end of it and no more.
    this.on('error', () => undefined)
    this.#peer = new library.PeerConnection('annexfs', {
      iceServers: [],
      disableAutoNegotiation: true,
      enableIceTcp: false,
      maxMessageSize: LONGEST_MESSAGE,
      // Done here when the channel is open: the library may begin with DTLS before it has noted what to compare with.
      disableFingerprintVerification: true,
    })
    this.#timer = setTimeout(() => this.destroy(), OPENING)
    this.#peer.onStateChange((state) => {
      if (state === 'failed' || state === 'closed') this.destroy()
    })
  }

  /** A connection that begins with an offer of ours, and that offer. */
  static async offer(library: WebRtcLibrary): Promise<{ connection: DataConnection; sdp: string }> {
    const connection = new DataConnection(library)
    const { sdp } = await connection.#describe(() => {
      connection.#take(connection.#peer.createDataChannel('annexfs'))
      connection.#peer.setLocalDescription('offer')
    })
    // Ours is the side that begins with DTLS (RFC 8842). Some clients take 5 s to answer, and would have begun long
    // before we know them; their next attempts come later and later.
    return { connection, sdp: sdp.replace('a=setup:actpass', 'a=setup:active') }
  }

  /** A connection that a peer has offered, and our answer. `offer` must have been made safe. */
  static async answer(library: WebRtcLibrary, offer: string): Promise<{ connection: DataConnection; sdp: string }> {
    const connection = new DataConnection(library)
    return await connection.#describe(() => {
      connection.#peer.onDataChannel((channel) => connection.#take(channel))
      connection.#peer.setRemoteDescription(offer, 'offer')
      connection.#peer.setLocalDescription('answer')
    })
  }

  /**
   * The peer's answer to our offer, made safe. The library begins to speak with the peer a moment before it has noted the
   * answer: on a busy machine, a peer that is less than a millisecond away may be refused for that. It is tried again
   * with the tracker's next announcement.
   */
  accept(answer: string): void {
    if (this.destroyed) return
    try {
      this.#peer.setRemoteDescription(answer, 'answer')
    } catch (error) {
      this.destroy(new AnnexfsError('INVALID', `a peer's answer is of no use: ${reasonOf(error)}`))
    }
  }

  /**
   * Resolves when the peer can be spoken to.
   * @throws AnnexfsError UNAVAILABLE when it was not reached in 50 s.
   */
  async opened(): Promise<void> {
    await this.#opened
  }

  override _read(): void {
    // Messages come when they come.
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error) => void): void {
    const channel = this.#channel
    if (channel === undefined || !this.connected) return done(new Error('the data channel is not open'))
    try {
      const most = Math.max(1, Math.min(LONGEST_SENT, channel.maxMessageSize()))
      for (let at = 0; at < chunk.byteLength; at += most) channel.sendMessageBinary(chunk.subarray(at, at + most))
      if (channel.bufferedAmount() > MOST_UNSENT) this.#goOn = done
      else done()
    } catch (error) {
      done(error instanceof Error ? error : new Error(reasonOf(error)))
    }
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#timer)
    this.connected = false
    this.#goOn?.(new Error('the data channel was closed'))
    this.#goOn = undefined
    try {
      this.#channel?.close()
      this.#peer.close()
    } catch (closing) {
      done(error ?? (closing instanceof Error ? closing : new Error(reasonOf(closing))))
      return
    }
    done(error)
  }

  async #describe(begin: () => void): Promise<{ connection: DataConnection; sdp: string }> {
    try {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(resolve, GATHERING)
        this.once('close', () => reject(new AnnexfsError('UNAVAILABLE', 'a WebRTC connection was closed')))
        this.#peer.onGatheringStateChange((state) => {
          if (state !== 'complete') return
          clearTimeout(timer)
          resolve()
        })
        begin()
      })
      const sdp = this.#peer.localDescription()?.sdp
      if (sdp === undefined) throw new AnnexfsError('UNAVAILABLE', 'a WebRTC connection has no description')
      return { connection: this, sdp }
    } catch (error) {
      this.destroy()
      throw new AnnexfsError('UNAVAILABLE', `a WebRTC connection could not be prepared: ${reasonOf(error)}`)
    }
  }

  #take(channel: DataChannel): void {
    if (this.#channel !== undefined || this.destroyed) {
      // One is all that a peer needs.
      channel.close()
      this.destroy()
      return
    }
    this.#channel = channel
    channel.setBufferedAmountLowThreshold(FEW_UNSENT)
    channel.onBufferedAmountLow(() => {
      const goOn = this.#goOn
      this.#goOn = undefined
      goOn?.()
    })
    channel.onClosed(() => this.destroy())
    channel.onError((reason) => this.destroy(new AnnexfsError('UNAVAILABLE', `a data channel failed: ${reason}`)))
    channel.onMessage((message) => this.#receive(message))
    channel.onOpen(() => this.#ready())
    if (channel.isOpen()) this.#ready()
  }

  #ready(): void {
    if (this.destroyed || this.connected) return
    const remote = this.#peer.getSelectedCandidatePair()?.remote
    if (remote === undefined || !this.#isThePeer()) {
      this.destroy()
      return
    }
    clearTimeout(this.#timer)
    this.remoteAddress = remote.address
    this.remotePort = remote.port
    this.connected = true
    this.#open()
  }

  /** Has the other side shown the certificate that it was announced with (RFC 8122)? */
  #isThePeer(): boolean {
    const expected = /^a=fingerprint:(\S+) (\S+)\r?$/m.exec(this.#peer.remoteDescription()?.sdp ?? '')
    const shown = this.#peer.remoteFingerprint()
    return expected?.[1] === shown.algorithm && expected[2] === shown.value
  }

  #receive(message: string | Buffer | ArrayBuffer): void {
    if (this.destroyed) return
    if (typeof message === 'string' || this.readableLength > MOST_UNREAD) this.destroy()
    else if (message.byteLength > 0) this.push(message instanceof ArrayBuffer ? Buffer.from(message) : message)
  }
}
