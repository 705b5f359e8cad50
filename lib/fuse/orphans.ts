import { AnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { Handle } from './handles.js'
import { holdersOf, someAreDying } from './holders.js'

/** Reads that have waited since the last look are looked into this often. */
const LOOK_EVERY: Milliseconds = 400

/**
 * Ends the reads of killed programs. The kernel tells that a file was closed for good (RELEASE) only when all its reads
 * are answered, and this libfuse passes on no interrupts: a read that waits for a slow remote would be fetched on for
 * nobody until its deadline, and a program that waits for it in the kernel (O_DIRECT, single pages) could not even die.
 * So while reads wait, /proc is asked. They are answered with EIO when all who have the file open were killed; or when
 * a descriptor of it was closed (FLUSH) and nobody has it open or mapped any more. Users of a file inside the kernel
 * (loop devices, overlayfs) are not seen there, but they never flush, and so are never taken for dead.
 */
export class Orphans {
  readonly #log: Log
  readonly #others: boolean
  readonly #handles: () => Iterable<Handle>
  /** Had reads waiting at the last look. */
  #before = new Set<Handle>()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  /** `others`: processes of other users may use the mount. */
  constructor(options: { log: Log; others: boolean; handles: () => Iterable<Handle> }) {
    this.#log = options.log
    this.#others = options.others
    this.#handles = options.handles
  }

  /** A read waits. */
  watch(): void {
    this.#timer ??= setInterval(() => void this.#look(), LOOK_EVERY).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#before.clear()
  }

  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      const waiting = new Set(Array.from(this.#handles()).filter((handle) => handle.waiting.size > 0))
      const slow = Array.from(waiting).filter((handle) => this.#before.has(handle))
      this.#before = waiting
      if (waiting.size === 0) this.stop()
      if (slow.some((handle) => handle.flushed) || (slow.length > 0 && (await someAreDying()))) {
        await this.#endOrphans(slow)
      }
    } catch (error) {
      this.#log.debug('cannot look for readers that are gone', { reason: reasonOf(error) })
    } finally {
      this.#looking = false
    }
  }

  async #endOrphans(slow: readonly Handle[]): Promise<void> {
    const holders = await holdersOf(new Set(slow.map((handle) => handle.pin.path)), this.#others)
    for (const handle of slow) {
      const { alive, dying } = holders.get(handle.pin.path) ?? { alive: 1, dying: 0 }
      if (alive > 0 || (dying === 0 && !handle.flushed)) continue
      for (const read of handle.waiting) {
        read.abort(new AnnexfsError('ABORTED', 'nobody who has the file open is alive any more'))
      }
    }
  }
}
