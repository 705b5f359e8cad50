import { isAnnexfsError, reasonOf } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { WatchedFile } from './activity-file.js'
import { Origins } from './activity-origins.js'
import type { OpenFile } from './volume.js'
import { Waits, type WaitsOptions } from './waits.js'

/** An error that a reader got. */
export interface ReadFailure {
  readonly time: Milliseconds
  readonly path: string
  readonly reason: string
}

const MOST_ERRORS = 100
/** An error lists all that was tried; its start says enough. */
const LONGEST_REASON = 2_000

/**
 * What is going on in an engine: who reads what, who waits, what failed, what comes from where. The engine writes it
 * down, whoever shows it reads it. A read of cached bytes costs it a counter and a position.
 */
export class Activity {
  readonly origins = new Origins()
  /** Reads that wait for bytes. */
  readonly waits: Waits
  /** Bytes given to readers. */
  readBytes: Bytes = 0
  readonly #files = new Set<WatchedFile>()
  readonly #errors: ReadFailure[] = []

  constructor(options?: WaitsOptions) {
    this.waits = new Waits(options)
  }

  /** All that are open. */
  get files(): ReadonlySet<WatchedFile> {
    return this.#files
  }

  /** The last errors that readers got, newest first. */
  get errors(): readonly ReadFailure[] {
    return this.#errors.toReversed()
  }

  /** Bytes fetched since the start. */
  get fetchedBytes(): Bytes {
    let total = 0
    for (const origin of this.origins.values()) total += origin.throughput.total
    return total
  }

  /** `file`, with its use written down until it is closed. */
  watch(path: string, file: OpenFile): WatchedFile {
    const watched = new WatchedFile(path, file, this)
    this.#files.add(watched)
    return watched
  }

  /** Called by {@link WatchedFile}. */
  closed(file: WatchedFile): void {
    this.#files.delete(file)
  }

  /** Notes an error that a reader gets; that it gave up by itself is none. */
  failed(path: string, error: unknown): void {
    if (isAnnexfsError(error, 'ABORTED')) return
    this.#errors.push({ time: Date.now(), path, reason: shortened(reasonOf(error)) })
    if (this.#errors.length > MOST_ERRORS) this.#errors.shift()
  }
}

function shortened(reason: string): string {
  return reason.length <= LONGEST_REASON ? reason : `${reason.slice(0, LONGEST_REASON)}…`
}
