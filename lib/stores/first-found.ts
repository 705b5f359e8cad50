import { AnnexfsError, isAnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { StoredObject } from './store.js'

/**
 * One object that may be in several places: each place is read until one turns out not to have it, or not to give it
 * (some servers say "forbidden" for "not there"); then the next one is.
 */
export function firstFound(places: readonly StoredObject[]): StoredObject {
  const [first] = places
  if (first === undefined) throw new AnnexfsError('INVALID', 'an object without a place')
  if (places.length === 1) return first
  let current = 0
  const inTurn = async function* (
    read: (place: StoredObject) => AsyncIterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let refused: unknown
    for (let at = current; ; at++) {
      const place = places[at]
      if (place === undefined) throw refused
      let given: Bytes = 0
      try {
        for await (const bytes of read(place)) {
          given += bytes.byteLength
          current = Math.max(current, at)
          yield bytes
        }
        return
      } catch (error) {
        if (given > 0 || !(isAnnexfsError(error, 'NOT_FOUND') || isAnnexfsError(error, 'FORBIDDEN'))) throw error
        // That one may have it says more than that another has not.
        if (refused === undefined || error.code === 'FORBIDDEN') refused = error
      }
    }
  }
  return {
    ...first,
    closedUntil: () => places[current]?.closedUntil?.() ?? 0,
    read: (range, demand) => inTurn((place) => place.read(range, demand)),
    all: (most, demand) => inTurn((place) => place.all(most, demand)),
    close: () => {
      for (const place of places) place.close?.()
    },
  }
}
