import { LRUCache } from 'lru-cache'
import type { Source } from '../sources/source.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import {
  afterBytes,
  afterFailure,
  afterFirstByte,
  afterSilence,
  NEW_HEALTH,
  NO_FAILURES,
  type Health,
} from './health.js'
import { WasteBudget } from './waste.js'

/** A rate is taken over at least this long, or over so many bytes where they come faster. */
const WINDOW: Milliseconds = 60
const WINDOW_BYTES: Bytes = 1024 * 1024
/** One content that is not there says nothing of the place; this many failures in a row, of whatever content, do. */
const PLACE_FAILS_AFTER = 3
/** Places that health is remembered of; a repository may name any number of hosts. */
const MOST_PLACES = 1_000

/**
 * What sources of the same place share, over all spaces: measured health, requests under way, and who waits for a lane.
 * Owned by {@link Places}; fetchers begin and end transfers in it.
 */
export class Place {
  readonly name: string
  #health: Health = NEW_HEALTH
  /** Requests under way. */
  active = 0
  /** Bytes asked for that have not come yet. */
  outstanding: Bytes = 0
  /** Bytes that it has brought so far. */
  served: Bytes = 0
  /** When it was last asked for something only to learn how fast it is, was asked at all, and brought anything. */
  probedAt: Milliseconds = -Infinity
  lastAsked: Milliseconds = -Infinity
  lastBytes: Milliseconds = -Infinity
  /** Failed requests since the start. */
  failuresEver = 0
  #bringsPieces = false
  #streams = 0
  #windowBytes: Bytes = 0
  #windowTime: Milliseconds = 0
  #since: Milliseconds = 0
  readonly #waiting = new Set<() => void>()

  constructor(name: string) {
    this.name = name
  }

  /** As measured up to `now`: a place that has fallen silent gets slower with every moment. */
  health(now: Milliseconds = performance.now()): Health {
    this.#measure(now)
    return this.#health
  }

  /** Whether so many requests in a row have failed that others should go first. */
  rests(now: Milliseconds): boolean {
    return this.#health.failures >= PLACE_FAILS_AFTER && this.#health.restsUntil > now
  }

  begin(bytes: Bytes): void {
    this.active += 1
    this.outstanding += bytes
    this.lastAsked = performance.now()
  }

  answered(latency: Milliseconds): void {
    this.#health = afterFirstByte(this.#health, latency)
  }

  silent(duration: Milliseconds): void {
    this.#health = afterSilence(this.#health, duration)
  }

  /** A transfer's bytes begin to come; balanced by {@link stopStream}. */
  startStream(now: Milliseconds): void {
    this.#measure(now)
    if (this.#streams === 0) this.#since = now
    this.#streams += 1
  }

  stopStream(now: Milliseconds): void {
    this.#measure(now)
    this.#streams -= 1
  }

  /** @param counted how many of them were outstanding. */
  arrived(bytes: Bytes, counted: Bytes, now: Milliseconds): void {
    this.served += bytes
    this.outstanding -= counted
    this.lastBytes = now
    this.#windowBytes += bytes
    this.#measure(now)
  }

  /** As {@link arrived}, of a place that gives only whole pieces: it shows nothing of them before. */
  pieceArrived(bytes: Bytes, counted: Bytes, now: Milliseconds): void {
    if (this.#bringsPieces) {
      this.arrived(bytes, counted, now)
      return
    }
    // What the first one took tells of peers being found; the rate shows with those that follow it.
    this.#bringsPieces = true
    this.startStream(now)
    this.served += bytes
    this.outstanding -= counted
    this.lastBytes = now
  }

  succeeded(): void {
    this.#health = { ...this.#health, ...NO_FAILURES }
  }

  failed(now: Milliseconds): void {
    this.failuresEver += 1
    this.#health = afterFailure(this.#health, now)
  }

  /** @param left bytes that were asked for and will not come. */
  end(left: Bytes): void {
    this.active -= 1
    this.outstanding -= left
    if (this.active === 0 && this.#bringsPieces) {
      this.#bringsPieces = false
      this.stopStream(performance.now())
    }
    this.#wake()
  }

  /** Calls `callback` once, when a request has ended; who has waited longest comes first. */
  whenFreed(callback: () => void): void {
    this.#waiting.add(callback)
  }

  forget(callback: () => void): void {
    this.#waiting.delete(callback)
  }

  /** Who wants more goes to the end of the line, so that each file in turn gets a lane. */
  #wake(): void {
    for (let left = this.#waiting.size, before = this.active; left > 0 && this.active <= before; left--) {
      const [next] = this.#waiting
      if (next === undefined) return
      this.#waiting.delete(next)
      next()
    }
  }

  #measure(now: Milliseconds): void {
    if (this.#streams > 0) this.#windowTime += now - this.#since
    this.#since = now
    if (this.#windowTime < WINDOW && this.#windowBytes < WINDOW_BYTES) return
    this.#health = afterBytes(this.#health, this.#windowBytes, this.#windowTime)
    this.#windowBytes = 0
    this.#windowTime = 0
  }
}

/** The places of all spaces, by name; and what all of them together may waste. */
export class Places {
  readonly #places = new LRUCache<string, Place>({ max: MOST_PLACES })
  readonly waste = new WasteBudget()

  of(source: Pick<Source, 'name' | 'place'>): Place {
    const name = source.place ?? source.name
    const known = this.#places.get(name)
    if (known !== undefined) return known
    const made = new Place(name)
    this.#places.set(name, made)
    return made
  }
}
