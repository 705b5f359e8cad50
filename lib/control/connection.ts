import type { Socket } from 'node:net'
import { AnnexfsError } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { Lines } from './lines.js'
import { errorAnswer, LONGEST_REQUEST, parseRequest, type Answer, type Method } from './protocol.js'

/** Requests of one client that are worked on at once. */
const MOST_RUNNING = 16
/** Who lets so much pile up does not read. */
const MOST_UNREAD: Bytes = 16 * 1024 * 1024

/** Of a client that says no more only a write can tell whether it still listens: an empty line. */
const PROBE_EVERY: Milliseconds = 250

/** One client: requests come and are answered in any order; what it has asked for ends when it goes. */
export class Connection {
  readonly #socket: Socket
  readonly #methods: ReadonlyMap<string, Method>
  readonly #running = new Map<number | string, AbortController>()
  readonly #lines = new Lines(LONGEST_REQUEST)
  /** The client will send no more; it still reads. */
  #half = false
  #probe: NodeJS.Timeout | undefined

  constructor(socket: Socket, methods: ReadonlyMap<string, Method>) {
    this.#socket = socket
    this.#methods = methods
    socket.on('data', (chunk: Buffer) => this.#heard(chunk))
    socket.on('end', () => {
      this.#half = true
      this.#endWhenDone()
      if (!socket.writableEnded) this.#probe = setInterval(() => socket.write('\n'), PROBE_EVERY)
    })
    // A client that goes away in the middle is no error of anybody's.
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      clearInterval(this.#probe)
      this.#stop('the client has gone')
    })
  }

  close(): void {
    this.#stop('annexfs ends')
    this.#socket.destroy()
  }

  #stop(why: string): void {
    for (const controller of this.#running.values()) controller.abort(new AnnexfsError('ABORTED', why))
  }

  #heard(chunk: Buffer): void {
    const lines = this.#lines.add(chunk)
    if (lines === undefined) {
      this.#send(errorAnswer(null, new AnnexfsError('INVALID', `a request is longer than ${LONGEST_REQUEST} bytes`)))
      this.#socket.removeAllListeners('data').resume().end()
      return
    }
    for (const line of lines) if (line.trim() !== '') this.#asked(line)
  }

  #asked(line: string): void {
    let id: number | string | null = null
    try {
      const request = parseRequest(line)
      id = request.id
      if (request.method === 'cancel') {
        this.#cancel(request.id, request.params['id'])
        return
      }
      const method = this.#methods.get(request.method)
      if (method === undefined) {
        throw new AnnexfsError('UNSUPPORTED', `there is no method ${JSON.stringify(request.method.slice(0, 100))}`)
      }
      if (this.#running.has(id)) throw new AnnexfsError('INVALID', 'a request with this id is still running')
      if (this.#running.size >= MOST_RUNNING) {
        throw new AnnexfsError('INVALID', `${MOST_RUNNING} requests are running already; wait for their answers`)
      }
      void this.#run(id, method, request.params)
    } catch (error) {
      this.#send(errorAnswer(id, error))
    }
  }

  /** Ends another request of this client, which then answers that it was ABORTED. */
  #cancel(id: number | string, other: unknown): void {
    const controller = typeof other === 'number' || typeof other === 'string' ? this.#running.get(other) : undefined
    controller?.abort(new AnnexfsError('ABORTED', 'the client cancelled it'))
    this.#send({ id, result: { cancelled: controller !== undefined } })
  }

  async #run(id: number | string, method: Method, params: Readonly<Record<string, unknown>>): Promise<void> {
    const controller = new AbortController()
    this.#running.set(id, controller)
    const event = (value: unknown): void => {
      // News that a slow client has not read yet are not added to: the next will be as good.
      if (!this.#socket.writableNeedDrain) this.#send({ id, event: value })
    }
    let answer: Answer
    try {
      answer = { id, result: await method(params, { signal: controller.signal, event }) }
    } catch (error) {
      answer = errorAnswer(id, error)
    }
    this.#running.delete(id)
    this.#send(answer)
    this.#endWhenDone()
  }

  #send(answer: Answer): void {
    if (!this.#socket.writable) return
    this.#socket.write(`${JSON.stringify(answer)}\n`)
    if (this.#socket.writableLength > MOST_UNREAD) this.#socket.destroy()
  }

  #endWhenDone(): void {
    if (!this.#half || this.#running.size > 0) return
    clearInterval(this.#probe)
    this.#socket.end()
  }
}
