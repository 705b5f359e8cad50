import { AnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import type { Handle } from './handles.js'
import { isHeld } from './holders.js'

/**
 * Ends the reads of killed programs. The kernel tells that a file was closed for good (RELEASE) only when all its reads
 * are answered, and this libfuse passes on no interrupts, so that a read that waits for a slow remote would be fetched
 * on for nobody until its deadline. But each close of a descriptor is told at once (FLUSH): when a file has reads
 * waiting a while after such a close, and no process has it open or mapped, they are answered with EIO. Users of a file
 * inside the kernel (loop devices, overlayfs) never flush, and so are never taken for dead.
 */
export class Orphans {
  readonly #log: Log
  readonly #others: boolean
  readonly #suspects = new Map<Handle, string>()
  #timer: NodeJS.Timeout | undefined
  #looking = false

  /** `others`: processes of other users may use the mount. */
  constructor(options: { log: Log; others: boolean }) {
    this.#log = options.log
    this.#others = options.others
  }

  /** A descriptor of this file was closed. */
  flushed(handle: Handle, path: string): void {
    if (handle.waiting.size === 0) return
    this.#suspects.set(handle, path)
    this.#timer ??= setInterval(() => void this.#look(), LOOK_EVERY).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#suspects.clear()
  }

  async #look(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    try {
      for (const [handle, path] of Array.from(this.#suspects)) {
        if (handle.waiting.size > 0 && (await isHeld(path, this.#others))) continue
        for (const read of handle.waiting) {
          read.abort(new AnnexfsError('ABORTED', 'no process has the file open any more'))
        }
        this.#suspects.delete(handle)
      }
    } catch (error) {
      this.#log.debug('cannot look for readers that are gone', { reason: reasonOf(error) })
    } finally {
      this.#looking = false
      if (this.#suspects.size === 0) this.stop()
    }
  }
}

/** Programs that go on reading after a close (a child of theirs closed its copy) are looked up this often. */
const LOOK_EVERY: Milliseconds = 1_500
