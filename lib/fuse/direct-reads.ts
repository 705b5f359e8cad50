import type { Milliseconds } from '../space/space.js'
import type { Handle } from './handles.js'
import type { NativePart } from './native-part.js'

/** Reads in a row that were served from the cache before a file's reads are answered without us. */
const ENOUGH = 2
/** How often we look at what was read meanwhile, while anything is. */
const LOOK_EVERY: Milliseconds = 20
/** After so many looks without a read, reads are ours again. */
const IDLE_LOOKS = 10
/** Nothing stays granted for longer without a read that comes to us: the way to the content may have become another. */
const LONGEST: Milliseconds = 1000
/** Each holds two descriptors. */
const MOST = 64

interface Grant {
  readonly handle: Handle
  readonly until: Milliseconds
  readonly ended: AbortSignal
  readonly end: () => void
  idleLooks: number
}

/**
 * Lets the threads that take requests from the kernel answer reads of what is cached themselves: it is not the reading that
 * takes time then, but the way to the event loop and back. A grant is for one open file and a moment. What was read by it is
 * collected afterwards, so that readahead and times of use follow it.
 */
export class DirectReads {
  readonly #native: NativePart | undefined
  readonly #grants = new Map<number, Grant>()
  #timer: NodeJS.Timeout | undefined
  #stopped = false

  constructor(native: NativePart | undefined) {
    this.#native = native
  }

  /** A read of this file has come to us: takes note of those before it. */
  comes(number: number): void {
    const grant = this.#grants.get(number)
    if (grant !== undefined) this.#collect(number, grant)
  }

  /** A read of this file was served from the cache at once. */
  served(number: number, handle: Handle): void {
    if (this.#native === undefined || this.#stopped || this.#grants.has(number)) return
    handle.served += 1
    if (handle.served < ENOUGH || this.#grants.size >= MOST) return
    const direct = handle.file.direct?.()
    if (direct === undefined || direct.ended.aborted) return
    if (!this.#native.grant(number, handle.file.size, direct)) return
    const end = (): void => this.revoke(number)
    direct.ended.addEventListener('abort', end, { once: true })
    const until = performance.now() + LONGEST
    this.#grants.set(number, { handle, until, ended: direct.ended, end, idleLooks: 0 })
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY).unref()
  }

  /** A read of this file could not be served at once: more such reads will follow. */
  waited(number: number, handle: Handle): void {
    handle.served = 0
    this.revoke(number)
  }

  /** All reads of this file are ours from now on. */
  revoke(number: number): void {
    const grant = this.#grants.get(number)
    if (grant === undefined) return
    // No read may be answered after the last look at what was.
    this.#native?.end(number)
    this.#collect(number, grant)
    this.#grants.delete(number)
    this.#native?.revoke(number)
    grant.ended.removeEventListener('abort', grant.end)
    if (this.#grants.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** All reads are ours, for good. */
  stop(): void {
    this.#stopped = true
    for (const number of Array.from(this.#grants.keys())) this.revoke(number)
  }

  #look(): void {
    const now = performance.now()
    for (const [number, grant] of Array.from(this.#grants)) {
      grant.idleLooks = this.#collect(number, grant) === 0 ? grant.idleLooks + 1 : 0
      if (grant.idleLooks >= IDLE_LOOKS || now > grant.until) this.revoke(number)
    }
  }

  #collect(number: number, { handle }: Grant): number {
    const { file } = handle
    return this.#native?.collect(number, (offset, length, at) => file.noted?.(offset, length, at)) ?? 0
  }
}
