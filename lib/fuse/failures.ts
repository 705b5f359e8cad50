import type { Bytes, Milliseconds } from '../space/space.js'

/**
 * Reads of one open file that failed a moment ago. The kernel does not tell a program that its read-ahead failed: it
 * asks for the page once more, and the program would wait for a second deadline.
 */
export class Failures {
  #ranges: Failure[] = []

  add(start: Bytes, end: Bytes, errno: number, now: Milliseconds): void {
    this.#ranges = this.#ranges.filter((range) => now - range.at < REMEMBERED).slice(-MOST)
    this.#ranges.push({ start, end, errno, at: now })
  }

  /** The errno of the failure that `[start, end)` lies in, if it was just now. */
  find(start: Bytes, end: Bytes, now: Milliseconds): number | undefined {
    return this.#ranges.find((range) => range.start <= start && end <= range.end && now - range.at < REMEMBERED)?.errno
  }
}

interface Failure {
  readonly start: Bytes
  readonly end: Bytes
  readonly errno: number
  readonly at: Milliseconds
}

/** Long enough for the kernel, short enough for a program that tries again on purpose. */
const REMEMBERED: Milliseconds = 500
const MOST = 31
