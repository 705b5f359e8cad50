import type { Milliseconds, PieceSpace } from '../space/space.js'
import type { Supplier } from './candidates.js'
import { runBytes } from './choose.js'
import { expectedLatency, expectedRate, isKnown } from './expect.js'
import type { Offer } from './plan.js'

export interface SupplierOffer extends Offer {
  readonly supplier: Supplier
}

/** What a supplier offers now. `alone`: there is no other to share the work with. */
export function offerOf(supplier: Supplier, alone: boolean, now: Milliseconds): SupplierOffer {
  const { place, holding, cost, rest } = supplier
  const health = place.health(now)
  return {
    supplier,
    cost,
    whole: holding.whole === true,
    resting: rest.restsUntil > now || place.rests(now) || isClosed(supplier, now),
    known: isKnown(health),
    latency: expectedLatency(health, cost),
    rate: expectedRate(health, cost, now - place.lastBytes),
    outstanding: Math.max(0, place.outstanding),
    active: place.active,
    parallel: holding.parallel,
    unit: holding.unit,
    run: runBytes(holding, health, alone),
    served: place.served,
  }
}

/** Whether it has asked for some quiet. */
export function isClosed({ holding }: Supplier, now: Milliseconds): boolean {
  return (holding.closedUntil?.() ?? 0) > now
}

/** Whether it has the whole piece. */
export function hasPiece({ holding }: Supplier, space: PieceSpace, index: number): boolean {
  const start = index * space.pieceLength
  return holding.has({ start, end: Math.min(space.length, start + space.pieceLength) })
}
