import { abortError, AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { printable, type Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { ExternalAnswers } from './external-answers.js'
import { deathGuard, LineProgram } from './external-process.js'

export interface SessionOptions {
  /** For messages. */
  readonly name: string
  readonly program: string
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly answers: ExternalAnswers
  readonly patience: Milliseconds
  readonly log: Log
}

/** What is asked of the program. Texts are bytes as latin1. */
export interface ExternalRequest {
  /** Sent right before, without an answer of its own (`EXPORT Name`). */
  readonly before?: string
  readonly line: string
  /** The words that a final answer begins with, as far as they are known: `TRANSFER-SUCCESS RETRIEVE Key`. */
  readonly answers: readonly string[]
  readonly signal: AbortSignal
  readonly progress?: (bytes: Bytes) => void
  /** Looked at when nothing was heard: whether there is another sign that the program is at work. */
  readonly alive?: () => Promise<boolean>
}

/** Offered: those that matter for reading. */
const EXTENSIONS = [
  'INFO',
  'GETGITREMOTENAME',
  'ASYNC',
  'UNAVAILABLERESPONSE',
  'TRANSFER-RETRIEVE-URL',
  'CHECKPRESENT-URL',
]
const UNSUPPORTED = 'UNSUPPORTED-REQUEST'
/** A question that is not wanted any more may still be answered, so that the program can go on. */
const LATE: Milliseconds = 3_000
/** Questions of the program that it has not waited for the answers of. */
const MOST_PENDING = 100

interface Job {
  readonly request: ExternalRequest
  readonly resolve: (answer: string) => void
  readonly reject: (error: AnnexfsError) => void
  heard: Milliseconds
  most: Bytes
  pending: number
}

/**
 * One process of an external special remote, from its first word to its end: it speaks protocol version 1 or 2, with or
 * without ASYNC (git-annex: "external special remote protocol" and its appendices). State is owned here; a request is
 * answered, or fails with the process.
 */
export class ExternalSession {
  readonly #options: SessionOptions
  readonly #program: LineProgram
  readonly #jobs = new Map<number, Job>()
  readonly #watch: NodeJS.Timeout
  #start: ((line: string) => boolean) | undefined
  #extensions: ReadonlySet<string> = new Set()
  #serial = 1
  #spoiled: AnnexfsError | undefined
  /** Resolves when the process is gone. */
  readonly ended: Promise<void>

  private constructor(options: SessionOptions, guard: string | undefined) {
    this.#options = options
    const { name, program, cwd, env, log, answers } = options
    const redact = (text: string): string => answers.redact(text)
    this.#program = new LineProgram(
      { name, program, args: [], cwd, env, log, redact, onLine: (line) => this.#take(line) },
      guard,
    )
    this.ended = this.#program.ended.then((reason) => {
      clearInterval(this.#watch)
      for (const job of this.#jobs.values()) job.reject(reason)
      this.#jobs.clear()
    })
    this.#watch = setInterval(() => this.#look(), Math.max(20, Math.min(1_000, options.patience / 4)))
  }

  /**
   * Starts the program and prepares it.
   * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, ABORTED.
   */
  static async start(options: SessionOptions, signal: AbortSignal): Promise<ExternalSession> {
    throwIfAborted(signal)
    const session = new ExternalSession(options, await deathGuard())
    const aborted = (): void => session.kill(abortError(signal))
    const timer = setTimeout(() => {
      session.kill(new AnnexfsError('TIMED_OUT', `${options.name} was not ready within ${options.patience} ms`))
    }, options.patience)
    signal.addEventListener('abort', aborted, { once: true })
    try {
      await session.#greet()
      const prepared = await session.request({
        line: 'PREPARE',
        answers: ['PREPARE-SUCCESS', 'PREPARE-FAILURE'],
        signal,
      })
      if (prepared.startsWith('PREPARE-SUCCESS')) return session
      throw session.error(`is not ready: ${session.shown(prepared.slice('PREPARE-FAILURE '.length))}`)
    } catch (error) {
      session.kill(error instanceof AnnexfsError ? error : session.error(reasonOf(error)))
      await session.ended
      throw error
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
    }
  }

  has(extension: string): boolean {
    return this.#extensions.has(extension)
  }

  get jobs(): number {
    return this.#jobs.size
  }

  /** Whether it takes another request now. */
  get usable(): boolean {
    return this.#program.alive && this.#spoiled === undefined
  }

  error(what: string): AnnexfsError {
    return new AnnexfsError('UNAVAILABLE', `${this.#options.name} ${what}`)
  }

  /** What the program said, for a message. */
  shown(text: string): string {
    const clean = this.#options.answers.redact(text).slice(0, 500)
    return printable(Buffer.from(clean, 'latin1').toString('utf8')) || 'it does not say why'
  }

  kill(reason: AnnexfsError): void {
    this.#program.kill(reason)
  }

  async end(): Promise<void> {
    await this.#program.end()
    await this.ended
  }

  /**
   * Asks, and gives the final answer, one of those that were expected or `UNSUPPORTED-REQUEST`. When it is aborted the
   * program is ended, since there is no way to take a request back; with other jobs in it, when these are done. Settles
   * only when the program does not work on it any more.
   * @throws AnnexfsError UNAVAILABLE (the program ended, or spoke nonsense), TIMED_OUT (silence), ABORTED.
   */
  async request(request: ExternalRequest): Promise<string> {
    throwIfAborted(request.signal)
    if (!this.usable) throw this.#spoiled ?? this.error('has ended')
    const number = this.#serial++
    let late: NodeJS.Timeout | undefined
    const aborted = (): void => {
      const reason = abortError(request.signal)
      if (this.jobs > 1) {
        // The others go on; this one's answer is not wanted, and nothing new is asked here.
        this.#spoiled ??= reason
        return
      }
      if (request.progress !== undefined) this.kill(reason)
      else late = setTimeout(() => this.kill(reason), LATE)
    }
    try {
      return await new Promise<string>((resolve, reject) => {
        this.#jobs.set(number, { request, resolve, reject, heard: performance.now(), most: 0, pending: 0 })
        request.signal.addEventListener('abort', aborted, { once: true })
        if (request.before !== undefined) this.#send(number, request.before)
        this.#send(number, request.line)
      })
    } finally {
      clearTimeout(late)
      request.signal.removeEventListener('abort', aborted)
      this.#jobs.delete(number)
      if (this.#spoiled !== undefined && [...this.#jobs.values()].every((job) => job.request.signal.aborted)) {
        this.kill(this.#spoiled)
      }
    }
  }

  async #greet(): Promise<void> {
    const version = await this.#hear((line) => line.startsWith('VERSION '))
    if (!/^VERSION [12]$/.test(version)) throw this.error(`speaks another protocol: ${this.shown(version)}`)
    this.#program.write(`EXTENSIONS ${EXTENSIONS.join(' ')}`)
    const answer = await this.#hear((line) => line === UNSUPPORTED || /^EXTENSIONS(?: |$)/.test(line))
    const wanted =
      answer === UNSUPPORTED
        ? []
        : answer
            .split(' ')
            .slice(1)
            .filter((word) => word !== '')
    const unknown = wanted.find((word) => !EXTENSIONS.includes(word))
    if (unknown !== undefined) throw this.error(`wants an extension that was not offered: ${this.shown(unknown)}`)
    this.#extensions = new Set(wanted)
  }

  #hear(fits: (line: string) => boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#start = (line) => {
        if (!fits(line)) return false
        this.#start = undefined
        resolve(line)
        return true
      }
      void this.#program.ended.then(reject)
    })
  }

  #send(job: number, line: string): void {
    this.#program.write(this.has('ASYNC') ? `J ${job} ${line}` : line)
  }

  #take(line: string): void {
    if (line === 'ERROR' || line.startsWith('ERROR ')) throw this.error(`failed: ${this.shown(line.slice(6))}`)
    if (this.#start !== undefined) {
      if (this.#start(line) || this.#answer(0, undefined, line)) return
      throw this.error(`said ${this.shown(line)} before it was asked anything`)
    }
    if (!this.has('ASYNC')) {
      const [[number, job] = [0, undefined]] = this.#jobs
      return this.#takeFor(number, job, line)
    }
    const match = /^J (\d{1,15}) (.*)$/s.exec(line)
    const number = Number(match?.[1])
    return this.#takeFor(number, this.#jobs.get(number), match?.[2] ?? line)
  }

  #takeFor(number: number, job: Job | undefined, line: string): void {
    if (job === undefined) {
      // What it has to say between requests.
      if (/^(?:DEBUG|INFO) /.test(line)) return void this.#answer(0, undefined, line)
      throw this.error(`answered a question that nobody asked: ${this.shown(line)}`)
    }
    if (/^PROGRESS \d{1,15}$/.test(line)) {
      const bytes = Number(line.slice('PROGRESS '.length))
      if (bytes > job.most) {
        job.heard = performance.now()
        job.most = bytes
      }
      job.request.progress?.(bytes)
      return
    }
    if (line === UNSUPPORTED || job.request.answers.some((known) => line === known || line.startsWith(`${known} `))) {
      this.#jobs.delete(number)
      job.resolve(line)
      return
    }
    if (this.#answer(number, job, line)) return
    throw this.error(`gave an answer that does not fit "${this.shown(job.request.line)}": ${this.shown(line)}`)
  }

  /** Answers a message of the program; false when it is none. */
  #answer(number: number, job: Job | undefined, line: string): boolean {
    const answer = this.#options.answers.answer(line)
    if (answer === undefined) return false
    const send = (lines: readonly string[]): void => {
      for (const text of lines) this.#send(number, text)
    }
    if (!('then' in answer)) {
      send(answer)
      return true
    }
    const counted = job ?? { pending: 0 }
    if (++counted.pending > MOST_PENDING) throw this.error('asks faster than it takes answers')
    answer.then(
      (lines) => {
        counted.pending--
        send(lines)
      },
      (error: unknown) => this.kill(this.error(`asked what cannot be answered: ${reasonOf(error)}`)),
    )
    return true
  }

  /** Ends a program that has not moved for too long. */
  #look(): void {
    const { patience } = this.#options
    for (const job of this.#jobs.values()) {
      if (performance.now() - job.heard < patience) continue
      job.heard = performance.now()
      const silent = (): void => {
        const what = this.shown(job.request.line.split(' ').slice(0, 2).join(' '))
        this.kill(new AnnexfsError('TIMED_OUT', `${this.#options.name} did not move for ${patience} ms (${what})`))
      }
      if (job.request.alive === undefined) silent()
      else job.request.alive().then((alive) => void (alive || silent()), silent)
    }
  }
}
