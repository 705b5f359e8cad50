import { AnnexfsError, isAnnexfsError, throwIfAborted } from '../errors.js'
import { printable } from '../log/log.js'
import { checkInside } from '../sources/range.js'
import type { Demand } from '../sources/source.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { BackOff } from './back-off.js'
import { unlessAborted } from './ssh-channel.js'
import type { HostFile, HostFiles } from './ssh-files.js'
import { noSubsystem, SshEnded } from './ssh-failure.js'
import type { SshHost } from './ssh-host.js'
import {
  handlePacket,
  malformed,
  openPacket,
  parseAttributes,
  parseStatus,
  parseText,
  readPacket,
  SFTP,
  SFTP_STATUS,
  type SftpAttributes,
} from './sftp-packet.js'
import { SftpSession, type SftpAnswer } from './sftp-session.js'

/** What every server gives in one answer. */
const PIECE: Bytes = 32 * 1024
/** Requests that one read has under way: 2 MiB, what a line of 100 Mbit/s and 160 ms holds. */
const WINDOW = 64
/** Reads of one file at once; they share the one connection. */
const PARALLEL = 4
const LONGEST: Bytes = 16 * 1024 * 1024
/** Files that are open at the host at once: OpenSSH has room for 1,000. */
const MOST_OPEN = 200
/**
 * With no file open the session ends after so long, and ssh's connection with it: it holds a process at the host, which some
 * allow few of. Longer than somebody pauses who looks through files; a new one costs some round trips.
 */
const IDLE: Milliseconds = 45_000

const TYPE = 0o170000
const REGULAR = 0o100000
const WRITABLE = 0o222

/** Files over the sftp subsystem of ssh: one session, shared by all reads, opened anew when it has ended. */
export class SftpFiles implements HostFiles {
  readonly #host: SshHost
  readonly #idle: Milliseconds
  #session: Promise<SftpSession> | undefined
  #receivedBefore: Bytes = 0
  #current: SftpSession | undefined
  readonly #backOff = new BackOff()
  /** Files that are open or being opened. */
  #open = 0
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(host: SshHost, idle = IDLE) {
    this.#host = host
    this.#idle = idle
  }

  get received(): Bytes {
    return this.#receivedBefore + (this.#current?.received ?? 0)
  }

  async open(path: Buffer, signal: AbortSignal): Promise<HostFile | undefined> {
    throwIfAborted(signal)
    const opening = this.#openFile(path)
    return unlessAborted(opening, signal, (file) => file?.close())
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    // One that could not be opened has nothing to close.
    const session = await this.#session?.catch(() => undefined)
    await session?.close()
  }

  async #openFile(path: Buffer): Promise<HostFile | undefined> {
    if (this.#open >= MOST_OPEN) {
      throw new AnnexfsError('UNAVAILABLE', `${MOST_OPEN} files are open at ${this.#host.name} already`)
    }
    clearTimeout(this.#timer)
    this.#open++
    let file: HostFile | undefined
    try {
      file = await this.#openNow(path)
      return file
    } finally {
      if (file === undefined) this.#left()
    }
  }

  /** A file was closed, or could not be opened. */
  #left(): void {
    this.#open--
    if (this.#open > 0 || this.#closed) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.#current?.close(), this.#idle).unref()
  }

  async #openNow(path: Buffer): Promise<HostFile | undefined> {
    const session = await this.#live()
    const opened = await this.#request(session, (id) => openPacket(id, path))
    if (opened.type === SFTP.STATUS) return this.#refused(parseStatus(opened.body), path)
    if (opened.type !== SFTP.HANDLE) throw malformed(`an answer of type ${opened.type} to an open`)
    const handle = Buffer.from(parseText(opened.body))
    // A file that was only read loses nothing when its close fails.
    const close = (): void => void session.request((id) => handlePacket(SFTP.CLOSE, id, handle)).catch(() => undefined)
    let closed = false
    try {
      const attributes = await this.#attributes(session, handle)
      const { size, mode } = attributes
      if (size === undefined || (mode !== undefined && (mode & TYPE) !== REGULAR && (mode & TYPE) !== 0)) {
        close()
        return undefined
      }
      return {
        size,
        ...(mode === undefined ? {} : { settled: (mode & WRITABLE) === 0 }),
        ...(attributes.modified === undefined ? {} : { version: String(attributes.modified) }),
        parallel: PARALLEL,
        longest: LONGEST,
        read: (range, demand) => this.#read(session, handle, path, { ...attributes, size }, range, demand),
        close: () => {
          if (closed) return
          closed = true
          close()
          this.#left()
        },
      }
    } catch (error) {
      close()
      throw error
    }
  }

  /**
   * Reads are asked for ahead, as far as the consumer follows. The last bytes are given when size and time have been
   * found the same after all of them, so that a file that is being written is no mixture.
   */
  async *#read(
    session: SftpSession,
    handle: Buffer,
    path: Buffer,
    expected: SftpAttributes & { readonly size: Bytes },
    range: ByteRange,
    { signal }: Demand,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    checkInside(range, expected.size, this.#host.name)
    throwIfAborted(signal)
    // What still waits to be sent when nobody reads on is not sent at all.
    const ended = new AbortController()
    const over = ended.signal
    const pending: { readonly at: Bytes; readonly end: Bytes; readonly answer: Promise<SftpAnswer> }[] = []
    let asked = range.start
    let status: Promise<SftpAttributes> | undefined
    const ask = (): void => {
      while (asked < range.end && pending.length < WINDOW) {
        const at = asked
        const end = Math.min(range.end, at + PIECE)
        const answer = this.#request(session, (id) => readPacket(id, handle, at, end - at), over)
        // Those behind the first that fails are looked at by nobody.
        answer.catch(() => undefined)
        pending.push({ at, end, answer })
        asked = end
      }
      if (asked >= range.end && status === undefined) {
        status = this.#attributes(session, handle, over)
        status.catch(() => undefined)
      }
    }
    try {
      for (let at = range.start; at < range.end;) {
        ask()
        const first = pending.shift()
        if (first === undefined) throw malformed('less than was asked for')
        const bytes = this.#data(await unlessAborted(first.answer, signal, () => undefined), first.end - first.at, path)
        at += bytes.length
        if (at < first.end) {
          // Fewer than asked for is allowed; the rest is asked for again, first of all.
          const [from, end] = [at, first.end]
          const answer = this.#request(session, (id) => readPacket(id, handle, from, end - from), over)
          answer.catch(() => undefined)
          pending.unshift({ at: from, end, answer })
          // What was asked before it says nothing of it.
          status = undefined
        }
        if (at >= range.end) {
          const now = await unlessAborted(status ?? this.#attributes(session, handle, over), signal, () => undefined)
          if (now.size !== expected.size || now.modified !== expected.modified) throw this.#changed(path)
        }
        yield bytes
      }
    } finally {
      ended.abort()
    }
  }

  #data(answer: SftpAnswer, most: Bytes, path: Buffer): Buffer {
    if (answer.type === SFTP.DATA) {
      const bytes = parseText(answer.body, most)
      if (bytes.length === 0) throw malformed('data of no bytes')
      return bytes
    }
    if (answer.type !== SFTP.STATUS) throw malformed(`an answer of type ${answer.type} to a read`)
    const { code, message } = parseStatus(answer.body)
    if (code === SFTP_STATUS.EOF) throw this.#changed(path)
    throw this.#failed(path, code, message)
  }

  async #attributes(session: SftpSession, handle: Buffer, signal?: AbortSignal): Promise<SftpAttributes> {
    const answer = await this.#request(session, (id) => handlePacket(SFTP.FSTAT, id, handle), signal)
    if (answer.type !== SFTP.ATTRS) throw malformed(`an answer of type ${answer.type} to a question for attributes`)
    return parseAttributes(answer.body)
  }

  #live(): Promise<SftpSession> {
    if (this.#closed) throw new AnnexfsError('UNAVAILABLE', `the connection to ${this.#host.name} was closed`)
    if (this.#current?.over === true) {
      this.#receivedBefore += this.#current.received
      this.#current = undefined
      this.#session = undefined
    }
    this.#session ??= this.#connect()
    return this.#session
  }

  async #connect(): Promise<SftpSession> {
    try {
      this.#backOff.check()
      return await this.#connectNow()
    } catch (error) {
      this.#session = undefined
      throw error
    }
  }

  async #connectNow(): Promise<SftpSession> {
    try {
      const session = await SftpSession.open(await this.#host.run({ subsystem: 'sftp' }, 'sftp'))
      this.#current = session
      this.#backOff.succeeded()
      if (this.#closed) await session.close()
      return session
    } catch (error) {
      this.#backOff.failed(error)
      if (isAnnexfsError(error, 'TIMED_OUT')) await this.#host.reconnect()
      // Over a shared connection, ssh does not say that it was the subsystem that was refused.
      const unsaid = error instanceof SshEnded && error.unconnected && error.end.complaint.trim() === ''
      throw unsaid && (await this.#host.connected()) ? noSubsystem(this.#host.name, 'sftp') : error
    }
  }

  async #request(session: SftpSession, make: (id: number) => Buffer, signal?: AbortSignal): Promise<SftpAnswer> {
    try {
      return await session.request(make, signal)
    } catch (error) {
      if (isAnnexfsError(error, 'TIMED_OUT') && signal?.aborted !== true) await this.#host.reconnect()
      throw error
    }
  }

  #refused({ code, message }: ReturnType<typeof parseStatus>, path: Buffer): undefined {
    // A folder, or a file in place of one, is a failure without a reason to many servers.
    if (code === SFTP_STATUS.NO_SUCH_FILE || code === SFTP_STATUS.FAILURE) return undefined
    throw this.#failed(path, code, message)
  }

  #failed(path: Buffer, code: number, message: string): AnnexfsError {
    const said = message === '' ? `status ${code}` : printable(message)
    return new AnnexfsError('UNAVAILABLE', `${this.#host.name} gives no bytes of ${shown(path)} over sftp: ${said}`)
  }

  #changed(path: Buffer): AnnexfsError {
    return new AnnexfsError('CORRUPT', `${shown(path)} at ${this.#host.name} has changed while it was read`)
  }
}

function shown(path: Buffer): string {
  return printable(path.toString('utf8').slice(-200))
}
