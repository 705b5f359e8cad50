import type { Attempt } from '../errors.js'
import type { Bytes, Milliseconds, PieceSpace } from '../space/space.js'
import { pieceSize } from '../space/space.js'
import type { Supplier } from './candidates.js'
import type { Flight } from './flight.js'
import { isClosed } from './offers.js'

/** Of a source that was asked. */
export const HAS_NOT_SAID = 'has not said yet whether it has it'

/** What can be said about why a read waits. */
export interface Wait {
  readonly space: PieceSpace
  readonly flight: Flight
  readonly suppliers: readonly Supplier[]
  /** Sources that cannot be used, and what they said. */
  readonly refused: readonly Attempt[]
  readonly looking: boolean
  /** Sources that have not yet said whether they have the content; undefined while they are not known. */
  readonly asked: readonly string[] | undefined
  readonly now: Milliseconds
}

/** One line: which piece, what each source said, what is being tried and since when. */
export function explain({ space, flight, suppliers, refused, looking, asked: silent, now }: Wait): string {
  const size = pieceSize(space, flight.index)
  const asked = [...flight.carriers].map((carrier) => {
    const what = carrier.part === undefined ? '' : ` for bytes ${carrier.part.range.start} to ${carrier.part.range.end}`
    const brought = progress(
      carrier.left[0] === flight.index ? carrier.unfinished : 0,
      size,
      now - carrier.lastProgress,
    )
    return `${carrier.supplier.source.name}: asked${what} ${seconds(now - carrier.started)} ago, ${brought}`
  })
  const askedOf = new Set([...flight.carriers].map((carrier) => carrier.supplier))
  const failed = new Map(flight.attempts.map((one) => [one.source, one.reason]))
  const others = suppliers
    .filter((one) => !askedOf.has(one))
    .map((one) => `${one.source.name}: ${failed.get(one.source.name) ?? state(one, now)}`)
  const named = new Set(suppliers.map((one) => one.source.name))
  const gone = [...failed].filter(([source]) => !named.has(source)).map(([source, reason]) => `${source}: ${reason}`)
  const no = refused.map((one) => `${one.source}: ${one.reason}`)
  const said = [...asked, ...others, ...gone, ...no, ...unanswered(silent, looking)]
  return said.length === 0 ? 'no source has answered yet' : said.join('; ')
}

function unanswered(asked: readonly string[] | undefined, looking: boolean): readonly string[] {
  if (asked === undefined) return looking ? ['looking for sources'] : []
  return asked.map((source) => `${source}: ${HAS_NOT_SAID}`)
}

function state(supplier: Supplier, now: Milliseconds): string {
  const { place, rest, holding } = supplier
  if (isClosed(supplier, now)) return `wants no requests for ${seconds((holding.closedUntil?.() ?? now) - now)}`
  if (rest.restsUntil > now) return `rests for ${seconds(rest.restsUntil - now)} after ${rest.failures} failures`
  if (place.rests(now)) return `its server fails, rests for ${seconds(place.health(now).restsUntil - now)}`
  if (place.active >= holding.parallel) return `busy with ${place.active} requests`
  return 'not asked for this piece'
}

function progress(brought: Bytes, size: Bytes, silent: Milliseconds): string {
  return `${brought} of ${size} bytes, nothing for ${seconds(silent)}`
}

export function seconds(duration: Milliseconds): string {
  return `${(duration / 1000).toFixed(1)} s`
}
