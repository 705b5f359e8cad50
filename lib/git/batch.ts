import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { AnnexfsError, reasonOf } from '../errors.js'
import { printable, type Log } from '../log/log.js'
import { oneLine } from '../log/one-line.js'
import { gitEnvironment, killGroup } from './process.js'
import { started } from '../started.js'

export type Command = 'info' | 'contents'

export type Answer =
  | { readonly kind: 'missing' }
  | {
      readonly kind: 'found'
      readonly sha: string
      readonly type: string
      readonly size: number
      readonly bytes: Buffer
    }
  | { readonly kind: 'error'; readonly error: AnnexfsError }

interface Request {
  readonly command: Command
  readonly rev: string
  readonly answer: (answer: Answer) => void
  attempts: number
}

/** Requests that git has at once; the rest waits here, so that neither side's buffers grow without bound. */
const IN_FLIGHT = 4096

/** Wait before a process that died is started again, in milliseconds, doubled up to the second figure. */
const BACK_OFF = [20, 2000] as const

/** Deaths in a row, without one answer in between, after which all that waits fails. */
const DEATHS = 6

/** Processes that may idle at once (a repository with many submodules has one each). */
const IDLE_PROCESSES = 24

/** What git says last when it lacks an object that it would have to fetch (promisor-remote.c). */
const NOT_FETCHED = /could not fetch [0-9a-f]+ from promisor remote/

const MISSING: Answer = { kind: 'missing' }
const NOTHING = Buffer.alloc(0)
const NEWLINE = 0x0a

/** Those with a process and nothing to do, longest idle first. */
const idle = new Set<BatchProcess>()

/**
 * One `git cat-file --batch-command --buffer`, started at the first request and again when it died. Requests are
 * answered in order. Who owns what: `waiting` are requests not yet written, `asked` are written and unanswered; a
 * request leaves `asked` only by its answer, or back to `waiting` when the process died.
 */
export class BatchProcess {
  private readonly gitDir: string
  private readonly log: Log
  private child: ChildProcessWithoutNullStreams | undefined
  private waiting: Request[] = []
  private waitingFrom = 0
  private asked: Request[] = []
  private askedFrom = 0
  private flushing = false
  private deaths = 0
  private retry: NodeJS.Timeout | undefined
  private closed = false
  private reader = new AnswerReader()

  constructor(gitDir: string, log: Log) {
    this.gitDir = gitDir
    this.log = log
  }

  /** Never rejects: failures are answers. */
  async ask(command: Command, rev: string): Promise<Answer> {
    return new Promise((answer) => this.put({ command, rev, answer, attempts: 0 }))
  }

  /** The answers to many requests, in their order. */
  async askAll(command: Command, revs: readonly string[]): Promise<Answer[]> {
    if (revs.length === 0) return []
    return new Promise((resolve) => {
      const answers: Answer[] = Array.from({ length: revs.length }, () => MISSING)
      let left = revs.length
      for (const [index, rev] of revs.entries()) {
        const answer = (given: Answer): void => {
          answers[index] = given
          if (--left === 0) resolve(answers)
        }
        this.put({ command, rev, answer, attempts: 0 })
      }
    })
  }

  async close(): Promise<void> {
    this.closed = true
    clearTimeout(this.retry)
    const child = this.child
    this.failAll(new AnnexfsError('ABORTED', 'the repository was closed'))
    if (child !== undefined) {
      const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
      this.stop()
      await gone
    }
  }

  /** Ends the process; the next request starts another. */
  private stop(): void {
    idle.delete(this)
    const child = this.child
    this.child = undefined
    if (child !== undefined) killGroup(child)
  }

  private put(request: Request): void {
    if (this.closed) {
      request.answer({ kind: 'error', error: new AnnexfsError('ABORTED', 'the repository was closed') })
      return
    }
    idle.delete(this)
    this.waiting.push(request)
    this.flushSoon()
  }

  /** All requests of one turn of the event loop go out in one write with one flush. */
  private flushSoon(): void {
    if (this.flushing || this.retry !== undefined) return
    this.flushing = true
    setImmediate(() => {
      this.flushing = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.closed || this.retry !== undefined || this.waitingFrom === this.waiting.length) return
    const room = IN_FLIGHT - (this.asked.length - this.askedFrom)
    if (room <= 0) return
    let child: ChildProcessWithoutNullStreams
    try {
      child = this.child ??= this.start()
    } catch (error) {
      this.failAll(error instanceof AnnexfsError ? error : new AnnexfsError('SYSTEM', reasonOf(error)))
      return
    }
    const until = Math.min(this.waiting.length, this.waitingFrom + room)
    let text = ''
    for (let index = this.waitingFrom; index < until; index++) {
      const request = this.waiting[index]
      if (request === undefined) continue
      this.asked.push(request)
      text += `${request.command} ${request.rev}\n`
    }
    this.waitingFrom = until
    if (this.waitingFrom === this.waiting.length) {
      this.waiting = []
      this.waitingFrom = 0
    }
    child.stdin.write(`${text}flush\n`)
  }

  private start(): ChildProcessWithoutNullStreams {
    const child = started(
      spawn('git', ['cat-file', '--batch-command', '--buffer'], {
        env: gitEnvironment({ gitDir: this.gitDir }),
        stdio: ['pipe', 'pipe', 'pipe'],
        detached: true,
      }),
      'git',
    )
    this.reader = new AnswerReader()
    let complaint = ''
    let failure: unknown
    child.stderr.on('data', (chunk: Buffer) => {
      if (complaint.length < 4096) complaint += chunk.toString('latin1')
    })
    // EPIPE: the process died; its end is handled below.
    child.stdin.on('error', () => undefined)
    child.on('error', (error) => (failure = error))
    child.stdout.on('data', (chunk: Buffer) => {
      if (this.child === child) this.take(chunk)
    })
    child.once('close', () => {
      if (this.child !== child) return
      this.child = undefined
      const reason = failure === undefined ? oneLine(complaint.slice(0, 2000)).slice(0, 500) : reasonOf(failure)
      if (!this.closed) this.died(reason === '' ? 'it ended' : reason)
    })
    return child
  }

  private take(chunk: Buffer): void {
    this.reader.push(chunk)
    for (;;) {
      const request = this.asked[this.askedFrom]
      if (request === undefined) break
      const answer = this.reader.next(request.command === 'contents')
      if (answer === undefined) break
      if (answer.kind === 'error') {
        this.log.error('git gave an answer that cannot be read; it is started again', { reason: answer.error.message })
        this.stop()
        this.died(answer.error.message)
        return
      }
      this.deaths = 0
      this.askedFrom++
      if (this.askedFrom >= IN_FLIGHT) {
        this.asked.splice(0, this.askedFrom)
        this.askedFrom = 0
      }
      request.answer(answer)
    }
    if (this.waitingFrom < this.waiting.length) this.flushSoon()
    else if (this.asked.length === this.askedFrom) this.rest()
  }

  /** Nothing to do: among the idle, where the one that has idled longest gives way when there are many. */
  private rest(): void {
    this.asked = []
    this.askedFrom = 0
    idle.delete(this)
    idle.add(this)
    if (idle.size <= IDLE_PROCESSES) return
    for (const longest of idle) {
      longest.stop()
      break
    }
  }

  /**
   * The process is gone. The request it was at (git answers in order) may be the cause: it is tried once more, then
   * fails alone; those behind it are asked again.
   */
  private died(reason: string): void {
    const unanswered = this.asked.slice(this.askedFrom)
    this.asked = []
    this.askedFrom = 0
    this.deaths++
    const first = unanswered[0]
    if (first !== undefined && NOT_FETCHED.test(reason)) {
      // A partial clone lacks the object, and git ends itself when it may not fetch it: an answer like any other.
      unanswered.shift()
      this.deaths = 0
      first.answer(MISSING)
    } else if (first !== undefined && ++first.attempts > 1) {
      unanswered.shift()
      const code = /corrupt|fatal|error:/.test(reason) ? 'CORRUPT' : 'SYSTEM'
      first.answer({
        kind: 'error',
        error: new AnnexfsError(code, `git cannot read object ${printable(first.rev)}: ${reason}`),
      })
      // One unreadable object after another is no sign that git itself does not work.
      if (code === 'CORRUPT') this.deaths = 0
    }
    this.waiting = [...unanswered, ...this.waiting.slice(this.waitingFrom)]
    this.waitingFrom = 0
    if (this.deaths >= DEATHS) {
      this.deaths = 0
      this.log.error('git cat-file does not stay up', { repository: this.gitDir, reason })
      this.failAll(new AnnexfsError('SYSTEM', `git cat-file in ${this.gitDir} does not stay up: ${reason}`))
      return
    }
    const wait = this.deaths === 0 ? 0 : Math.min(BACK_OFF[1], BACK_OFF[0] * 2 ** (this.deaths - 1))
    this.log.debug('git cat-file ended and is started again', { repository: this.gitDir, reason, wait })
    this.retry = setTimeout(() => {
      this.retry = undefined
      this.flush()
    }, wait)
  }

  private failAll(error: AnnexfsError): void {
    const requests = [...this.asked.slice(this.askedFrom), ...this.waiting.slice(this.waitingFrom)]
    this.asked = []
    this.askedFrom = 0
    this.waiting = []
    this.waitingFrom = 0
    for (const request of requests) request.answer({ kind: 'error', error })
  }
}

/** Cuts the byte stream of git cat-file into answers, in linear time. */
class AnswerReader {
  private buffer: Buffer = NOTHING
  private at = 0
  /** Of an object that is longer than what has come so far: its header and the parts of its bytes. */
  private large: { header: RegExpExecArray; size: number; parts: Buffer[]; have: number } | undefined

  push(chunk: Buffer): void {
    if (this.large !== undefined) {
      this.buffer = chunk
      this.at = 0
      return
    }
    this.buffer = this.at === this.buffer.length ? chunk : Buffer.concat([this.buffer.subarray(this.at), chunk])
    this.at = 0
  }

  /** The next whole answer, or undefined until more bytes come. */
  next(withContents: boolean): Answer | undefined {
    if (this.large !== undefined) return this.nextLarge(this.large)
    const newline = this.buffer.indexOf(NEWLINE, this.at)
    if (newline < 0) {
      // A header is an object id or a rev of limited length and a few words.
      return this.buffer.length - this.at > 16384 ? unreadable('a line without an end') : undefined
    }
    const line = this.buffer.toString('latin1', this.at, newline)
    const header = /^([0-9a-f]{40,64}) ([a-z]+) (\d+)$/.exec(line)
    if (header === null) {
      this.at = newline + 1
      return / (?:missing|ambiguous|submodule)$/.test(line) ? MISSING : unreadable(line.slice(0, 200))
    }
    const size = Number(header[3])
    if (!withContents) {
      this.at = newline + 1
      return found(header, size, NOTHING)
    }
    const from = newline + 1
    if (this.buffer.length - from > size) {
      this.at = from + size + 1
      return found(header, size, this.buffer.subarray(from, from + size))
    }
    const part = this.buffer.subarray(from)
    this.large = { header, size, parts: [part], have: part.length }
    this.at = this.buffer.length
    return undefined
  }

  /** `have` counts the newline that follows the object too. */
  private nextLarge(large: NonNullable<typeof this.large>): Answer | undefined {
    const part = this.buffer.subarray(this.at, this.at + large.size + 1 - large.have)
    this.at += part.length
    large.have += part.length
    if (part.length > 0) large.parts.push(part)
    if (large.have <= large.size) return undefined
    this.large = undefined
    return found(large.header, large.size, Buffer.concat(large.parts).subarray(0, large.size))
  }
}

function found(header: RegExpExecArray, size: number, bytes: Buffer): Answer {
  return { kind: 'found', sha: header[1] ?? '', type: header[2] ?? '', size, bytes }
}

function unreadable(what: string): Answer {
  return { kind: 'error', error: new AnnexfsError('SYSTEM', `git cat-file said ${printable(what)}`) }
}
