import { abortable } from '../abortable.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import type { ExternalRequest, ExternalSession } from './external-session.js'
import { Slots } from '../slots.js'

export interface PoolOptions {
  readonly start: (signal: AbortSignal) => Promise<ExternalSession>
  /** Processes of a program without ASYNC, and jobs of one with it. */
  readonly most: number
  /** A process that nobody needs is ended after so long. */
  readonly idle: Milliseconds
}

/** A program that could not be started is not started again for so long. */
const REST: Milliseconds = 5_000

/** The processes of one external special remote: one with ASYNC, else one for each request that is under way. */
export class ExternalPool {
  readonly #options: PoolOptions
  readonly #slots: Slots
  readonly #sessions = new Map<ExternalSession, NodeJS.Timeout | undefined>()
  /** Those that are being started. */
  readonly #starting = new Set<Promise<unknown>>()
  readonly #closing = new AbortController()
  #async: boolean | undefined
  #failed: { readonly error: AnnexfsError; readonly until: Milliseconds } | undefined

  constructor(options: PoolOptions) {
    this.#options = options
    this.#slots = new Slots(options.most)
  }

  /** Asks a process that is free. @throws as `ExternalSession.start` and `request`. */
  async request(request: ExternalRequest): Promise<{ readonly answer: string; readonly session: ExternalSession }> {
    const leave = await this.#slots.take(request.signal)
    try {
      const session = await this.#session(request.signal)
      try {
        return { answer: await session.request(request), session }
      } finally {
        this.#rest(session)
      }
    } finally {
      leave()
    }
  }

  /** Whether the program wants `extension`; starts it to learn that. */
  async wants(extension: string, signal: AbortSignal): Promise<boolean> {
    const leave = await this.#slots.take(signal)
    try {
      const session = await this.#session(signal)
      this.#rest(session)
      return session.has(extension)
    } finally {
      leave()
    }
  }

  async close(): Promise<void> {
    const closed = new AnnexfsError('ABORTED', 'the remote was closed')
    this.#closing.abort(closed)
    for (const [session, timer] of this.#sessions) {
      clearTimeout(timer)
      if (session.jobs > 0) session.kill(closed)
    }
    await Promise.all([...this.#sessions.keys()].map((session) => session.end()))
    await Promise.allSettled(this.#starting)
  }

  async #session(signal: AbortSignal): Promise<ExternalSession> {
    for (;;) {
      throwIfAborted(signal)
      throwIfAborted(this.#closing.signal)
      const free = this.#free()
      if (free !== undefined) return free
      if (this.#failed !== undefined && performance.now() < this.#failed.until) throw this.#failed.error
      // Only the first one tells whether one is enough.
      const [first] = this.#starting
      if (first !== undefined && this.#async !== false) {
        await abortable(first, signal)
        continue
      }
      return this.#start(signal)
    }
  }

  #free(): ExternalSession | undefined {
    for (const [session, timer] of this.#sessions) {
      if (!session.usable || (session.jobs > 0 && !session.has('ASYNC')) || (timer === undefined && !this.#async))
        continue
      clearTimeout(timer)
      this.#sessions.set(session, undefined)
      return session
    }
    return undefined
  }

  async #start(signal: AbortSignal): Promise<ExternalSession> {
    const started = this.#options.start(AbortSignal.any([signal, this.#closing.signal]))
    const settled = started.then(
      () => undefined,
      () => undefined,
    )
    this.#starting.add(settled)
    try {
      const session = await started
      this.#failed = undefined
      this.#async = session.has('ASYNC')
      this.#sessions.set(session, undefined)
      void session.ended.then(() => {
        clearTimeout(this.#sessions.get(session))
        this.#sessions.delete(session)
      })
      if (this.#closing.signal.aborted) await session.end()
      return session
    } catch (error) {
      if (error instanceof AnnexfsError && error.code !== 'ABORTED' && !signal.aborted) {
        this.#failed = { error, until: performance.now() + REST }
      }
      throw error
    } finally {
      this.#starting.delete(settled)
    }
  }

  #rest(session: ExternalSession): void {
    if (session.jobs > 0 || !this.#sessions.has(session)) return
    clearTimeout(this.#sessions.get(session))
    const timer = setTimeout(() => void session.end(), this.#options.idle).unref()
    this.#sessions.set(session, timer)
  }
}
