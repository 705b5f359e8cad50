import type { CachedSpace } from '../cache/store.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { Holding, Source } from '../sources/source.js'
import { pieceSize, type Bytes } from '../space/space.js'

/** Reads of the own disk: more at once would only wait for each other. */
const PARALLEL = 2
const LONGEST: Bytes = 8 * 1024 * 1024

/**
 * What the cache holds of a key from the time before its manifest was there: a source like any other, whose bytes are
 * compared with the piece hashes like those of any other.
 */
export function earlierSource(acquire: () => { readonly cache: CachedSpace; release(): void }): Source {
  let held: ReturnType<typeof acquire> | undefined
  let closed = false
  return {
    name: 'cache (unverified)',
    cost: 0,
    find: () => {
      if (!closed) held ??= acquire()
      const empty = held === undefined || held.cache.summary().cachedBytes === 0
      return Promise.resolve(empty || held === undefined ? undefined : holding(held.cache))
    },
    close: () => {
      closed = true
      held?.release()
      held = undefined
    },
  }
}

function holding(cache: CachedSpace): Holding {
  const { pieceLength } = cache.space
  return {
    unit: pieceLength,
    longest: LONGEST,
    parallel: PARALLEL,
    has: ({ start, end }) => {
      for (let index = Math.floor(start / pieceLength); index * pieceLength < end; index++) {
        if (!cache.has(index)) return false
      }
      return true
    },
    async *read({ start, end }, { signal }) {
      for (let at = start; at < end;) {
        throwIfAborted(signal)
        const index = Math.floor(at / pieceLength)
        const from = at - index * pieceLength
        const to = Math.min(end - index * pieceLength, pieceSize(cache.space, index))
        const bytes = await cache.read(index, from, to)
        if (bytes === undefined) throw new AnnexfsError('UNAVAILABLE', 'it is no longer in the cache')
        yield bytes
        at += to - from
      }
    },
  }
}
