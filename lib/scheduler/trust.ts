import type { Milliseconds } from '../space/space.js'

/** A source that gave wrong bytes is asked for them again after so long: long enough to put a copy right by hand. */
const FIRST_PAUSE: Milliseconds = 30_000
/** Each further time it takes so much longer, so that a day of trying costs what a few dozen transfers do. */
const LONGER = 4
const LONGEST_PAUSE: Milliseconds = 1_800_000

/** A source that gave wrong bytes of this content. */
interface Liar {
  /** Not asked before. */
  readonly until: Milliseconds
  readonly pause: Milliseconds
  /** Of the object that was wrong (`Holding.version`). */
  readonly version: string | undefined
  readonly reason: string
}

/** A source, and which object it had: as much of a supplier as trust goes by. */
export interface Trusted {
  readonly source: { readonly name: string }
  readonly holding: { readonly version?: string | undefined }
}

/**
 * Which sources of one content were shown to give wrong bytes. Outlives the fetchers of the content, so that opening it
 * again some minutes later does not begin with the liar again. A liar is asked again after a pause, which grows; at once
 * when it has another object than the wrong one, or what is recorded of the content has changed.
 */
export class Trust {
  readonly #now: () => Milliseconds
  readonly #liars = new Map<string, Liar>()
  #oneAtATime = false
  #records: string | undefined

  /** @param now a monotonic clock. */
  constructor(now: () => Milliseconds = () => performance.now()) {
    this.#now = now
  }

  /**
   * After several sources together gave wrong bytes nobody knows which one lied: all pieces come from one source at a
   * time then, until that one is shown to be right or wrong.
   */
  get oneAtATime(): boolean {
    return this.#oneAtATime
  }

  /** Whether anything is held against anybody. */
  get isBlank(): boolean {
    return this.#liars.size === 0 && !this.#oneAtATime
  }

  has(one: Trusted): boolean {
    return this.#heldAgainst(one) === undefined
  }

  /** Why it is not asked, and when it will be; undefined for one that may be asked. */
  explain(one: Trusted): string | undefined {
    const liar = this.#heldAgainst(one)
    if (liar === undefined) return undefined
    const left = Math.ceil((liar.until - this.#now()) / 1000)
    const when = left < 120 ? `${left} s` : `${Math.ceil(left / 60)} min`
    return `${liar.reason}; it is asked again in ${when}, or when its copy or what is recorded of it changes`
  }

  /** What came from `sources`, and (`others`) from places nobody knows any more, together was wrong. */
  blame(sources: readonly Trusted[], others: boolean): void {
    const [only] = sources
    if (only !== undefined && sources.length === 1 && !others) this.wrong(only)
    else this.#oneAtATime = true
  }

  /** What `one` gave was wrong; `reason`: how. */
  wrong(one: Trusted, reason = 'gave wrong bytes of it before'): void {
    const { name } = one.source
    const before = this.#liars.get(name)
    const pause = before === undefined ? FIRST_PAUSE : Math.min(LONGEST_PAUSE, before.pause * LONGER)
    this.#liars.set(name, { until: this.#now() + pause, pause, version: one.holding.version, reason })
  }

  /** What they gave was shown to be right. */
  right(sources: Iterable<string>): void {
    for (const name of sources) this.#liars.delete(name)
  }

  /**
   * What is recorded of the content (its places, and how they are configured), as an opaque text. When it is another than
   * before, everybody is asked again; who is wrong again waits longer all the same.
   */
  recorded(state: string): void {
    const changed = this.#records !== undefined && this.#records !== state
    this.#records = state
    if (!changed) return
    for (const [name, liar] of this.#liars) this.#liars.set(name, { ...liar, until: -Infinity })
  }

  #heldAgainst({ source, holding }: Trusted): Liar | undefined {
    const liar = this.#liars.get(source.name)
    if (liar === undefined || liar.until <= this.#now()) return undefined
    const { version } = holding
    return version !== undefined && liar.version !== undefined && version !== liar.version ? undefined : liar
  }
}
