import { connect, type Socket } from 'node:net'
import { abortError, AnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import { Lines } from './lines.js'
import { LONGEST_ANSWER, parseAnswer, type Answer } from './protocol.js'

const CONNECT_TIMEOUT: Milliseconds = 2_000

interface Pending {
  readonly event: (value: unknown) => void
  readonly resolve: (result: unknown) => void
  readonly reject: (error: AnnexfsError) => void
}

/** A connection to a running annexfs. */
export class ControlClient {
  readonly #socket: Socket
  readonly #pending = new Map<number | string, Pending>()
  readonly #lines = new Lines(LONGEST_ANSWER)
  #ids = 0
  #over: AnnexfsError | undefined
  /** Resolves when the connection is over: closed here, or by the other side, which closes it when it ends. */
  readonly ended: Promise<void>

  /**
   * @throws AnnexfsError NOT_FOUND when nobody answers at `path`, FORBIDDEN when it is not ours to use.
   */
  static async connect(path: string): Promise<ControlClient> {
    const socket = connect(path)
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        socket.destroy()
        reject(new AnnexfsError('TIMED_OUT', `no answer at the control socket ${path}`))
      }, CONNECT_TIMEOUT)
      socket.once('connect', () => {
        clearTimeout(timer)
        resolve()
      })
      socket.once('error', (error) => {
        clearTimeout(timer)
        const denied = ['EACCES', 'EPERM'].includes(systemCode(error) ?? '')
        reject(new AnnexfsError(denied ? 'FORBIDDEN' : 'NOT_FOUND', `nobody answers at ${path}: ${reasonOf(error)}`))
      })
    })
    return new ControlClient(socket)
  }

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#heard(chunk))
    socket.on('error', (error) => this.#end(reasonOf(error)))
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.on('close', () => this.#end('it has ended'))
  }

  /**
   * Asks, and waits for the result; `event` is told what comes before it.
   * @throws AnnexfsError that of the other side, ABORTED by the signal, UNAVAILABLE when the other side is gone.
   */
  request(
    method: string,
    params: Readonly<Record<string, unknown>>,
    options: { readonly signal?: AbortSignal; readonly event?: (value: unknown) => void } = {},
  ): Promise<unknown> {
    const { signal, event = () => undefined } = options
    if (this.#over !== undefined) return Promise.reject(this.#over)
    if (signal?.aborted === true) return Promise.reject(abortError(signal))
    const id = ++this.#ids
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#pending.delete(id)
        this.#write({ id: ++this.#ids, method: 'cancel', params: { id } })
        if (signal !== undefined) reject(abortError(signal))
      }
      const settle = (): void => {
        this.#pending.delete(id)
        signal?.removeEventListener('abort', onAbort)
      }
      this.#pending.set(id, {
        event,
        resolve: (result) => {
          settle()
          resolve(result)
        },
        reject: (error) => {
          settle()
          reject(error)
        },
      })
      signal?.addEventListener('abort', onAbort, { once: true })
      this.#write({ id, method, params })
    })
  }

  close(): void {
    this.#end('it was closed')
    this.#socket.destroy()
  }

  #write(value: unknown): void {
    if (this.#socket.writable) this.#socket.write(`${JSON.stringify(value)}\n`)
  }

  #heard(chunk: Buffer): void {
    const lines = this.#lines.add(chunk)
    if (lines === undefined) {
      this.#end('its answer is too long')
      this.#socket.destroy()
      return
    }
    try {
      for (const line of lines) if (line !== '') this.#answered(parseAnswer(line))
    } catch (error) {
      this.#end(reasonOf(error))
      this.#socket.destroy()
    }
  }

  #answered(answer: Answer): void {
    if (answer.id === null) {
      this.#end('error' in answer ? answer.error.message : 'it did not understand')
      return
    }
    const pending = this.#pending.get(answer.id)
    if ('event' in answer) pending?.event(answer.event)
    else if ('error' in answer) pending?.reject(new AnnexfsError(answer.error.code, answer.error.message))
    else pending?.resolve(answer.result)
  }

  #end(reason: string): void {
    this.#over ??= new AnnexfsError('UNAVAILABLE', `the running annexfs does not answer any more: ${reason}`)
    for (const pending of Array.from(this.#pending.values())) pending.reject(this.#over)
  }
}
