import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { abortError, AnnexfsError, reasonOf, systemCode, throwIfAborted } from '../errors.js'
import { killGroup } from '../git/process.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { SshEnded } from './ssh-failure.js'
import { sshEnvironment, type Invocation } from './ssh-program.js'
import { started } from '../started.js'

export interface ChannelOptions {
  readonly invocation: Invocation
  /** For messages: the host, and what runs there. */
  readonly host: string
  /** What the user types to get there; default: `ssh` and the host. */
  readonly login?: string
  readonly what: string
  /** Nothing comes for so long while something is waited for: it is ended. */
  readonly patience: Milliseconds
}

/** What is kept of the standard error. */
const LONGEST_COMPLAINT: Bytes = 4096
/** How long the end of a process is waited for once its output has ended. */
const ENDING: Milliseconds = 3_000
/** And for its last words after that: a master in the background may keep the pipe open for as long as it lives. */
const LAST_WORDS: Milliseconds = 250

/**
 * A program at the other end of ssh, as a stream of bytes both ways. Bytes are taken when they are asked for; what is
 * not is held back in the pipe and so at the host. One taker at a time. The process leads a group of its own without a
 * terminal, so that nothing can ask a question and all of it can be ended.
 */
export class SshChannel {
  readonly host: string
  /** Bytes that came out of ssh so far. */
  received: Bytes = 0
  /** When bytes came last (`performance.now()`). */
  heard: Milliseconds = performance.now()
  readonly #child: ChildProcessWithoutNullStreams
  readonly #options: ChannelOptions
  /** Resolves when the process is gone. */
  readonly gone: Promise<void>
  readonly #silent: Promise<void>
  #rest: Buffer = Buffer.alloc(0)
  #complaint = ''
  #ended = false
  #failure: AnnexfsError | undefined
  #wake: () => void = () => undefined

  constructor(options: ChannelOptions) {
    this.#options = options
    this.host = options.host
    const { file, args } = options.invocation
    const child = started(
      spawn(file, args, { env: sshEnvironment(), stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
      'ssh',
    )
    this.#child = child
    const wake = (): void => this.#wake()
    child.stdout.on('readable', wake)
    child.stdout.on('end', () => {
      this.#ended = true
      this.#wake()
    })
    child.stdout.on('error', wake)
    child.stderr.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString('latin1')).slice(-LONGEST_COMPLAINT)
    })
    this.#silent = new Promise((resolve) => {
      child.stderr.once('close', resolve)
      child.stderr.once('error', () => resolve())
    })
    // EPIPE: it has ended; its exit code says why.
    child.stdin.on('error', wake)
    // Not `close`, which waits for the pipe of the standard error too.
    this.gone = new Promise((resolve) => {
      child.once('error', (error) => {
        const hint = systemCode(error) === 'ENOENT' ? '. Is ssh installed and in the PATH?' : ''
        this.#failure ??= new AnnexfsError('SYSTEM', `cannot run ${file}: ${reasonOf(error)}${hint}`, { cause: error })
        this.#ended = true
        this.#wake()
        resolve()
      })
      child.once('exit', () => {
        resolve()
        this.#wake()
      })
    })
  }

  /** True when nothing more will come. */
  get over(): boolean {
    return this.#failure !== undefined || (this.#ended && this.#rest.length === 0)
  }

  write(data: string | Uint8Array): void {
    if (typeof data === 'string') this.#child.stdin.write(data, 'latin1')
    else this.#child.stdin.write(data)
  }

  /** Between 1 and `most` bytes. @throws SshEnded at the end; AnnexfsError TIMED_OUT, ABORTED by the signal. */
  async some(most: Bytes, signal?: AbortSignal): Promise<Buffer> {
    if (this.#rest.length === 0) this.#rest = await this.#next(signal)
    const taken = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(taken.length)
    return taken
  }

  /** Puts bytes back that {@link some} has just given. */
  unread(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([bytes, this.#rest])
  }

  /** Exactly `length` bytes. @throws as {@link some}. */
  async exactly(length: Bytes): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let missing = length; missing > 0;) {
      const part = await this.some(missing)
      parts.push(part)
      missing -= part.length
    }
    return parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts, length)
  }

  /** The next line, as latin1 and without its end. @throws AnnexfsError INVALID when it is longer than `longest`. */
  async line(longest: Bytes): Promise<string> {
    let text = ''
    for (;;) {
      const part = await this.some(Math.max(1, longest + 1 - text.length))
      const end = part.indexOf(10)
      if (end >= 0) {
        this.unread(part.subarray(end + 1))
        return (text + part.toString('latin1', 0, end)).replace(/\r$/, '')
      }
      text += part.toString('latin1')
      if (text.length > longest) {
        throw new AnnexfsError(
          'INVALID',
          `${this.#options.what} at ${this.host} sent a line of more than ${longest} bytes`,
        )
      }
    }
  }

  /** Ends it now; resolves when the process is gone. */
  async close(reason?: AnnexfsError): Promise<void> {
    this.#failure ??= reason ?? new AnnexfsError('UNAVAILABLE', `the connection to ${this.host} was closed`)
    killGroup(this.#child)
    this.#child.stdin.destroy()
    this.#child.stdout.destroy()
    this.#child.stderr.destroy()
    this.#wake()
    await this.gone
  }

  async #next(signal: AbortSignal | undefined): Promise<Buffer> {
    const since = performance.now()
    for (;;) {
      if (signal !== undefined) throwIfAborted(signal)
      if (this.#failure !== undefined) throw this.#failure
      const chunk = this.#child.stdout.read() as Buffer | null
      if (chunk !== null) {
        this.received += chunk.length
        this.heard = performance.now()
        return chunk
      }
      if (this.#ended) throw await this.#why()
      const left = since + this.#options.patience - performance.now()
      if (left <= 0) {
        const { what, patience } = this.#options
        const failure = new AnnexfsError(
          'TIMED_OUT',
          `${what} at ${this.host} over ssh sent nothing for ${patience} ms`,
        )
        void this.close(failure)
        throw failure
      }
      await this.#change(left, signal)
    }
  }

  async #why(): Promise<AnnexfsError> {
    await atMost(ENDING, this.gone)
    await atMost(LAST_WORDS, this.#silent)
    const { exitCode } = this.#child
    const end = { code: exitCode ?? undefined, complaint: this.#complaint }
    await this.close(new SshEnded(this.host, this.#options.what, end, this.#options.login))
    return this.#failure ?? new SshEnded(this.host, this.#options.what, end, this.#options.login)
  }

  #change(time: Milliseconds, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), time)
      const wake = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', wake)
        this.#wake = () => undefined
        resolve()
      }
      signal?.addEventListener('abort', wake)
      this.#wake = wake
    })
  }
}

async function atMost(time: Milliseconds, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([work, new Promise((resolve) => (timer = setTimeout(resolve, time)))])
  clearTimeout(timer)
}

/**
 * Waits for `work`, but no longer than until the signal fires; the work goes on, and its result is given to `late`.
 * @throws what the work throws; AnnexfsError TIMED_OUT, ABORTED by the signal.
 */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  late: (result: T) => void,
  failed: () => void = () => undefined,
): Promise<T> {
  let stop: () => void = () => undefined
  const aborted = new Promise<'aborted'>((resolve) => {
    stop = () => resolve('aborted')
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
  try {
    const first = await Promise.race([work.then((result) => ({ result })), aborted])
    if (first !== 'aborted') return first.result
  } finally {
    signal.removeEventListener('abort', stop)
  }
  work.then(late, failed)
  throw abortError(signal)
}
