import { LRUCache } from 'lru-cache'
import type { CachedSpace, PieceStore } from '../cache/store.js'
import { Activity } from './activity.js'
import { PieceOrigins } from './activity-pieces.js'
import type { Log } from '../log/log.js'
import { streamingFor, type Streaming } from '../reader/ahead.js'
import { Fetcher } from '../scheduler/fetcher.js'
import type { SourceList } from '../scheduler/supply.js'
import { fetchBudget } from '../scheduler/budget.js'
import { Quota, type QuotaSpec } from '../scheduler/quota.js'
import { Places } from '../scheduler/places.js'
import { Trust } from '../scheduler/trust.js'
import { shareOfDescriptors } from '../space/descriptors.js'
import type { Bytes, Milliseconds, Slice, SpaceId } from '../space/space.js'
import type { Assurance } from '../verify/piece.js'
import { Wholeness, type CheckWhole } from './wholeness.js'

export interface SpacesOptions {
  readonly store: Pick<PieceStore, 'open'>
  readonly cacheLimit: Bytes
  readonly log: Log
  /** Is told of everything that arrives. */
  readonly activity?: Activity
  /** What all of them together may fetch; default: no bound. */
  readonly quota?: QuotaSpec | undefined
}

/** What opening a piece space takes. */
export interface SpaceSpec {
  readonly slice: Slice
  readonly sources: () => Promise<SourceList>
  /** Checks the slice against the content's own hash; undefined when it has none. */
  readonly check: CheckWhole | undefined
  /** What the check compares with, where the same slice may be checked against several (a torrent recorded for keys). */
  readonly checkedAs?: string
}

/** A piece space in use, shared by all open files of it. */
export interface ActiveSpace {
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  readonly wholeness: Wholeness
  release(): void
}

/** What the cache has of a slice. */
export interface Cached {
  readonly bytes: Bytes
  readonly assurance: Assurance
}

/** What must be remembered of content that was found to be wrong, also while nobody reads it. */
interface History {
  readonly trust: Trust
  /** How often a slice was found to be wrong, by `offset+length`. */
  readonly generations: Map<string, number>
}

interface Entry {
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  readonly pieces: PieceOrigins
  /** By `offset+length` of the slice and what it is checked as. */
  readonly wholes: Map<string, Wholeness>
  readonly history: History
  users: number
  lingering: NodeJS.Timeout | undefined
}

/** All pieces being fetched ahead at once, over all files. */
const AHEAD_IN_FLIGHT: Bytes = 96 * 1024 * 1024
/** Sources that are counted by name; a repository may name any number of URLs. */
const MOST_COUNTED = 1_000
const MOST_WRONG = 1_000
/** More than the longest time for which a source that gave wrong bytes is not asked. */
const WRONG_FOR: Milliseconds = 3_600_000
/** A space stays open for this long after its last reader: connections and what was learned of sources stay warm. */
const LINGER: Milliseconds = 30_000
/** Each may hold a descriptor for every source. */
const MOST_LINGERING = shareOfDescriptors(1 / 16, 16, 1024)

/** The piece spaces in use: each is fetched, checked and counted once, however many files and readers share it. */
export class Spaces {
  readonly #options: SpacesOptions
  readonly #activity: Activity
  readonly #entries = new Map<SpaceId, Entry>()
  /** Those without a reader, the longest first. */
  readonly #lingering = new Map<SpaceId, Entry>()
  readonly #budget = fetchBudget(AHEAD_IN_FLIGHT)
  /** What all open files share. */
  readonly streaming: Streaming = streamingFor(AHEAD_IN_FLIGHT)
  /** Undefined when there is no bound to what may be fetched. */
  readonly quota: Quota | undefined
  /** Files on the same remote share its limits, and what was measured of it. */
  readonly #places = new Places()
  /** Of spaces with content that was found to be wrong. */
  readonly #wrong = new LRUCache<SpaceId, History>({ max: MOST_WRONG, ttl: WRONG_FOR })
  /** Bytes fetched since the start, by source. */
  readonly fetched = new Map<string, Bytes>()

  constructor(options: SpacesOptions) {
    this.#options = options
    this.quota = options.quota === undefined ? undefined : new Quota(options.quota)
    this.#activity = options.activity ?? new Activity()
  }

  acquire(spec: SpaceSpec): ActiveSpace {
    const id = spec.slice.space.id
    let entry = this.#entries.get(id)
    if (entry === undefined) {
      entry = this.#open(spec)
      this.#entries.set(id, entry)
    }
    entry.users += 1
    clearTimeout(entry.lingering)
    this.#lingering.delete(id)
    const held = entry
    let released = false
    return {
      cache: entry.cache,
      fetcher: entry.fetcher,
      wholeness: this.#wholeness(entry, spec),
      release: () => {
        if (released) return
        released = true
        held.users -= 1
        if (held.users > 0) return
        held.lingering = setTimeout(() => this.#close(id, held), LINGER)
        held.lingering.unref()
        this.#lingering.set(id, held)
        if (this.#lingering.size <= MOST_LINGERING) return
        for (const [oldest, idle] of this.#lingering) {
          this.#close(oldest, idle)
          break
        }
      },
    }
  }

  /** The space with this id if it is in use now. */
  peek(id: SpaceId): (Pick<ActiveSpace, 'cache' | 'fetcher'> & { readonly pieces: PieceOrigins }) | undefined {
    return this.#entries.get(id)
  }

  /** What is cached of a slice, and how sure it is. */
  cached({ space, offset, length }: Slice): Cached {
    const active = this.#entries.get(space.id)?.cache
    const cache = active ?? this.#options.store.open(space)
    try {
      const bytes = cache.cachedIn(offset, offset + length)
      return { bytes, assurance: bytes === 0 ? 'none' : cache.summary().assurance }
    } finally {
      if (active === undefined) cache.close()
    }
  }

  /** Those that are in use, and lately were. */
  *fetchers(): IterableIterator<Fetcher> {
    for (const { fetcher } of this.#entries.values()) yield fetcher
  }

  close(): void {
    for (const [id, entry] of Array.from(this.#entries)) this.#close(id, entry)
  }

  #open(spec: SpaceSpec): Entry {
    const { store, log } = this.#options
    const activity = this.#activity
    const { space } = spec.slice
    const pieces = new PieceOrigins(space)
    const cache: CachedSpace = store.open(space)
    const history: History = this.#wrong.get(space.id) ?? { trust: new Trust(), generations: new Map() }
    const fetcher: Fetcher = new Fetcher({
      space,
      sources: spec.sources,
      cache,
      budget: this.#budget,
      quota: this.quota,
      places: this.#places,
      log,
      onWaited: activity.waits.onPiece(space.id),
      trust: history.trust,
      onFetched: () => {
        for (const wholeness of wholes.values()) wholeness.pieceArrived()
      },
      onBytes: (source, bytes, from, place) => {
        this.#count(source, bytes)
        activity.origins.arrived(from, place, bytes)
      },
      onPiece: (index, source) => pieces.set(index, activity.origins.of(source).name),
    })
    const wholes = new Map<string, Wholeness>()
    return { cache, fetcher, pieces, wholes, history, users: 0, lingering: undefined }
  }

  #count(source: string, bytes: Bytes): void {
    const name = this.fetched.has(source) || this.fetched.size < MOST_COUNTED ? source : 'others'
    this.fetched.set(name, (this.fetched.get(name) ?? 0) + bytes)
  }

  #wholeness(entry: Entry, { slice, check, checkedAs = '' }: SpaceSpec): Wholeness {
    const { log, cacheLimit } = this.#options
    const name = `${slice.offset}+${slice.length} ${checkedAs}`
    let wholeness = entry.wholes.get(name)
    if (wholeness === undefined) {
      const { cache, fetcher, history } = entry
      const onWrong = (generation: number): void => {
        history.generations.set(name, generation)
        this.#wrong.set(slice.space.id, history)
      }
      const generation = history.generations.get(name) ?? 0
      wholeness = new Wholeness({ slice, cache, fetcher, check, log, cacheLimit, generation, onWrong })
      entry.wholes.set(name, wholeness)
    }
    return wholeness
  }

  #close(id: SpaceId, entry: Entry): void {
    clearTimeout(entry.lingering)
    if (this.#entries.get(id) === entry) this.#entries.delete(id)
    if (!entry.history.trust.isBlank) this.#wrong.set(id, entry.history)
    if (this.#lingering.get(id) === entry) this.#lingering.delete(id)
    for (const wholeness of entry.wholes.values()) wholeness.close()
    entry.fetcher.close()
    entry.cache.close()
  }
}
