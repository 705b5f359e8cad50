import type { Dispatcher } from 'undici'
import { abortError, AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { AUTHORITY_ADVICE } from './authorities.js'
import { shownUrl } from './url.js'

export type HttpMethod = 'GET' | 'HEAD' | 'POST'

/** An answer: its head at once, its body as it is read. Either iterate over it (once) or `cancel()` it. */
export interface HttpBody extends AsyncIterable<Uint8Array> {
  /** The URL that answered, after redirects, with its secrets: not for logs. */
  readonly url: URL
  readonly status: number
  /** The value of a header (name in lower case), or undefined. */
  header(name: string): string | undefined
  cancel(): void
}

/** The connection ended before the whole answer had come; asking again may help. */
export class CutOff extends AnnexfsError {
  constructor(message: string, cause: unknown) {
    super('UNAVAILABLE', message, { cause })
  }
}

/** Reading from the socket stops above the first and goes on below the second. */
const PAUSE_ABOVE: Bytes = 512 * 1024
const RESUME_BELOW: Bytes = 128 * 1024

/** Where a body's bytes go: the first one to offset `at`. */
export interface BodyTarget {
  readonly at: Bytes
  readonly room: (at: Bytes) => Uint8Array | undefined
}

export interface ExchangeOptions {
  readonly url: URL
  readonly method: HttpMethod
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly signal: AbortSignal
  /** The longest silence of the server, before its answer and within it. */
  readonly idleTimeout: Milliseconds
  readonly target?: BodyTarget
}

/**
 * Sends one request; does not follow redirects.
 * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, FORBIDDEN (certificate, address), ABORTED.
 */
export function exchange(dispatcher: Dispatcher, options: ExchangeOptions): Promise<HttpBody> {
  const { url, method, headers, body = null, signal } = options
  if (signal.aborted) return Promise.reject(abortError(signal))
  const answer = new Exchange(options)
  dispatcher.dispatch(
    // Our own timers know what we wait for; the library's would also run while a reader takes its time.
    { origin: url.origin, path: url.pathname + url.search, method, headers, body, headersTimeout: 0, bodyTimeout: 0 },
    answer,
  )
  return answer.started
}

/**
 * All of an answer's body, in one piece.
 * @param most bytes; more is refused.
 * @throws AnnexfsError INVALID (longer, or compressed), UNAVAILABLE, TIMED_OUT, ABORTED.
 */
export async function wholeBody(answer: HttpBody, most: Bytes): Promise<Buffer> {
  const shown = shownUrl(answer.url)
  const encoding = answer.header('content-encoding') ?? 'identity'
  if (!/^(identity)?$/i.test(encoding.trim())) {
    answer.cancel()
    throw new AnnexfsError('INVALID', `${shown}: the answer came compressed, which nobody asked for`)
  }
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer) {
    size += chunk.byteLength
    if (size > most) throw new AnnexfsError('INVALID', `${shown}: the answer is longer than ${most} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

class Exchange implements HttpBody, Dispatcher.DispatchHandler {
  readonly url: URL
  readonly started: Promise<HttpBody>
  status = 0
  readonly #options: ExchangeOptions
  #headers: Readonly<Record<string, string | string[] | undefined>> = {}
  #controller: Dispatcher.DispatchController | undefined
  #chunks: Uint8Array[] = []
  #queued: Bytes = 0
  #received: Bytes = 0
  #state: 'asking' | 'body' | 'ended' | 'failed' = 'asking'
  #error: AnnexfsError | undefined
  #wake: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #start!: (body: HttpBody) => void
  #refuse!: (error: AnnexfsError) => void

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.url = options.url
    this.started = new Promise((resolve, reject) => {
      this.#start = resolve
      this.#refuse = reject
    })
    options.signal.addEventListener('abort', this.#aborted)
  }

  header(name: string): string | undefined {
    const value = this.#headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  cancel(): void {
    this.#fail(new AnnexfsError('ABORTED', `${shownUrl(this.url)}: the answer is not wanted any more`))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        const chunk = this.#chunks.shift()
        if (chunk !== undefined) {
          this.#queued -= chunk.byteLength
          if (this.#queued < RESUME_BELOW && this.#state === 'body') this.#controller?.resume()
          yield chunk
        } else if (this.#error !== undefined) {
          throw this.#error
        } else if (this.#state === 'ended') {
          return
        } else {
          await this.#arrival()
        }
      }
    } finally {
      this.cancel()
    }
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#error !== undefined) {
      controller.abort(this.#error)
      return
    }
    this.#controller = controller
    this.#expect('did not answer')
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    if (status < 200 || this.#state !== 'asking') return
    clearTimeout(this.#timer)
    this.#state = 'body'
    this.status = status
    this.#headers = headers
    this.#start(this)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.#state !== 'body') return
    this.#take(chunk)
    this.#queued += chunk.byteLength
    if (this.#queued > PAUSE_ABOVE) controller.pause()
    this.#wake?.()
  }

  /** Puts bytes where they are wanted, else keeps them as they came. */
  #take(chunk: Uint8Array): void {
    const { target } = this.#options
    let left = chunk
    while (target !== undefined && left.byteLength > 0) {
      const place = target.room(target.at + this.#received)
      if (place === undefined) break
      const part = left.subarray(0, place.byteLength)
      place.set(part)
      this.#append(place.subarray(0, part.byteLength))
      left = left.subarray(part.byteLength)
    }
    // They lie in the buffer of the connection, which reads on.
    if (left.byteLength > 0) this.#append(Uint8Array.prototype.slice.call(left))
  }

  #append(bytes: Uint8Array): void {
    this.#received += bytes.byteLength
    const last = this.#chunks.at(-1)
    const follows = last?.buffer === bytes.buffer && last.byteOffset + last.byteLength === bytes.byteOffset
    if (last === undefined || !follows) this.#chunks.push(bytes)
    else
      this.#chunks[this.#chunks.length - 1] = new Uint8Array(
        last.buffer,
        last.byteOffset,
        last.byteLength + bytes.byteLength,
      )
  }

  onResponseEnd(): void {
    if (this.#state !== 'body') return
    this.#state = 'ended'
    this.#release()
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#fail(networkError(this.url, error, this.#controller !== undefined))
  }

  readonly #aborted = (): void => {
    this.#chunks = []
    this.#fail(abortError(this.#options.signal))
  }

  #fail(error: AnnexfsError): void {
    if (this.#state === 'ended' || this.#state === 'failed') return
    this.#state = 'failed'
    this.#error = error
    this.#release()
    this.#controller?.abort(error)
    this.#refuse(error)
  }

  #release(): void {
    clearTimeout(this.#timer)
    this.#options.signal.removeEventListener('abort', this.#aborted)
    this.#wake?.()
  }

  #arrival(): Promise<void> {
    this.#expect('sent nothing')
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        clearTimeout(this.#timer)
        resolve()
      }
    })
  }

  #expect(otherwise: string): void {
    const { idleTimeout } = this.#options
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      const message = `${shownUrl(this.url)}: the server ${otherwise} for ${idleTimeout / 1000} s`
      this.#fail(new AnnexfsError('TIMED_OUT', message))
    }, idleTimeout)
  }
}

const CERTIFICATE =
  /^(CERT_|ERR_TLS_CERT|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|CRL_|INVALID_CA|INVALID_PURPOSE|HOSTNAME_)/

/** Of those, what trust in another authority mends. */
const UNKNOWN_AUTHORITY = /^(UNABLE_TO_GET_ISSUER|UNABLE_TO_VERIFY_LEAF|DEPTH_ZERO_|SELF_SIGNED_)/

function networkError(url: URL, error: Error, connected: boolean): AnnexfsError {
  if (isAnnexfsError(error)) return error
  const shown = shownUrl(url)
  const code = systemCode(error) ?? ''
  if (CERTIFICATE.test(code)) {
    const advice = UNKNOWN_AUTHORITY.test(code) ? `; ${AUTHORITY_ADVICE}` : ''
    const message = `${shown}: the server's certificate is refused (${code}): ${reasonOf(error)}${advice}`
    return new AnnexfsError('FORBIDDEN', message, { cause: error })
  }
  if (code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') {
    return new AnnexfsError('TIMED_OUT', `${shown}: no connection in time`, { cause: error })
  }
  if (!connected) {
    return new AnnexfsError('UNAVAILABLE', `${shown}: no connection: ${inner(error)}`, { cause: error })
  }
  if (code.startsWith('HPE_') || code === 'UND_ERR_HEADERS_OVERFLOW') {
    return new AnnexfsError('UNAVAILABLE', `${shown}: the answer is not HTTP: ${reasonOf(error)}`, { cause: error })
  }
  return new CutOff(`${shown}: the connection was cut off: ${reasonOf(error)}`, error)
}

function inner(error: Error): string {
  return error instanceof AggregateError && error.message === ''
    ? error.errors.map(reasonOf).join(', ')
    : reasonOf(error)
}
