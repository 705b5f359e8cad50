import type { Log } from '../log/log.js'
import type { Attempt } from '../errors.js'
import { reasonOf } from '../errors.js'
import type { Holding, Source } from '../sources/source.js'
import type { PieceSpace } from '../space/space.js'
import { isForGood, pauseAfter } from './flight.js'
import { NO_FAILURES, type Rest } from './health.js'
import type { Place, Places } from './places.js'

/** A source in use for one piece space, with what the scheduler knows of it. Owned by its fetcher. */
export interface Supplier {
  readonly source: Source
  readonly cost: number
  readonly holding: Holding
  /** What it shares with the sources of other spaces. */
  readonly place: Place
  /** Its failures for this space. */
  rest: Rest
  /** How it gave wrong bytes of this space: never asked for it again. */
  setAside: string | false
}

/** What looking for holders of a space has come to so far. */
export interface Suppliers {
  /** Those that have it, as far as is known now. */
  readonly ready: readonly Supplier[]
  /** True while some source has not yet said whether it has the content. */
  readonly looking: boolean
  /** Names of the sources that have not yet said whether they have it. */
  readonly asked: readonly string[]
  /** Why the others cannot be used. */
  readonly refused: readonly Attempt[]
  close(): void
}

/** A cheaper source that is slow to say whether it has the content holds the others up for at most this long. */
const CHEAPER_FIRST_FOR = 100

/**
 * Asks all sources at once whether they have `space`. `onChange` is called whenever `ready`, `looking` or `refused`
 * changes. A dearer source only becomes ready when all cheaper ones have answered, or after 100 ms. One that fails is
 * asked again as often, and after the same pauses, as for a piece.
 */
export function findSuppliers(
  space: PieceSpace,
  sources: readonly Source[],
  places: Places,
  log: Log,
  onChange: () => void,
): Suppliers {
  const controller = new AbortController()
  const ready: Supplier[] = []
  const refused = new Map<Source, Attempt>()
  const held: Supplier[] = []
  const pending = new Map<Source, number>(sources.map((source) => [source, source.cost]))
  let patient = true
  const release = (): void => {
    const cheapest = patient ? Math.min(...pending.values()) : Infinity
    for (let i = held.length - 1; i >= 0; i--) {
      const supplier = held[i]
      if (supplier !== undefined && supplier.cost <= cheapest) {
        held.splice(i, 1)
        ready.push(supplier)
      }
    }
    onChange()
  }
  const timer = setTimeout(() => {
    patient = false
    release()
  }, CHEAPER_FIRST_FOR)
  timer.unref()
  const pauses = new Set<NodeJS.Timeout>()
  const answered = (source: Source): void => {
    pending.delete(source)
    if (pending.size === 0) clearTimeout(timer)
    if (!controller.signal.aborted) release()
  }
  const ask = async (source: Source, time: number): Promise<void> => {
    try {
      const holding = await source.find(space, controller.signal)
      refused.delete(source)
      if (holding === undefined) refused.set(source, { source: source.name, reason: 'does not have it' })
      else {
        const place = places.of(source)
        held.push({ source, cost: source.cost, holding, place, rest: NO_FAILURES, setAside: false })
      }
    } catch (error) {
      const reason = reasonOf(error)
      refused.set(source, { source: source.name, reason })
      log.debug('a source could not be asked', { source: source.name, reason })
      const pause = isForGood(error) || controller.signal.aborted ? undefined : pauseAfter(source, time)
      if (pause !== undefined) {
        const timer = setTimeout(() => {
          pauses.delete(timer)
          void ask(source, time + 1)
        }, pause)
        pauses.add(timer)
        return
      }
    }
    answered(source)
  }
  for (const source of sources) void ask(source, 1)
  return {
    ready,
    get looking() {
      return pending.size > 0
    },
    get asked() {
      return [...pending.keys()].filter((source) => !refused.has(source)).map((source) => source.name)
    },
    get refused() {
      return [...refused.values()]
    },
    close: () => {
      clearTimeout(timer)
      for (const pause of pauses) clearTimeout(pause)
      controller.abort()
      for (const source of sources) source.close?.()
    },
  }
}
