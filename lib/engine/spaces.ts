import type { CachedSpace, PieceStore } from '../cache/store.js'
import type { Log } from '../log/log.js'
import { Fetcher, type SourceList } from '../scheduler/fetcher.js'
import { fetchBudget } from '../scheduler/budget.js'
import type { Bytes, Milliseconds, Slice, SpaceId } from '../space/space.js'
import { Wholeness, type CheckWhole } from './wholeness.js'

export interface SpacesOptions {
  readonly store: PieceStore
  readonly cacheLimit: Bytes
  readonly log: Log
}

/** What opening a piece space takes. */
export interface SpaceSpec {
  readonly slice: Slice
  readonly sources: () => Promise<SourceList>
  /** Checks the slice against the content's own hash; undefined when it has none. */
  readonly check: CheckWhole | undefined
}

/** A piece space in use, shared by all open files of it. */
export interface ActiveSpace {
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  readonly wholeness: Wholeness
  release(): void
}

interface Entry {
  readonly cache: CachedSpace
  readonly fetcher: Fetcher
  /** By `offset+length` of the slice. */
  readonly wholes: Map<string, Wholeness>
  users: number
  lingering: NodeJS.Timeout | undefined
}

/** All pieces being fetched ahead at once, over all files. */
const AHEAD_IN_FLIGHT: Bytes = 96 * 1024 * 1024
/** Sources that are counted by name; a repository may name any number of URLs. */
const MOST_COUNTED = 1_000
/** A space stays open for this long after its last reader: connections and what was learned of sources stay warm. */
const LINGER: Milliseconds = 30_000

/** The piece spaces in use: each is fetched, checked and counted once, however many files and readers share it. */
export class Spaces {
  readonly #options: SpacesOptions
  readonly #entries = new Map<SpaceId, Entry>()
  readonly #budget = fetchBudget(AHEAD_IN_FLIGHT)
  /** Bytes fetched since the start, by source. */
  readonly fetched = new Map<string, Bytes>()

  constructor(options: SpacesOptions) {
    this.#options = options
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
      },
    }
  }

  /** The space with this id if it is in use now. */
  peek(id: SpaceId): Pick<ActiveSpace, 'cache' | 'fetcher'> | undefined {
    return this.#entries.get(id)
  }

  close(): void {
    for (const [id, entry] of Array.from(this.#entries)) this.#close(id, entry)
  }

  #open(spec: SpaceSpec): Entry {
    const { store, log } = this.#options
    const { space } = spec.slice
    const cache: CachedSpace = store.open(space)
    const fetcher: Fetcher = new Fetcher({
      space,
      sources: spec.sources,
      cache,
      budget: this.#budget,
      log,
      onFetched: () => {
        for (const wholeness of wholes.values()) wholeness.pieceArrived()
      },
      onBytes: (source, bytes) => this.#count(source, bytes),
    })
    const wholes = new Map<string, Wholeness>()
    return { cache, fetcher, wholes, users: 0, lingering: undefined }
  }

  #count(source: string, bytes: Bytes): void {
    const name = this.fetched.has(source) || this.fetched.size < MOST_COUNTED ? source : 'others'
    this.fetched.set(name, (this.fetched.get(name) ?? 0) + bytes)
  }

  #wholeness(entry: Entry, { slice, check }: SpaceSpec): Wholeness {
    const { log, cacheLimit } = this.#options
    const name = `${slice.offset}+${slice.length}`
    let wholeness = entry.wholes.get(name)
    if (wholeness === undefined) {
      wholeness = new Wholeness({ slice, cache: entry.cache, fetcher: entry.fetcher, check, log, cacheLimit })
      entry.wholes.set(name, wholeness)
    }
    return wholeness
  }

  #close(id: SpaceId, entry: Entry): void {
    clearTimeout(entry.lingering)
    if (this.#entries.get(id) === entry) this.#entries.delete(id)
    for (const wholeness of entry.wholes.values()) wholeness.close()
    entry.fetcher.close()
    entry.cache.close()
  }
}
