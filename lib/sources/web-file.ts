import { abortable } from '../abortable.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import { contentLength, contentRange, isIdentity, retryAfter, strongTag, validatorOf } from '../net/content-range.js'
import { CutOff, type HttpBody } from '../net/http-body.js'
import type { Authorize, WebReads } from '../net/http-client.js'
import { Passing, Tries } from '../net/retry.js'
import { shownUrl } from '../net/url.js'
import type { Asking } from '../space/awaited.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { SequentialBody } from './sequential.js'
import type { Measured, Room } from './source.js'

/** Statuses after which the same request may succeed. */
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
/** So much must arrive before a connection that is cut off counts as progress. */
const PROGRESS: Bytes = 64 * 1024
/** A URL that was not found is not asked for again so soon. */
const GONE_FOR: Milliseconds = 60_000
/** A server that asks for more quiet than this gets this much. */
const LONGEST_CLOSED: Milliseconds = 3_600_000
const TAG = 'etag:'
const DATE = 'mtime:'

/**
 * Looks at an answer that is neither 200 nor 206; may read its body. `sent`: what `authorize` had given for the request.
 * Gives an error to fail with, or the URL to ask now (the same one, when it takes another authorisation), or undefined
 * for what the status usually means.
 */
export type Refused = (
  answer: HttpBody,
  sent: Readonly<Record<string, string>>,
) => Promise<AnnexfsError | string | undefined>

/** So often one request may be sent again as `Refused` says: for a challenge, and to another place. */
const MOST_TURNS = 3

/** The content behind one URL, of which all reads must see the same version. */
export class WebFile {
  /** Of the version that is read; fixed by the first answer that has them. */
  #tag: string | undefined
  #modified: string | undefined
  readonly #client: WebReads
  readonly #authorize: Authorize | undefined
  readonly #refused: Refused | undefined
  #url: string
  #shown: string
  /** Where the last answer came from, after redirects: asked first. */
  #resolved: URL | undefined
  #sequential: SequentialBody | undefined
  /** What the server said when it wanted no requests for a while, or had nothing (then it is none that passes). */
  #closed: { readonly until: Milliseconds; readonly error: AnnexfsError | Passing } | undefined

  /**
   * @param validator as {@link measure} gave it: other content is refused.
   * @param authorize extra headers for each request, for the origin of `url` alone.
   * @param refused what to make of refusals.
   */
  constructor(client: WebReads, url: string, validator?: string, authorize?: Authorize, refused?: Refused) {
    this.#client = client
    this.#authorize = authorize
    this.#refused = refused
    this.#url = url
    this.#shown = shownUrl(url)
    if (validator?.startsWith(TAG) === true) this.#tag = validator.slice(TAG.length)
    if (validator?.startsWith(DATE) === true) this.#modified = validator.slice(DATE.length)
  }

  /** Until when (`performance.now()`) the server asked for no requests; 0 when it did not. */
  get closedUntil(): Milliseconds {
    return this.#closed?.error instanceof Passing ? this.#closed.until : 0
  }

  /** Whether an answer not long ago said that there is nothing here. */
  get gone(): boolean {
    if (this.#closed === undefined || this.#closed.error instanceof Passing) return false
    return performance.now() < this.#closed.until
  }

  /**
   * The bytes of `range` of content that is `length` bytes in all.
   * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, CORRUPT (another length or version, compressed), FORBIDDEN, ABORTED.
   */
  async *read(
    range: ByteRange,
    length: Bytes,
    asking: Asking,
    room?: Room,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const tries = new Tries(asking)
    let at = range.start
    while (at < range.end) {
      throwIfAborted(asking.signal)
      const before = at
      try {
        const left = { start: at, end: range.end }
        for await (const bytes of this.#attempt(left, length, at > range.start, asking, room)) {
          at += bytes.byteLength
          yield bytes
        }
      } catch (error) {
        const passing = error instanceof CutOff ? new Passing(error) : error
        if (!(passing instanceof Passing)) throw error
        if (at - before >= PROGRESS) tries.progressed()
        await tries.wait(passing)
      }
    }
  }

  /**
   * All of it, when its size is not known before.
   * @param most bytes; more is CORRUPT.
   * @throws AnnexfsError as {@link read}.
   */
  async *all(most: Bytes, asking: Asking): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = asking
    const tries = new Tries(asking)
    let at = 0
    let length: Bytes | undefined
    while (length === undefined || at < length) {
      throwIfAborted(signal)
      try {
        if (at > 0 && length !== undefined) {
          yield* this.read({ start: at, end: length }, length, asking)
          return
        }
        const answer = await this.#ask({ signal })
        try {
          if (answer.status !== 200) throw this.#corrupt(`it answered ${answer.status} to a request for all of it`)
          length = contentLength(answer)
          this.#check(answer, length, length)
          if (length !== undefined && length > most) throw this.#tooLong(most)
          for await (const bytes of answer) {
            at += bytes.byteLength
            if (at > (length ?? most)) throw this.#tooLong(length ?? most)
            yield bytes
          }
          length ??= at
          if (at < length) throw new CutOff(`${this.#shown}: the server sent ${at} of ${length} bytes`, undefined)
        } finally {
          answer.cancel()
        }
      } catch (error) {
        const passing = error instanceof CutOff ? new Passing(error) : error
        if (!(passing instanceof Passing)) throw error
        // What was given cannot be taken back, and where it ends is not known.
        if (at > 0 && length === undefined) throw passing.error
        await tries.wait(passing)
      }
    }
  }

  /** Size and version by HEAD, else by asking for the first byte; undefined when the server does not tell the size. */
  async measure(asking: Asking): Promise<Measured | undefined> {
    const { signal } = asking
    const tries = new Tries(asking)
    for (;;) {
      try {
        return (await this.#measured('HEAD', signal)) ?? (await this.#measured('GET', signal))
      } catch (error) {
        const passing = error instanceof CutOff ? new Passing(error) : error
        if (!(passing instanceof Passing)) throw error
        await tries.wait(passing)
      }
    }
  }

  close(): void {
    this.#sequential?.close()
  }

  async *#attempt(
    range: ByteRange,
    length: Bytes,
    resumed: boolean,
    asking: Asking,
    room: Room | undefined,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = asking
    if (this.#sequential !== undefined) {
      yield* this.#sequential.read(range, asking)
      return
    }
    const ifRange = resumed ? this.#tag : undefined
    const answer = await this.#ask({
      signal,
      range,
      ...(ifRange === undefined ? {} : { ifRange }),
      ...(room === undefined ? {} : { room }),
    })
    try {
      if (answer.status === 200) {
        this.#check(answer, contentLength(answer), length)
        // Reads that ran side by side have all found out.
        this.#sequential ??= new SequentialBody((stop) => this.#whole(length, stop), length)
      } else {
        yield* this.#part(answer, range, length)
      }
    } finally {
      answer.cancel()
    }
    // The server knows no ranges: nothing of its answer was used, the next attempt reads from the start.
  }

  /** The body of a 206 answer, cut at what was asked. */
  async *#part(answer: HttpBody, asked: ByteRange, length: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
    const given = contentRange(answer)
    const range = given?.range
    this.#check(answer, given?.total, length)
    if (range === undefined || range.start !== asked.start || range.end > length) {
      const text = answer.header('content-range') ?? 'no Content-Range'
      throw this.#corrupt(`asked for bytes ${asked.start} to ${asked.end - 1} it answered "${text.slice(0, 80)}"`)
    }
    const size = contentLength(answer)
    if (size !== undefined && size !== range.end - range.start) {
      throw this.#corrupt(`it announced ${size} bytes for a range of ${range.end - range.start}`)
    }
    const end = Math.min(range.end, asked.end)
    let at = asked.start
    for await (const bytes of answer) {
      if (at + bytes.byteLength > range.end) throw this.#corrupt('it sent more bytes than it announced')
      const part = at + bytes.byteLength > end ? bytes.subarray(0, end - at) : bytes
      at += part.byteLength
      if (part.byteLength > 0) yield part
      if (at >= end) return
    }
    throw new CutOff(`${this.#shown}: the server sent ${at - asked.start} of ${end - asked.start} bytes`, undefined)
  }

  async *#whole(length: Bytes, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    const answer = await this.#ask({ signal })
    try {
      if (answer.status !== 200) throw this.#corrupt(`it answered ${answer.status} to a request for all of it`)
      this.#check(answer, contentLength(answer), length)
      yield* answer
    } finally {
      answer.cancel()
    }
  }

  async #measured(method: 'HEAD' | 'GET', signal: AbortSignal): Promise<Measured | undefined> {
    const answer =
      method === 'HEAD'
        ? await this.#client.head(
            this.#url,
            signal,
            this.#authorize === undefined ? {} : { authorize: this.#authorize },
          )
        : await this.#ask({ signal, range: { start: 0, end: 1 } })
    try {
      if (method === 'HEAD' && answer.status !== 200) return undefined
      const size = answer.status === 206 ? contentRange(answer)?.total : contentLength(answer)
      if (size === undefined || !isIdentity(answer)) return undefined
      if (!this.#sameVersion(answer)) throw this.#corrupt('its content has changed since it was first read')
      this.#resolved = answer.url
      return { size, validator: validatorOf(answer) }
    } finally {
      answer.cancel()
    }
  }

  /** Sends a GET; returns only an answer 200 or 206. */
  async #ask(
    options: { signal: AbortSignal; range?: ByteRange; ifRange?: string; room?: Room },
    turn = 0,
  ): Promise<HttpBody> {
    const left = (this.#closed?.until ?? 0) - performance.now()
    if (this.#closed !== undefined && left > 0) {
      const { error } = this.#closed
      throw error instanceof Passing ? new Passing(error.error, left, error.status) : error
    }
    const [resolved, first] = [this.#resolved, this.#url]
    let sent: Readonly<Record<string, string>> = {}
    const authorize = this.#authorize
    const answer = await this.#client.get(resolved ?? first, {
      ...options,
      ...(authorize === undefined ? {} : { authorize: async (request) => (sent = await authorize(request)) }),
      ...(resolved === undefined ? {} : { redirectedFrom: first }),
    })
    if (answer.status === 200 || answer.status === 206) {
      this.#resolved = answer.url
      return answer
    }
    try {
      this.#resolved = undefined
      const looked = this.#refused?.(answer, sent)
      const other = looked === undefined ? undefined : await abortable(looked, options.signal)
      if (typeof other === 'string' && turn < MOST_TURNS) {
        this.#url = other
        this.#shown = shownUrl(other)
        return await this.#ask(options, turn + 1)
      }
      // A redirect may have led to a place that exists only for a while.
      if (resolved !== undefined && resolved.href !== first && answer.status >= 400 && answer.status < 500) {
        if (answer.status !== 416 && !PASSING.has(answer.status)) return await this.#ask(options, turn)
      }
      throw this.#refusal(answer, other instanceof AnnexfsError ? other : undefined)
    } finally {
      answer.cancel()
    }
  }

  #refusal(answer: HttpBody, told: AnnexfsError | undefined): Error {
    const { status } = answer
    if (status === 416) {
      const total = contentRange(answer)?.total
      return this.#corrupt(`it has no such range${total === undefined ? '' : `: its content has ${total} bytes`}`)
    }
    const error = told ?? new AnnexfsError('UNAVAILABLE', `${this.#shown}: the server answered ${status}`)
    if (PASSING.has(status)) {
      const after = retryAfter(answer)
      const passing = new Passing(error, after, status)
      if (after !== undefined) this.#close(passing, Math.min(after, LONGEST_CLOSED))
      return passing
    }
    if (status === 404 || status === 410) this.#close(error, GONE_FOR)
    return error
  }

  #close(error: AnnexfsError | Passing, duration: Milliseconds): void {
    this.#closed = { until: performance.now() + duration, error }
  }

  /** That an answer is of the version and size that we read, uncompressed. */
  #check(answer: HttpBody, total: Bytes | undefined, length: Bytes | undefined): void {
    if (!isIdentity(answer)) {
      const encoding = answer.header('content-encoding') ?? ''
      throw this.#corrupt(`it sent the content compressed (${encoding.slice(0, 40)}), which nobody asked for`)
    }
    if (total !== undefined && total !== length) {
      throw this.#corrupt(`its content has ${total} bytes instead of ${length}`)
    }
    if (!this.#sameVersion(answer)) throw this.#corrupt('its content has changed since it was first read')
  }

  /** Compares what both answers have: a server may leave one of them out of a 206. */
  #sameVersion(answer: HttpBody): boolean {
    const tag = strongTag(answer)
    const modified = answer.header('last-modified')
    const [knownTag, knownModified] = [this.#tag, this.#modified]
    this.#tag ??= tag
    this.#modified ??= modified
    if (tag !== undefined && knownTag !== undefined) return tag === knownTag
    return modified === undefined || knownModified === undefined || modified === knownModified
  }

  #tooLong(most: Bytes): AnnexfsError {
    return this.#corrupt(`its content is longer than ${most} bytes`)
  }

  #corrupt(what: string): AnnexfsError {
    return new AnnexfsError('CORRUPT', `${this.#shown}: the server cannot be used: ${what}`)
  }
}
