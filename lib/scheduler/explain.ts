import { attemptText, type Attempt } from '../errors.js'
import { seconds } from '../log/amounts.js'
import type { Milliseconds, PieceSpace } from '../space/space.js'
import { pieceSize } from '../space/space.js'
import type { Supplier } from './candidates.js'
import type { Carrier } from './carrier.js'
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

/** What one source said of a piece, or what is being tried with it and since when. */
export interface Said {
  readonly source: string
  readonly what: string
}

/** What all sources said of one piece. */
export interface PieceSaid {
  readonly piece: number
  readonly said: readonly Said[]
}

/** What each source said of the piece, what is being tried and since when; `bringer` has just brought it. */
export function explain(
  { space, flight, suppliers, refused, looking, asked: silent, now }: Wait,
  bringer?: Carrier,
): PieceSaid {
  const size = pieceSize(space, flight.index)
  const asked = [...flight.carriers].map((carrier) => {
    const what = carrier.part === undefined ? '' : ` for bytes ${carrier.part.range.start} to ${carrier.part.range.end}`
    const since = seconds(now - carrier.started)
    const outcome =
      carrier === bringer ? `brought it ${since} after it was asked${what}` : `asked${what} ${since} ago, ${progress()}`
    return { source: carrier.supplier.source.name, what: outcome }

    function progress(): string {
      const awaited = carrier.awaited.now
      if (awaited !== undefined) return awaited
      const [first = flight.index] = carrier.left
      if (first !== flight.index) return `brings piece ${first} first`
      return `${carrier.unfinished} of ${size} bytes, nothing for ${seconds(now - carrier.lastProgress)}`
    }
  })
  const askedOf = new Set([...flight.carriers].map((carrier) => carrier.supplier))
  const failed = new Map(flight.attempts.map((one) => [one.source, one.reason]))
  const others = suppliers
    .filter((one) => !askedOf.has(one))
    .map((one) => ({ source: one.source.name, what: failed.get(one.source.name) ?? state(one, now) }))
  const named = new Set(suppliers.map((one) => one.source.name))
  const gone = [...failed].filter(([source]) => !named.has(source)).map(([source, what]) => ({ source, what }))
  const no = refused.map(({ source, reason }) => ({ source, what: reason }))
  return { piece: flight.index, said: [...asked, ...others, ...gone, ...no, ...unanswered(silent, looking)] }
}

/** One line of what was said of several pieces: what differs between them names its pieces. */
export function inOneLine(pieces: readonly PieceSaid[]): string {
  const bySource = new Map<string, Map<string, number[]>>()
  for (const { piece, said } of pieces) {
    for (const { source, what } of said) {
      const whats = bySource.get(source) ?? new Map<string, number[]>()
      bySource.set(source, whats)
      const same = whats.get(what)
      if (same === undefined) whats.set(what, [piece])
      else if (same.at(-1) !== piece) same.push(piece)
    }
  }
  if (bySource.size === 0) return 'no source has answered yet'
  return [...bySource]
    .map(([source, whats]) => attemptText({ source, reason: ofPieces(whats, pieces.length) }))
    .join('; ')
}

function ofPieces(whats: ReadonlyMap<string, readonly number[]>, all: number): string {
  return [...whats]
    .map(([what, pieces]) => (pieces.length === all ? what : `${what} (${pieceNumbers(pieces)})`))
    .join(', ')
}

/** `piece 3`, `pieces 3 to 6 and 9`. */
export function pieceNumbers(pieces: readonly number[]): string {
  const runs: [first: number, last: number][] = []
  for (const piece of [...new Set(pieces)].sort((a, b) => a - b)) {
    const run = runs.at(-1)
    if (run !== undefined && run[1] === piece - 1) run[1] = piece
    else runs.push([piece, piece])
  }
  const texts = runs.map(([first, last]) => (first === last ? String(first) : `${first} to ${last}`))
  const listed = texts.length < 2 ? texts.join('') : `${texts.slice(0, -1).join(', ')} and ${texts.at(-1) ?? ''}`
  return `${pieces.length === 1 ? 'piece' : 'pieces'} ${listed}`
}

function unanswered(asked: readonly string[] | undefined, looking: boolean): readonly Said[] {
  if (asked === undefined) return looking ? [{ source: 'looking for sources', what: 'no answer yet' }] : []
  return asked.map((source) => ({ source, what: HAS_NOT_SAID }))
}

/** Of a source that asked for some quiet. */
export function closedText(supplier: Supplier, now: Milliseconds): string | undefined {
  if (!isClosed(supplier, now)) return undefined
  return `wants no requests for ${seconds((supplier.holding.closedUntil?.() ?? now) - now)}`
}

function state(supplier: Supplier, now: Milliseconds): string {
  const { place, rest, holding } = supplier
  const closed = closedText(supplier, now)
  if (closed !== undefined) return closed
  if (rest.restsUntil > now) return `rests for ${seconds(rest.restsUntil - now)} after ${rest.failures} failures`
  if (place.rests(now)) return `its server fails, rests for ${seconds(place.health(now).restsUntil - now)}`
  if (place.active >= holding.parallel) return `busy with ${place.active} requests`
  return 'not asked for this piece'
}
