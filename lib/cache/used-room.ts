import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { allocatedBytes } from './walk.js'

/** Looking at all files of a large cache takes its time: it may take this share of it. */
const SHARE = 20
const AT_LEAST_EVERY: Milliseconds = 1_000

/** What the cache takes on disk, measured when somebody asks and the last answer has become old. */
export class UsedRoom {
  readonly #root: string
  readonly #log: Log
  #bytes: Bytes = 0
  #again: Milliseconds = -Infinity
  #measuring: Promise<void> | undefined

  constructor(root: string, log: Log) {
    this.#root = root
    this.#log = log
  }

  async bytes(): Promise<Bytes> {
    if (performance.now() >= this.#again) {
      this.#measuring ??= this.#measure().finally(() => {
        this.#measuring = undefined
      })
      await this.#measuring
    }
    return this.#bytes
  }

  async #measure(): Promise<void> {
    const started = performance.now()
    try {
      this.#bytes = await allocatedBytes(this.#root)
    } catch (error) {
      // It is only shown to people, and shown again in a moment.
      this.#log.debug('the cache could not be measured', { reason: reasonOf(error) })
    }
    const took = performance.now() - started
    this.#again = performance.now() + Math.max(AT_LEAST_EVERY, took * SHARE)
  }
}
