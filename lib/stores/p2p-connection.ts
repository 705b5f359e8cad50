import { AnnexfsError } from '../errors.js'
import type { Key } from '../annex/key.js'
import { printable } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import type { SshChannel } from './ssh-channel.js'

/** The highest version of the protocol that is spoken here: what later ones add is not for reading. */
const VERSION = 1
/** git-annex takes lines of up to 32 KiB; its own answers are far shorter. */
const LONGEST_LINE: Bytes = 4096

/** Content that the other side is sending. */
export interface Sending {
  /** Serialization of the key. */
  readonly key: string
  /** Offset of the next byte in the content. */
  at: Bytes
  /** Where the content ends. */
  readonly end: Bytes
}

/**
 * One session of git-annex's P2P protocol with `git-annex-shell p2pstdio`, as its client
 * (https://git-annex.branchable.com/design/p2p_protocol/). One request at a time: the caller sees to that. There is no
 * message to stop a transfer: either all is taken, or the session is closed.
 */
export class P2pConnection {
  readonly uuid: string
  readonly version: number
  /** Content under way; undefined between requests. */
  sending: Sending | undefined
  #settled = true
  readonly #channel: SshChannel

  private constructor(channel: SshChannel, uuid: string, version: number) {
    this.#channel = channel
    this.uuid = uuid
    this.version = version
  }

  /**
   * Greets the server behind `channel`, which must serve the repository `uuid` (empty: any).
   * @throws AnnexfsError UNAVAILABLE (SshEnded) when it ends, INVALID when it does not speak the protocol, TIMED_OUT.
   */
  static async open(channel: SshChannel, uuid: string): Promise<P2pConnection> {
    try {
      const greeting = await channel.line(LONGEST_LINE)
      const found = /^AUTH-SUCCESS (\S+)$/.exec(greeting)?.[1]
      if (found === undefined) throw strange(channel.host, greeting)
      if (uuid !== '' && found !== uuid) {
        throw new AnnexfsError(
          'UNAVAILABLE',
          `at ${channel.host} is the repository ${printable(found.slice(0, 100))} now, not ${uuid}`,
          { lasting: true },
        )
      }
      channel.write(`VERSION ${VERSION}\n`)
      const answer = await channel.line(LONGEST_LINE)
      // One that does not know the request speaks version 0.
      const version = answer.startsWith('ERROR ') ? 0 : Number(/^VERSION (\d)$/.exec(answer)?.[1])
      if (!(version >= 0 && version <= VERSION)) throw strange(channel.host, answer)
      return new P2pConnection(channel, found, version)
    } catch (error) {
      void channel.close()
      throw error
    }
  }

  get host(): string {
    return this.#channel.host
  }

  get received(): Bytes {
    return this.#channel.received
  }

  /** True when it stands where another request, or more of the content under way, can be taken. */
  get usable(): boolean {
    return this.#settled && !this.#channel.over
  }

  /** When the other side was last heard (`performance.now()`). */
  get heard(): number {
    return this.#channel.heard
  }

  /** Whether the repository has the content of `key` now. @throws AnnexfsError as {@link get}. */
  async present(key: Key): Promise<boolean> {
    this.#settled = false
    this.#channel.write(`CHECKPRESENT ${key.raw}\n`)
    const answer = await this.#channel.line(LONGEST_LINE)
    if (answer !== 'SUCCESS' && answer !== 'FAILURE') throw strange(this.host, answer)
    this.#settled = true
    return answer === 'SUCCESS'
  }

  /**
   * Asks for the content of `key` from `offset` on; {@link take} gives it.
   * @throws AnnexfsError INVALID for an answer that is none; UNAVAILABLE (SshEnded), TIMED_OUT.
   */
  async get(key: Key, offset: Bytes): Promise<Sending> {
    this.#settled = false
    // The empty field is the name of a file that the content belongs to, which only serves the server's user.
    this.#channel.write(`GET ${offset}  ${key.raw}\n`)
    const answer = await this.#channel.line(LONGEST_LINE)
    const length = Number(/^DATA (\d{1,16})$/.exec(answer)?.[1])
    if (!Number.isSafeInteger(length) || !Number.isSafeInteger(offset + length)) throw strange(this.host, answer)
    this.#settled = true
    this.sending = { key: key.raw, at: offset, end: offset + length }
    return this.sending
  }

  /** The next bytes of the content under way, 1 to `most`. */
  async take(sending: Sending, most: Bytes, signal?: AbortSignal): Promise<Buffer> {
    const bytes = await this.#channel.some(Math.min(most, sending.end - sending.at), signal)
    sending.at += bytes.length
    return bytes
  }

  /** Undoes the last {@link take}: nobody wanted its bytes after all, and somebody may soon. */
  giveBack(sending: Sending, bytes: Buffer): void {
    this.#channel.unread(bytes)
    sending.at -= bytes.length
  }

  /** Takes what is left of the content under way, if any, and throws it away. */
  async drain(): Promise<void> {
    const { sending } = this
    if (sending === undefined) return
    while (sending.at < sending.end) await this.take(sending, sending.end - sending.at)
    await this.finish()
  }

  /**
   * After the last byte: whether what was sent was the content all the time. False when the file was changed
   * meanwhile, or was not there at all. Version 0 does not say; then it is taken for valid.
   */
  async finish(): Promise<boolean> {
    this.#settled = false
    const answer = this.version === 0 ? 'VALID' : await this.#channel.line(LONGEST_LINE)
    if (answer !== 'VALID' && answer !== 'INVALID') throw strange(this.host, answer)
    const valid = answer === 'VALID'
    this.#channel.write(valid ? 'SUCCESS\n' : 'FAILURE\n')
    this.sending = undefined
    this.#settled = true
    return valid
  }

  async close(): Promise<void> {
    await this.#channel.close()
  }
}

function strange(host: string, answer: string): AnnexfsError {
  const shown = printable(answer.slice(0, 200))
  if (answer.startsWith('ERROR ')) {
    return new AnnexfsError('UNAVAILABLE', `git-annex-shell at ${host} refuses: ${shown.slice(6)}`)
  }
  return new AnnexfsError('INVALID', `git-annex-shell at ${host} gave an answer that is none of the protocol: ${shown}`)
}
