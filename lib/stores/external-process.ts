import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { AnnexfsError, reasonOf } from '../errors.js'
import { killGroup } from '../git/process.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { Complaint } from './complaint.js'

export interface ProgramOptions {
  /** For messages. */
  readonly name: string
  /** Absolute, as {@link findProgram} gives it. */
  readonly program: string
  readonly args: readonly string[]
  readonly cwd: string
  readonly env: NodeJS.ProcessEnv
  readonly log: Log
  /** Takes secrets out of what is logged. */
  readonly redact?: (text: string) => string
  /** One line of its output, without its end; bytes as latin1. What it throws ends the program. */
  readonly onLine: (line: string) => void
}

/** Longest line that is taken; URLs and messages are shorter. */
const LONGEST_LINE: Bytes = 256 * 1024
/** A program that does not read what it is told must not make us keep it. */
const MOST_UNREAD: Bytes = 1024 * 1024
/** After its input was closed a program may go on for so long. */
const END_WITHIN: Milliseconds = 2_000
/** Something else may still hold the pipes of a program that has ended. */
const PIPES_WITHIN: Milliseconds = 500
const SAY_EVERY: Milliseconds = 1_000

/**
 * A program that is spoken to in lines, in a process group of its own, without a shell or a terminal. It ends with this
 * process, and with it all that it started (but for what made itself a session of its own).
 */
export class LineProgram {
  readonly #options: ProgramOptions
  readonly #child: ChildProcess
  readonly #stderr: Log
  #line: string[] = []
  #lineBytes: Bytes = 0
  readonly #complaint: Complaint
  #reason: AnnexfsError | undefined
  #over = false
  /** Resolves once the process is gone, with why: never rejects. */
  readonly ended: Promise<AnnexfsError>

  constructor(options: ProgramOptions, guard: string | undefined) {
    this.#options = options
    this.#stderr = rateLimited(options.log, SAY_EVERY)
    this.#complaint = new Complaint(options.redact ?? ((text) => text))
    const { program, args, cwd, env } = options
    // The kernel kills it when this process dies, however that happens.
    const [command, before] = guard === undefined ? [program, []] : [guard, ['--pdeathsig', 'KILL', '--', program]]
    this.#child = spawn(command, [...before, ...args], { cwd, env, stdio: ['pipe', 'pipe', 'pipe'], detached: true })
    // EPIPE: it has ended; `ended` says why.
    this.#child.stdin?.on('error', () => undefined)
    this.#child.stdout?.on('data', (chunk: Buffer) => this.#take(chunk))
    this.#child.stderr?.on('data', (chunk: Buffer) => this.#complain(chunk))
    this.ended = this.#wait()
  }

  /** How it ended by itself; undefined before that, and when it could not be started or a signal has ended it. */
  exitCode: number | undefined

  /** The end of what it said on its standard error, in one line. */
  get complaint(): string {
    return this.#complaint.summary
  }

  /** Whether we have ended it. */
  get killed(): boolean {
    return this.#reason !== undefined
  }

  get alive(): boolean {
    return !this.#over && this.#reason === undefined
  }

  /** Sends a line (bytes as latin1, without its end). */
  write(line: string): void {
    const { stdin } = this.#child
    if (!this.alive || stdin === null || stdin === undefined) return
    stdin.write(Buffer.from(`${line}\n`, 'latin1'))
    if (stdin.writableLength > MOST_UNREAD) this.kill(this.#error('does not read what it is told'))
  }

  /** Ends it and all of its group at once. */
  kill(reason: AnnexfsError): void {
    if (this.#over) return
    this.#reason ??= reason
    killGroup(this.#child)
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) stream?.destroy()
  }

  closeInput(): void {
    this.#child.stdin?.end()
  }

  /** Closes its input, which tells it to end; kills it when it does not. */
  async end(): Promise<void> {
    this.closeInput()
    const timer = setTimeout(() => this.kill(this.#error('did not end when told to')), END_WITHIN)
    await this.ended
    clearTimeout(timer)
  }

  #error(what: string): AnnexfsError {
    return new AnnexfsError('UNAVAILABLE', `${this.#options.name} ${what}`)
  }

  #take(chunk: Buffer): void {
    let from = 0
    for (let newline = chunk.indexOf(10); newline >= 0; newline = chunk.indexOf(10, from)) {
      this.#line.push(chunk.toString('latin1', from, newline))
      const line = this.#line.join('')
      this.#line = []
      this.#lineBytes = 0
      from = newline + 1
      if (line.length > LONGEST_LINE) return this.kill(this.#error(`sent a line of more than ${LONGEST_LINE} bytes`))
      try {
        if (this.alive) this.#options.onLine(line)
      } catch (error) {
        this.kill(error instanceof AnnexfsError ? error : this.#error(reasonOf(error)))
      }
    }
    if (from === chunk.length) return
    this.#line.push(chunk.toString('latin1', from))
    this.#lineBytes += chunk.length - from
    if (this.#lineBytes <= LONGEST_LINE) return
    this.#line = []
    this.kill(this.#error(`sent a line of more than ${LONGEST_LINE} bytes`))
  }

  #complain(chunk: Buffer): void {
    this.#complaint.add(chunk)
    this.#say(false)
  }

  #say(over: boolean): void {
    const text = this.#complaint.fresh(over)
    if (text !== '') this.#stderr.debug(`${this.#options.name} says`, { text })
  }

  async #wait(): Promise<AnnexfsError> {
    const child = this.#child
    const how = await new Promise<string>((resolve) => {
      let timer: NodeJS.Timeout | undefined
      const done = (text: string): void => {
        clearTimeout(timer)
        resolve(text)
      }
      child.once('error', (error) => done(`cannot be started: ${error.message}`))
      child.once('close', (code, signal) => done(`ended (${signal ?? `exit code ${code}`})`))
      child.once('exit', (code, signal) => {
        timer = setTimeout(() => done(`ended (${signal ?? `exit code ${code}`})`), PIPES_WITHIN)
      })
    })
    this.#over = true
    this.exitCode = child.exitCode ?? undefined
    // What it started and left behind in its group goes too.
    if (child.pid !== undefined) killRest(child.pid)
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy()
    this.#say(true)
    const said = this.#complaint.summary
    return this.#reason ?? this.#error(said === '' ? how : `${how}: ${said}`)
  }
}

function killRest(group: number): void {
  try {
    process.kill(-group, 'SIGKILL')
  } catch {
    // Nobody is left in it, which is the common case.
  }
}

/**
 * The absolute path of a program of the PATH. Folders inside the mount are skipped: looking there would wait for ourselves.
 * @throws AnnexfsError UNSUPPORTED when there is none.
 */
export async function findProgram(name: string, forbid: (path: string) => boolean): Promise<string> {
  const folders = (process.env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin').split(':')
  for (const folder of folders) {
    if (!isAbsolute(folder) || forbid(folder)) continue
    const path = join(folder, name)
    try {
      await access(path, constants.X_OK)
      if ((await stat(path)).isFile()) return path
    } catch {
      // Not in this folder.
      continue
    }
  }
  throw new AnnexfsError('UNSUPPORTED', `${name} is not in the PATH; install it to read from this remote`)
}

let guard: Promise<string | undefined> | undefined

/** The program that ties a child's life to ours, where there is one (util-linux). */
export function deathGuard(): Promise<string | undefined> {
  guard ??= findProgram('setpriv', () => false).catch(() => undefined)
  return guard
}
