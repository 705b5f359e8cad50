import type { OpenFile } from '../engine/volume.js'
import type { Failures } from './failures.js'
import type { Pin } from './pins.js'

/** One open(2) of a file, until its release. */
export interface Handle {
  readonly file: OpenFile
  readonly pin: Pin
  /** Reads that wait; aborted when the handle is released. */
  readonly waiting: Set<AbortController>
  /** Reads that failed lately. */
  readonly failures: Failures
}

/** Open files by small integers that are used again: fuse-native's handles have 32 bits, and 0 means none. */
export class Handles {
  readonly #byNumber: (Handle | undefined)[] = [undefined]
  readonly #free: number[] = []

  get size(): number {
    return this.#byNumber.length - 1 - this.#free.length
  }

  add(handle: Handle): number {
    const number = this.#free.pop() ?? this.#byNumber.length
    this.#byNumber[number] = handle
    return number
  }

  get(number: number): Handle | undefined {
    return this.#byNumber[number]
  }

  remove(number: number): Handle | undefined {
    const handle = this.#byNumber[number]
    if (handle === undefined) return undefined
    this.#byNumber[number] = undefined
    this.#free.push(number)
    return handle
  }

  *values(): IterableIterator<Handle> {
    for (const handle of this.#byNumber) if (handle !== undefined) yield handle
  }
}
