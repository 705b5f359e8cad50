import { AnnexfsError, attemptText, isAnnexfsError, type Attempt } from '../errors.js'
import type { Log } from '../log/log.js'
import type { CachedSpace } from '../cache/store.js'
import type { Fetcher } from '../scheduler/fetcher.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds, Slice } from '../space/space.js'
import type { OpenFile } from './volume.js'
import { WrongContent, type Wholeness } from './wholeness.js'

/** The piece space behind an open file, for whoever shows it, fills it or takes it away. */
export interface FileView {
  readonly slice: Slice
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  readonly wholeness: Wholeness
}

/** One way to the bytes of a file: in place, through its key's piece space, through a torrent. */
export interface Route {
  readonly name: string
  read(offset: Bytes, length: Bytes, into: Uint8Array, signal: AbortSignal): number | Promise<Uint8Array>
  /** See {@link OpenFile.settled}. */
  settled?(): Promise<void>
  /** See {@link OpenFile.direct}. */
  direct?(): DirectRead | undefined
  /** See {@link OpenFile.noted}. */
  noted?(offset: Bytes, length: Bytes, at: Milliseconds): void
  /** Of a way through a piece space. */
  readonly view?: FileView
  close(): void
}

export interface RoutedFileOptions {
  readonly contentId: string
  readonly size: Bytes
  readonly log: Log
  /** Ways to the bytes, the cheapest first; each is opened when those before it have failed. */
  readonly routes: readonly ((signal: AbortSignal) => Promise<Route>)[]
  /** The first route, when it is open already. */
  readonly first?: Route
}

const NO_SIGNAL = new AbortController().signal

/** An open file that takes the next route when one has failed for good. */
export class RoutedFile implements OpenFile {
  readonly contentId: string
  readonly size: Bytes
  readonly #log: Log
  readonly #routes: readonly ((signal: AbortSignal) => Promise<Route>)[]
  #current: Route | undefined
  #next = 0
  #opening: Promise<void> | undefined
  #closed = false
  readonly #attempts: Attempt[] = []

  constructor(options: RoutedFileOptions) {
    this.contentId = options.contentId
    this.size = options.size
    this.#log = options.log
    this.#routes = options.routes
    this.#current = options.first
  }

  read(offset: Bytes, length: Bytes, into: Uint8Array, signal: AbortSignal = NO_SIGNAL): number | Promise<Uint8Array> {
    if (this.#closed) throw new AnnexfsError('ABORTED', 'the file was closed')
    const route = this.#current
    if (route === undefined) return this.#readNext(undefined, offset, length, signal)
    const result = route.read(offset, length, into, signal)
    if (typeof result === 'number') return result
    return result.catch((error: unknown) => {
      if (!givesWay(error) || this.#next >= this.#routes.length) throw this.#withAttempts(error)
      this.#attempts.push(...attemptsOf(route.name, error))
      return this.#readNext(route, offset, length, signal)
    })
  }

  /** Of the way by which it is read now; undefined for one in place. */
  view(): FileView | undefined {
    return this.#current?.view
  }

  /** The name of the way by which it is read now. */
  way(): string {
    return this.#current?.name ?? 'a way to the content'
  }

  direct(): DirectRead | undefined {
    return this.#closed ? undefined : this.#current?.direct?.()
  }

  noted(offset: Bytes, length: Bytes, at: Milliseconds): void {
    if (!this.#closed) this.#current?.noted?.(offset, length, at)
  }

  async settled(): Promise<void> {
    await this.#current?.settled?.()
  }

  close(): void {
    this.#closed = true
    this.#current?.close()
  }

  async #readNext(failed: Route | undefined, offset: Bytes, length: Bytes, signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const route = await this.#routeAfter(failed, signal)
      const own = Buffer.allocUnsafeSlow(length)
      try {
        const result = await route.read(offset, length, own, signal)
        return typeof result === 'number' ? own.subarray(0, result) : result
      } catch (error) {
        if (!givesWay(error) || this.#next >= this.#routes.length) throw this.#withAttempts(error)
        this.#attempts.push(...attemptsOf(route.name, error))
        failed = route
      }
    }
  }

  /** The route to use instead of `failed`; opened once however many reads failed together. */
  async #routeAfter(failed: Route | undefined, signal: AbortSignal): Promise<Route> {
    while (this.#current === undefined || this.#current === failed) {
      this.#opening ??= this.#openNext(signal).finally(() => {
        this.#opening = undefined
      })
      await this.#opening
    }
    return this.#current
  }

  async #openNext(signal: AbortSignal): Promise<void> {
    const failed = this.#current
    for (;;) {
      const open = this.#routes[this.#next]
      if (open === undefined)
        throw this.#withAttempts(new AnnexfsError('UNAVAILABLE', 'no way to this content is left'))
      this.#next += 1
      try {
        const route = await open(signal)
        failed?.close()
        if (this.#closed) {
          route.close()
          throw new AnnexfsError('ABORTED', 'the file was closed')
        }
        if (failed !== undefined)
          this.#log.debug('reading on by another way', { content: this.contentId, way: route.name })
        this.#current = route
        return
      } catch (error) {
        if (!givesWay(error) || this.#next >= this.#routes.length) throw this.#withAttempts(error)
        this.#attempts.push(...attemptsOf('', error))
      }
    }
  }

  /** The last error, with what all ways have tried before it. */
  #withAttempts(error: unknown): unknown {
    if (this.#attempts.length === 0 || !isAnnexfsError(error)) return error
    const own =
      error.attempts.length > 0 || error.message === '' ? error.attempts : [{ source: '', reason: error.message }]
    const attempts = [...this.#attempts, ...own]
    const said = new Set(attempts.map(attemptText))
    return new AnnexfsError(error.code, `no source could give this content: ${[...said].join('; ')}`, {
      attempts,
      cause: error.cause,
      retryAfter: error.retryAfter,
    })
  }
}

/** Whether another way may still have the bytes: not when the caller gave up, the time is over, or wrong bytes were read. */
function givesWay(error: unknown): boolean {
  if (error instanceof WrongContent) return false
  return isAnnexfsError(error, 'UNAVAILABLE') || isAnnexfsError(error, 'CORRUPT') || isAnnexfsError(error, 'SYSTEM')
}

function attemptsOf(source: string, error: unknown): readonly Attempt[] {
  if (!isAnnexfsError(error)) return []
  if (error.attempts.length > 0) return error.attempts
  return [{ source, reason: error.message }]
}
