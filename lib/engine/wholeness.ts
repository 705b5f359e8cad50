import type { CachedSpace } from '../cache/store.js'
import { setTimeout as sleep } from 'node:timers/promises'
import { pieceCount, type Milliseconds, type Slice } from '../space/space.js'
import type { Log } from '../log/log.js'
import type { Fetcher } from '../scheduler/fetcher.js'
import { AnnexfsError, reasonOf } from '../errors.js'
import { abortable } from '../abortable.js'

/** Compares all cached bytes of a slice with the content's own hash. */
export type CheckWhole = (slice: Slice, signal: AbortSignal) => Promise<'match' | 'mismatch' | 'incomplete'>

export interface WholenessOptions {
  readonly slice: Slice
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  /** Undefined when the content has no hash that we can compute. */
  readonly check: CheckWhole | undefined
  readonly log: Log
  readonly cacheLimit: number
  /** How often this content was found to be wrong before. */
  readonly generation: number
  /** Told of each time it is found to be wrong. */
  readonly onWrong: (generation: number) => void
}

/** Pieces asked for at once while the whole content is fetched. */
const FILL_WINDOW = 64
/** What the cache did not take is fetched again, so often and with pauses of so much more each time. */
const FILL_TRIES = 4
const FILL_PAUSE: Milliseconds = 300

/**
 * Watches a slice of content that has a hash of its own: when all of it is in the cache it is checked against that. A
 * mismatch empties the cache of it and raises {@link generation}: what was opened before must not
 * go on, what is opened later starts afresh from other sources.
 */
export class Wholeness {
  readonly #options: WholenessOptions
  readonly #closing = new AbortController()
  #checking: Promise<void> | undefined
  #filling: Promise<void> | undefined
  #purging: Promise<void> | undefined
  /** Of a slice whose pieces have hashes of their own: it was compared with the content's hash as well. */
  #matched = false
  #generation: number

  constructor(options: WholenessOptions) {
    this.#options = options
    this.#generation = options.generation
  }

  /** How often this content was found to be wrong. */
  get generation(): number {
    return this.#generation
  }

  get isWhole(): boolean {
    const checked = this.#hasHashes ? this.#matched : this.#options.cache.summary().assurance === 'whole'
    return checked && this.#isComplete()
  }

  get #hasHashes(): boolean {
    return this.#options.slice.space.hashes !== undefined
  }

  /** Wrong content is being thrown away. */
  get isPurging(): boolean {
    return this.#purging !== undefined
  }

  /** Waits until wrong content has been thrown away; undefined when none is there. */
  purged(signal: AbortSignal): Promise<void> | undefined {
    return this.#purging === undefined ? undefined : abortable(this.#purging, signal)
  }

  /** Called after each fetched piece. */
  pieceArrived(): void {
    if (this.#options.check === undefined || this.#checking !== undefined || !this.#isComplete()) return
    if (this.isWhole) return
    this.#startCheck().catch((error: unknown) => {
      if (this.#closing.signal.aborted) return
      this.#options.log.warn('could not check content against its key', {
        content: this.#options.slice.space.id,
        reason: reasonOf(error),
      })
    })
  }

  /**
   * Fetches all of it and checks it, shared by everyone who waits.
   * @throws AnnexfsError FORBIDDEN when it has no hash or is larger than the cache, CORRUPT on mismatch, the signal's reason.
   */
  ensure(signal: AbortSignal): Promise<void> {
    const { check, slice, cacheLimit } = this.#options
    if (check === undefined) {
      throw new AnnexfsError(
        'FORBIDDEN',
        'this content has no hash to check it against; strict verification refuses it (mount without --verify=strict to read it)',
      )
    }
    if (slice.length > cacheLimit) {
      throw new AnnexfsError(
        'FORBIDDEN',
        `strict verification needs all ${slice.length} bytes in the cache, which holds ${cacheLimit}; give a larger --cache-size`,
      )
    }
    this.#filling ??= this.#fill().finally(() => {
      this.#filling = undefined
    })
    return abortable(this.#filling, signal)
  }

  /**
   * If all of it is there, waits until it was checked.
   * @throws AnnexfsError CORRUPT when it was found wrong since `generation`.
   */
  async settled(generation: number): Promise<void> {
    await this.#options.fetcher.idle()
    if (this.#options.check !== undefined && this.#isComplete() && !this.isWhole) await this.#startCheck()
    if (this.#generation !== generation) throw new WrongContent(this.#options.slice.space.id)
  }

  close(): void {
    this.#closing.abort()
  }

  #isComplete(): boolean {
    const { cache, slice } = this.#options
    if (cache.summary().cachedBytes < slice.length) return false
    return cache.cachedIn(slice.offset, slice.offset + slice.length) >= slice.length
  }

  async #fill(): Promise<void> {
    const { slice, cache, fetcher } = this.#options
    const generation = this.#generation
    const { pieceLength } = slice.space
    const first = Math.floor(slice.offset / pieceLength)
    const end = Math.min(pieceCount(slice.space), Math.ceil((slice.offset + slice.length) / pieceLength))
    for (let tries = 0; tries < FILL_TRIES; tries++) {
      // What other content has just taken of the cache can be evicted a moment later.
      if (tries > 0) await sleep(FILL_PAUSE * tries, undefined, { signal: this.#closing.signal })
      const running = new Set<Promise<unknown>>()
      // Not what is in memory alone: it is checked, and stays, on disk.
      const kept = cache.states(first, end)
      for (let index = first; index < end; index++) {
        if (kept[index - first] !== 0) continue
        const one: Promise<unknown> = fetcher
          .fetch(index, { urgency: 'fill', signal: this.#closing.signal })
          .finally(() => running.delete(one))
        running.add(one)
        if (running.size >= FILL_WINDOW) await Promise.race(running)
      }
      await Promise.all(running)
      // A piece is given to whoever waits for it before it is on disk.
      await fetcher.idle()
      if (!this.isWhole) await this.#startCheck()
      if (this.isWhole) return
      if (this.#generation !== generation) throw new WrongContent(slice.space.id)
    }
    throw new AnnexfsError(
      'UNAVAILABLE',
      'the cache is too small to keep this content until it was checked; give a larger --cache-size',
    )
  }

  #startCheck(): Promise<void> {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = undefined
    })
    return this.#checking
  }

  async #check(): Promise<void> {
    const { check, slice, cache, fetcher, log } = this.#options
    if (check === undefined) return
    const result = await check(slice, this.#closing.signal)
    if (result === 'match' && this.#hasHashes) {
      this.#matched = true
    } else if (result === 'match') {
      fetcher.vindicate()
      await cache.markWhole()
    } else if (result === 'mismatch') {
      this.#generation += 1
      cache.endDirect?.()
      this.#options.onWrong(this.#generation)
      if (this.#hasHashes) {
        // The pieces are what their torrent says; it is the torrent that is of something else.
        log.error('a torrent that is recorded for a key does not hold its content', { torrent: slice.space.id })
        return
      }
      log.error('content is not what its key says: everything cached of it was thrown away', {
        content: slice.space.id,
        sources: fetcher.contributors.names.join(', ') || 'an earlier run',
      })
      this.#purging = this.#purge().finally(() => {
        this.#purging = undefined
      })
      await this.#purging
    }
  }

  /** Whoever opens the content meanwhile waits for it: nothing wrong may be read, nor arrive late. */
  async #purge(): Promise<void> {
    const { slice, cache, fetcher } = this.#options
    await fetcher.distrust(pieceCount(slice.space), new WrongContent(slice.space.id))
    await cache.drop()
  }
}

/** Content was found not to match its key. Whoever has read of it must not read on, by whatever way. */
export class WrongContent extends AnnexfsError {
  constructor(id: string) {
    super(
      'CORRUPT',
      `what was fetched of ${id} does not match its key; it was thrown away. Open the file again to try again, from other sources first`,
    )
  }
}
