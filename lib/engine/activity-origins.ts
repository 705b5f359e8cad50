import { LRUCache } from 'lru-cache'
import type { Place } from '../scheduler/places.js'
import type { Source } from '../sources/source.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { Throughput } from './activity-rates.js'

export type OriginKind = 'swarm' | 'remote' | 'web' | 'local'

/** What brings bytes, as people know it: the swarm, a remote, a web server. */
export class Origin {
  readonly throughput = new Throughput()
  /** A remote is one place; the swarm is one for each torrent. */
  readonly places = new LRUCache<string, Place>({ max: MOST_PLACES })
  /** Why it was set aside for some content, if it was. */
  setAside: string | undefined

  constructor(
    readonly name: string,
    readonly kind: OriginKind,
  ) {}

  get latency(): Milliseconds | undefined {
    let latest: Place | undefined
    for (const place of this.places.values()) {
      if (latest === undefined || place.lastBytes > latest.lastBytes) latest = place
    }
    return latest?.health().latency
  }

  get active(): number {
    return sum(this.places.values(), (place) => place.active)
  }

  get failures(): number {
    return sum(this.places.values(), (place) => place.failuresEver)
  }

  trouble(now: Milliseconds): string | undefined {
    for (const place of this.places.values()) {
      if (!place.rests(now)) continue
      const { failures, restsUntil } = place.health(now)
      return `rests for ${((restsUntil - now) / 1000).toFixed(0)} s after ${failures} failures`
    }
    return this.setAside
  }
}

/** A repository may name any number of servers: those that come after so many are one. */
const MOST_ORIGINS = 64
const MOST_PLACES = 64
/** The name that what comes after them has together. */
const OTHERS = 'others'

/** Where bytes came from since the start, by name. */
export class Origins {
  readonly #origins = new Map<string, Origin>()

  values(): IterableIterator<Origin> {
    return this.#origins.values()
  }

  /** The origin that a source belongs to. Its place, if given, is looked at for its health from now on. */
  of(source: Pick<Source, 'name' | 'place'>, place?: Place): Origin {
    const name = originName(source)
    const origin = this.#origins.get(name) ?? this.#add(name)
    if (place !== undefined) origin.places.set(place.name, place)
    return origin
  }

  arrived(source: Pick<Source, 'name' | 'place'>, place: Place, bytes: Bytes): void {
    this.of(source, place).throughput.add(bytes, performance.now())
  }

  #add(name: string): Origin {
    const full = this.#origins.size >= MOST_ORIGINS
    const known = full ? this.#origins.get(OTHERS) : undefined
    if (known !== undefined) return known
    const origin = full ? new Origin(OTHERS, 'remote') : new Origin(name, kindOf(name))
    this.#origins.set(origin.name, origin)
    return origin
  }
}

/** URLs go by their server and blobs by git: a repository has one of them for each file. */
export function originName({ name, place }: Pick<Source, 'name' | 'place'>): string {
  if (name.startsWith('web seed (') && place !== undefined) return `web seed (${place})`
  if (name.startsWith('web (') && place !== undefined) return `web (${place})`
  return name.startsWith('git (') && place === undefined ? 'git' : name
}

function kindOf(name: string): OriginKind {
  if (name === 'swarm') return 'swarm'
  if (name.startsWith('web (') || name.startsWith('web seed (')) return 'web'
  return name === 'git' || name === 'cache (unverified)' || name === 'local object' ? 'local' : 'remote'
}

function sum(places: Iterable<Place>, of: (place: Place) => number): number {
  let total = 0
  for (const place of places) total += of(place)
  return total
}
