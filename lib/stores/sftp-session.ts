import { abortError, AnnexfsError, isAnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { SshChannel } from './ssh-channel.js'
import { initPacket, LONGEST_PACKET, malformed, SFTP } from './sftp-packet.js'

/** Requests that wait for an answer, at most: each may be answered by 32 KiB. */
const MOST_REQUESTS = 1024
/** A server's first packet may list extensions. */
const LONGEST_GREETING: Bytes = 32 * 1024

export interface SftpAnswer {
  readonly type: number
  /** What follows the request id. */
  readonly body: Buffer
}

interface Waiting {
  readonly resolve: (answer: SftpAnswer) => void
  readonly reject: (error: unknown) => void
}

interface Queued {
  readonly send: () => void
  readonly reject: (error: unknown) => void
}

/**
 * One SFTP session: many requests at once, answered in any order. It ends for good with the first thing that is not
 * right about it, and all requests with it.
 */
export class SftpSession {
  readonly #channel: SshChannel
  readonly #waiting = new Map<number, Waiting>()
  /** Not sent yet, for want of room; as many as the open files ask for. */
  readonly #queue = new Set<Queued>()
  #id = 0
  #failure: AnnexfsError | undefined
  #wake: () => void = () => undefined

  private constructor(channel: SshChannel) {
    this.#channel = channel
  }

  /**
   * Greets the server behind `channel`.
   * @throws AnnexfsError UNAVAILABLE (SshEnded) when it ends, INVALID when it does not speak SFTP 3, TIMED_OUT.
   */
  static async open(channel: SshChannel): Promise<SftpSession> {
    try {
      channel.write(initPacket())
      const length = (await channel.exactly(4)).readUInt32BE(0)
      // Text of a login script in front of it is the usual reason.
      if (length < 5 || length > LONGEST_GREETING) throw malformed('something that is no SFTP')
      const greeting = await channel.exactly(length)
      if (greeting[0] !== SFTP.VERSION || greeting.readUInt32BE(1) < 3) throw malformed('another version than 3')
      const session = new SftpSession(channel)
      session.#listen().catch((error: unknown) => session.#end(error))
      return session
    } catch (error) {
      void channel.close()
      throw error
    }
  }

  get over(): boolean {
    return this.#failure !== undefined
  }

  get received(): Bytes {
    return this.#channel.received
  }

  /**
   * Sends the packet that `make` gives for an id, as soon as there is room for another request.
   * @throws AnnexfsError UNAVAILABLE, INVALID, TIMED_OUT; the reason of `signal`, which ends the waiting for room alone.
   */
  request(make: (id: number) => Buffer, signal?: AbortSignal): Promise<SftpAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) throw this.#failure
      if (signal?.aborted === true) throw abortError(signal)
      const queued: Queued = {
        send: () => {
          signal?.removeEventListener('abort', onAbort)
          this.#send(make, { resolve, reject })
        },
        reject: (error) => {
          signal?.removeEventListener('abort', onAbort)
          reject(error)
        },
      }
      const onAbort = (): void => {
        if (this.#queue.delete(queued) && signal !== undefined) queued.reject(abortError(signal))
      }
      this.#queue.add(queued)
      this.#sendQueued()
      if (this.#queue.has(queued)) signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  /** First come, first served: what is asked about a file is in the order in which it was asked. */
  #sendQueued(): void {
    for (const queued of this.#queue) {
      if (this.#waiting.size >= MOST_REQUESTS) return
      this.#queue.delete(queued)
      queued.send()
    }
  }

  #send(make: (id: number) => Buffer, waiting: Waiting): void {
    do this.#id = (this.#id + 1) >>> 0
    while (this.#waiting.has(this.#id))
    this.#waiting.set(this.#id, waiting)
    this.#channel.write(make(this.#id))
    this.#wake()
  }

  async close(): Promise<void> {
    this.#end(new AnnexfsError('UNAVAILABLE', `the sftp session with ${this.#channel.host} was closed`))
    await this.#channel.close()
  }

  async #listen(): Promise<void> {
    while (this.#failure === undefined) {
      // The channel's patience counts only while an answer is due.
      if (this.#waiting.size === 0) await new Promise<void>((resolve) => (this.#wake = resolve))
      if (this.#failure !== undefined) return
      const head = await this.#channel.exactly(9)
      const length = head.readUInt32BE(0)
      if (length < 5 || length > LONGEST_PACKET) throw malformed(`a packet of ${length} bytes`)
      const body = await this.#channel.exactly(length - 5)
      const id = head.readUInt32BE(5)
      const waiting = this.#waiting.get(id)
      if (waiting === undefined) throw malformed('an answer that nobody asked for')
      this.#waiting.delete(id)
      waiting.resolve({ type: head.readUInt8(4), body })
      this.#sendQueued()
    }
  }

  #end(error: unknown): void {
    this.#failure ??= isAnnexfsError(error) ? error : new AnnexfsError('UNAVAILABLE', String(error), { cause: error })
    void this.#channel.close()
    for (const { reject } of [...this.#waiting.values(), ...this.#queue]) reject(this.#failure)
    this.#waiting.clear()
    this.#queue.clear()
    this.#wake()
  }
}
