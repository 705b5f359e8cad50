import type { Log } from '../log/log.js'
import type { Attempt } from '../errors.js'
import { reasonOf } from '../errors.js'
import type { Holding, Source } from '../sources/source.js'
import type { PieceSpace } from '../space/space.js'
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
  /** Why the others cannot be used. */
  readonly refused: readonly Attempt[]
  close(): void
}

/** A cheaper source that is slow to say whether it has the content holds the others up for at most this long. */
const CHEAPER_FIRST_FOR = 100

/**
 * Asks all sources at once whether they have `space`. `onChange` is called whenever `ready`, `looking` or `refused`
 * changes. A dearer source only becomes ready when all cheaper ones have answered, or after 100 ms.
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
  const refused: Attempt[] = []
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
  for (const source of sources) {
    source
      .find(space, controller.signal)
      .then((holding) => {
        if (holding === undefined) refused.push({ source: source.name, reason: 'does not have it' })
        else {
          const place = places.of(source)
          held.push({ source, cost: source.cost, holding, place, rest: NO_FAILURES, setAside: false })
        }
      })
      .catch((error: unknown) => {
        refused.push({ source: source.name, reason: reasonOf(error) })
        log.debug('a source could not be asked', { source: source.name, reason: reasonOf(error) })
      })
      .finally(() => {
        pending.delete(source)
        if (pending.size === 0) clearTimeout(timer)
        if (!controller.signal.aborted) release()
      })
  }
  return {
    ready,
    get looking() {
      return pending.size > 0
    },
    refused,
    close: () => {
      clearTimeout(timer)
      controller.abort()
      for (const source of sources) source.close?.()
    },
  }
}
