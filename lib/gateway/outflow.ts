import type { ServerResponse } from 'node:http'
import { setImmediate as turn } from 'node:timers/promises'
import { abortError } from '../errors.js'

/** Writes between two turns of the event loop, for a client that takes all at once. */
const WRITES_A_TURN = 8

/**
 * The way out: takes the next bytes when the last have left for the client, so that an answer of any length needs the
 * memory of two writes.
 */
export class Outflow {
  readonly #response: ServerResponse
  readonly #signal: AbortSignal
  #leaving: Promise<void> = Promise.resolve()
  #writes = 0

  constructor(response: ServerResponse, signal: AbortSignal) {
    this.#response = response
    this.#signal = signal
  }

  /**
   * Hands `bytes` over as soon as those of the write before have left; they must not be changed until the write after
   * this has returned. @throws AnnexfsError ABORTED when the client has left.
   */
  async write(bytes: Uint8Array | string): Promise<void> {
    await this.#leaving
    if (++this.#writes % WRITES_A_TURN === 0) await turn()
    if (this.#signal.aborted) throw abortError(this.#signal)
    if (bytes.length === 0) return
    this.#leaving = this.#send(bytes)
    // Whoever waits for it learns of it; nobody may.
    this.#leaving.catch(() => undefined)
  }

  /** Ends the answer, and waits until it has left. */
  async end(): Promise<void> {
    await this.#leaving
    await this.#until((done) => this.#response.end(() => done()))
  }

  #send(bytes: Uint8Array | string): Promise<void> {
    return this.#until((done) => this.#response.write(bytes, done))
  }

  #until(start: (done: (error?: Error | null) => void) => void): Promise<void> {
    const signal = this.#signal
    return new Promise((resolve, reject) => {
      const stop = (): void => reject(abortError(signal))
      if (signal.aborted) {
        stop()
        return
      }
      // A connection that broke does not always call back.
      signal.addEventListener('abort', stop, { once: true })
      start((error) => {
        signal.removeEventListener('abort', stop)
        if (error === undefined || error === null) resolve()
        else reject(error)
      })
    })
  }
}

/** Text goes out in pieces of about this many characters. */
const TEXT_STEP = 64 * 1024

/** Sends text of any length, made while it is sent. */
export async function sendText(
  response: ServerResponse,
  signal: AbortSignal,
  parts: Iterable<string> | AsyncIterable<string>,
): Promise<void> {
  const out = new Outflow(response, signal)
  let text = ''
  for await (const part of parts) {
    text += part
    if (text.length < TEXT_STEP) continue
    await out.write(text)
    text = ''
  }
  await out.write(text)
  await out.end()
}
