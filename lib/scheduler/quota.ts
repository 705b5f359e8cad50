import { AnnexfsError } from '../errors.js'
import type { Bytes, Milliseconds, Urgency } from '../space/space.js'

/** What a mount may fetch: `bytes` in all, or `bytes` in each `per`. */
export interface QuotaSpec {
  readonly bytes: Bytes
  readonly per?: Milliseconds
}

/** What was spent; a pure value. With a rate it fades evenly: after `per` all of it may be spent again. */
export interface Spent {
  readonly bytes: Bytes
  readonly at: Milliseconds
}

/** Nothing is fetched ahead once this part is spent: the rest is for who waits. */
const AHEAD_UP_TO = 0.9

export function spentAt({ bytes, per }: QuotaSpec, spent: Spent, now: Milliseconds): Bytes {
  if (per === undefined) return spent.bytes
  return Math.max(0, spent.bytes - (bytes * Math.max(0, now - spent.at)) / per)
}

/** Whether `size` more may be fetched for somebody in this hurry, when so much was spent and is promised to others. */
export function isWithin({ bytes }: QuotaSpec, used: Bytes, size: Bytes, urgency: Urgency): boolean {
  return used + size <= (urgency === 'read' ? bytes : bytes * AHEAD_UP_TO)
}

/**
 * Keeps the fetching of a mount within its budget, over all files and sources. What is fetched is promised first, when
 * somebody wants it, and counted as it arrives; so what is under way counts too. Lives as long as the mount.
 */
export class Quota {
  readonly spec: QuotaSpec
  readonly #now: () => Milliseconds
  #spent: Spent
  #promised: Bytes = 0

  constructor(spec: QuotaSpec, now: () => Milliseconds = () => performance.now()) {
    this.spec = spec
    this.#now = now
    this.#spent = { bytes: 0, at: now() }
  }

  /** What may be fetched still, now. */
  get left(): Bytes {
    return Math.max(0, Math.floor(this.spec.bytes - this.#used() - this.#promised))
  }

  /** Bytes have arrived. */
  spend(bytes: Bytes): void {
    this.#spent = { bytes: this.#used() + bytes, at: this.#now() }
  }

  /**
   * Promises `size` bytes until `done` is called.
   * @throws AnnexfsError OVER_BUDGET when there are not so many left.
   */
  promise(size: Bytes, urgency: Urgency): () => void {
    if (!isWithin(this.spec, this.#used() + this.#promised, size, urgency)) throw this.#refusal(size, urgency)
    this.#promised += size
    let done = false
    return () => {
      if (!done) this.#promised -= size
      done = true
    }
  }

  #used(): Bytes {
    return spentAt(this.spec, this.#spent, this.#now())
  }

  #refusal(size: Bytes, urgency: Urgency): AnnexfsError {
    const { bytes, per } = this.spec
    const limit = `--budget of ${bytes} bytes${per === undefined ? '' : ` in ${Math.round(per / 1000)} s`}`
    if (urgency !== 'read')
      return new AnnexfsError('OVER_BUDGET', `the ${limit} is nearly spent; nothing is fetched ahead`)
    if (per === undefined || size > bytes) {
      return new AnnexfsError(
        'OVER_BUDGET',
        `the ${limit} has ${this.left} left, ${size} are needed; what is cached can still be read. ` +
          'Mount again with a larger --budget to read on',
      )
    }
    const retryAfter = ((this.#used() + this.#promised + size - bytes) * per) / bytes
    return new AnnexfsError(
      'OVER_BUDGET',
      `the ${limit} is spent; what is cached can still be read, ${size} more bytes may be fetched in ` +
        `${Math.ceil(retryAfter / 1000)} s`,
      { retryAfter },
    )
  }
}
