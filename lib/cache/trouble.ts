import { reasonOf, systemCode } from '../errors.js'
import { amount } from '../log/amounts.js'
import { rateLimited, type Log } from '../log/log.js'
import type { LowDisk } from './free-space.js'
import type { Milliseconds } from '../space/space.js'

/** After disk trouble nothing is written for so long. */
const BACK_OFF: Milliseconds = 1000
const WARN_EVERY: Milliseconds = 60_000

/** Disk trouble is never an error to readers: it is said once in a while, and writing is tried again a little later. */
export class Trouble {
  readonly #log: Log
  readonly #debug: Log
  #until = -Infinity

  constructor(log: Log) {
    this.#log = rateLimited(log, WARN_EVERY)
    this.#debug = log
  }

  /** True while writing waits for the disk to recover. */
  get pausesWrites(): boolean {
    return performance.now() < this.#until
  }

  /** What could not be done; writing pauses. */
  writing(what: string, error: unknown): void {
    this.#until = performance.now() + BACK_OFF
    this.#say(what, error)
  }

  reading(what: string, error: unknown): void {
    this.#say(what, error)
  }

  /** Nothing was evicted that would have made room enough. */
  lowDisk(folder: string, { free, minFree }: LowDisk): void {
    this.#log.warn(
      'nothing can be cached: the disk of the cache folder has less free space than is to be left there; ' +
        'free some of it, give a smaller --min-free, or a --cache-dir on another disk',
      { folder, free: amount(free), minFree: amount(minFree) },
    )
  }

  #say(what: string, error: unknown): void {
    const reason = reasonOf(error)
    this.#log.warn('the cache folder cannot be used right now, so content is served without caching', { what, reason })
    this.#debug.debug('cache trouble', { what, reason })
  }
}

/** True when the disk, or our share of it, is full. */
export function isFull(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOSPC' || code === 'EDQUOT'
}

/** True when the disk is just not to be written to. */
export function isReadOnly(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'EROFS' || code === 'EACCES' || code === 'EPERM'
}
