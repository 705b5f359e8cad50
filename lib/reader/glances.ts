import type { Bytes, Milliseconds } from '../space/space.js'
import { SETTLED_AFTER } from './stream.js'

/*
 * Programs that look into many files (thumbnailers, media libraries, file(1), grep -l) read a little from the start of
 * each. While that goes on nothing is fetched ahead in a file before more was read of it than such programs read.
 */

/** What was read of a file that was closed. */
export interface Closed {
  readonly size: Bytes
  /** The most that was read in a row, and all that was read. */
  readonly consumed: Bytes
  readonly read: Bytes
}

/** file(1) reads 7 MiB at both ends, to which the kernel adds up to 2 MiB where it reads ahead by 1 MiB. */
const GLANCE: Bytes = 9 * 1024 * 1024
/** Who has read this part of a file has read it, however small it is. */
const MOST_OF_IT = 0.9
/** So many glances within this time make a scan. */
const SCAN_FROM = 3
const SCAN_WITHIN: Milliseconds = 10_000

/** Whether a file was only looked into: little was read of it in a row, and not most of it. */
export function isGlance({ size, consumed, read }: Closed): boolean {
  return consumed <= GLANCE && read < size * MOST_OF_IT
}

/** Whether glances at these times (oldest first) are a scan that still goes on. */
export function isScan(times: readonly Milliseconds[], now: Milliseconds): boolean {
  const from = times.at(-SCAN_FROM)
  return from !== undefined && now - from <= SCAN_WITHIN
}

/** Notes glances, for all open files. */
export class Glances {
  readonly #now: () => Milliseconds
  #times: readonly Milliseconds[] = []

  constructor(now: () => Milliseconds = () => performance.now()) {
    this.#now = now
  }

  closed(file: Closed): void {
    if (isGlance(file)) this.#times = [...this.#times.slice(1 - SCAN_FROM), this.#now()]
  }

  /** What must be read of a file in a row before anything is fetched ahead. */
  get settledAfter(): Bytes {
    return isScan(this.#times, this.#now()) ? GLANCE : SETTLED_AFTER
  }
}
