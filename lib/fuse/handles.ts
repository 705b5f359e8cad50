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
  /** Reads in a row that were served from the cache at once. */
  served: number
  /** A descriptor of it was closed; mostly the only one, so that its release is on its way. */
  flushed: boolean
}

/**
 * Open files by small integers that are used again: fuse-native's handles have 32 bits, and 0 means none. All mounts of a
 * process share the integers, for the native part knows files by them alone.
 */
export class Handles {
  readonly #byNumber = new Map<number, Handle>()

  get size(): number {
    return this.#byNumber.size
  }

  add(handle: Handle): number {
    const number = free.pop() ?? ++highest
    this.#byNumber.set(number, handle)
    return number
  }

  get(number: number): Handle | undefined {
    return this.#byNumber.get(number)
  }

  remove(number: number): Handle | undefined {
    const handle = this.#byNumber.get(number)
    if (handle === undefined) return undefined
    this.#byNumber.delete(number)
    free.push(number)
    return handle
  }

  entries(): IterableIterator<[number, Handle]> {
    return this.#byNumber.entries()
  }

  values(): IterableIterator<Handle> {
    return this.#byNumber.values()
  }
}

let highest = 0
const free: number[] = []
