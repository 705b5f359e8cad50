import { Reader } from '../reader/reader.js'
import type { ActiveSpace, SpaceSpec } from './spaces.js'
import { WrongContent } from './wholeness.js'
import type { Route } from './routed-file.js'
import type { Deps } from './deps.js'

/** Reads a slice of a piece space through the cache. */
export function spaceRoute(
  name: string,
  spec: SpaceSpec,
  deps: Pick<Deps, 'spaces' | 'verify' | 'readahead' | 'log'>,
): Route & { readonly generation: number } {
  const space: ActiveSpace = deps.spaces.acquire(spec)
  const { wholeness } = space
  const generation = wholeness.generation
  const strict = deps.verify === 'strict' && (spec.slice.space.hashes === undefined || spec.check !== undefined)
  const reader = new Reader({
    slice: spec.slice,
    cache: space.cache,
    fetcher: space.fetcher,
    readahead: deps.readahead,
    streaming: deps.spaces.streaming,
    log: deps.log,
    checkedOnly: strict,
    gate: (signal) => {
      // Bytes read before were wrong; mixing them with right ones would be worse than an error.
      if (wholeness.generation !== generation) throw new WrongContent(spec.slice.space.id)
      const purged = wholeness.purged(signal)
      if (!strict || wholeness.isWhole) return purged
      return purged === undefined ? wholeness.ensure(signal) : purged.then(() => wholeness.ensure(signal))
    },
  })
  return {
    name,
    generation,
    view: { slice: spec.slice, cache: space.cache, fetcher: space.fetcher, wholeness },
    read: (offset, length, into, signal) => reader.read(offset, length, into, signal),
    direct: () => {
      // Strict verification asks for each read whether all that was checked is still there.
      if (strict || wholeness.generation !== generation || wholeness.isPurging) return undefined
      return reader.direct()
    },
    noted: (offset, length, at) => reader.noted(offset, length, at),
    settled: () => wholeness.settled(generation),
    close: () => {
      reader.close()
      space.release()
    },
  }
}
