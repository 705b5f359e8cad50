import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { ToChild, ToParent } from './messages.js'

const PROGRAM = fileURLToPath(new URL('./program.cjs', import.meta.url))
/** Of the JavaScript heap; buffers of pieces are outside of it and bounded by themselves. */
const HEAP_MIB = 512
/** V8 takes code that was compiled beforehand only with the flags of then. */
export const SWARM_FLAGS: readonly string[] = [`--max-old-space-size=${HEAP_MIB}`]
const PING_EVERY: Milliseconds = 5000
/** Without a word for this long it hangs. */
const DEAF_AFTER: Milliseconds = 20_000
const LONGEST_LAST_WORDS = 2000
const GOODBYE: Milliseconds = 1000

/** What a process of its own needs of our environment: certificates, and nothing that is secret. */
const INHERITED = ['NODE_EXTRA_CA_CERTS', 'SSL_CERT_FILE', 'SSL_CERT_DIR', 'LANG', 'TZ']

export interface ChildEvents {
  message(message: ToParent): void
  /** It has ended, whoever ended it. Called once. */
  ended(reason: string, code: number | null): void
}

/** One life of the swarm's process. */
export class Child {
  readonly #process: ChildProcess
  readonly #exited: Promise<void>
  readonly #pings: NodeJS.Timeout
  #heard = Date.now()
  #over = false
  #lastWords = ''

  constructor(
    private readonly events: ChildEvents,
    private readonly log: Log,
  ) {
    const env: Record<string, string> = { UV_THREADPOOL_SIZE: '8' }
    for (const name of INHERITED) {
      const value = process.env[name]
      if (value !== undefined) env[name] = value
    }
    this.#process = fork(PROGRAM, [], {
      serialization: 'advanced',
      execArgv: [...SWARM_FLAGS],
      env,
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    })
    this.#process.stderr?.on('data', (text: Buffer) => {
      this.#lastWords = (this.#lastWords + text.toString('utf8')).slice(-LONGEST_LAST_WORDS)
    })
    this.#process.on('message', (message: ToParent) => {
      this.#heard = Date.now()
      if (!this.#over) this.events.message(message)
    })
    this.#exited = new Promise((resolve) => {
      this.#process.on('error', (error) => {
        this.#end(error.message, null)
        resolve()
      })
      this.#process.on('close', (code, signal) => {
        const words = this.#lastWords.trim().split('\n').at(-1) ?? ''
        const how = signal === null ? `exit code ${code}` : `killed by ${signal}`
        this.#end(words === '' ? how : `${how}: ${words}`, code)
        resolve()
      })
    })
    this.#pings = setInterval(() => this.#ping(), PING_EVERY)
    this.#pings.unref()
  }

  get pid(): number | undefined {
    return this.#over ? undefined : this.#process.pid
  }

  send(message: ToChild): void {
    if (this.#over || !this.#process.connected) return
    this.#process.send(message, (error) => {
      if (error !== null) this.log.debug('the swarm process did not take a message', { reason: error.message })
    })
  }

  kill(): void {
    this.#process.kill('SIGKILL')
  }

  async close(): Promise<void> {
    this.send({ type: 'stop' })
    const timer = setTimeout(() => this.kill(), GOODBYE)
    await this.#exited
    clearTimeout(timer)
  }

  #ping(): void {
    // After a pause of this process itself (a suspended machine) it gets the chance to answer first.
    if (Date.now() - this.#heard > DEAF_AFTER) {
      this.log.warn('the swarm process hangs and is killed', { pid: this.#process.pid })
      this.kill()
      return
    }
    this.send({ type: 'ping' })
  }

  #end(reason: string, code: number | null): void {
    if (this.#over) return
    this.#over = true
    clearInterval(this.#pings)
    this.events.ended(reason, code)
  }
}
