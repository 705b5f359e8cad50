import type { Milliseconds, PieceSpace } from '../space/space.js'
import type { Supplier } from './candidates.js'
import type { Carriers } from './carriers.js'
import type { Flight } from './flight.js'
import { hasPiece, offerOf, type SupplierOffer } from './offers.js'
import type { Wish } from './plan.js'
import type { WasteBudget } from './waste.js'

/** What the pump and the rescue look at and act upon; owned by the fetcher of one space. */
export interface Crew {
  readonly space: PieceSpace
  readonly flights: ReadonlyMap<number, Flight>
  readonly carriers: Carriers
  readonly waste: WasteBudget
  /** Those that may be asked, whatever for. */
  suppliers(): readonly Supplier[]
}

/** What all suppliers offer at one moment. */
export class Market {
  readonly now: Milliseconds = performance.now()
  readonly offers: readonly SupplierOffer[]
  readonly #space: PieceSpace

  constructor(crew: Crew) {
    this.#space = crew.space
    const all = crew.suppliers()
    this.offers = all.map((supplier) => offerOf(supplier, all.length === 1, this.now))
  }

  /** Who may be asked for the flight's piece now. */
  able(flight: Flight): SupplierOffer[] {
    return this.offers.filter(
      ({ supplier }) => flight.mayAsk(supplier.source, this.now) && hasPiece(supplier, this.#space, flight.index),
    )
  }

  wish(flight: Flight, able: readonly SupplierOffer[]): Wish<SupplierOffer> {
    const space = this.#space
    const start = flight.index * space.pieceLength
    return {
      index: flight.index,
      size: Math.min(space.pieceLength, space.length - start),
      urgency: flight.urgency,
      waited: flight.carriers.size === 0 ? flight.waited() : 0,
      able,
      joins: ({ supplier }) => !flight.hasFailed(supplier.source),
    }
  }
}
