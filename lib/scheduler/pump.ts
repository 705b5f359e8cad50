import { pieceRange, pieceSize, type Milliseconds } from '../space/space.js'
import type { FetchBudget } from './budget.js'
import type { Carrier } from './carrier.js'
import { byUrgency } from './choose.js'
import { Market, type Crew } from './crew.js'
import type { Flight } from './flight.js'
import { hasPiece, type SupplierOffer } from './offers.js'
import { isAlike, plan, type Start, type Wish } from './plan.js'
import { LEAST_PART, split } from './split.js'
import { cutAt } from './steal.js'

/** A place that was never measured is asked for a piece that another brings, at most this often. */
const PROBE_EVERY: Milliseconds = 30_000
/** What a slow source is expected to do may be wrong: while others cannot keep up it gets a piece this often. */
const TRY_EVERY: Milliseconds = 1_000
/** A source is idle when what it was asked for will have come in this time. */
const IDLE_WITHIN: Milliseconds = 20
/** Dearer sources take from a cheaper one only what would come later than this. */
const SPARED_FOR: Milliseconds = 1_000

export interface Pumped {
  /** Pieces that no source may be asked for now. */
  readonly orphans: readonly Flight[]
  /** Whether some piece waits for a source that is busy. */
  readonly waiting: boolean
}

/** Starts what can be started now: pieces that wait, then what an idle source would bring sooner than a slow one. */
export function pump(crew: Crew, budget: FetchBudget, onFreed: () => void): Pumped {
  const orphans: Flight[] = []
  const wishes: Wish<SupplierOffer>[] = []
  const queued = [...crew.flights.values()].filter((flight) => flight.carriers.size === 0 && flight.isWanted)
  if (queued.length === 0 && crew.suppliers().length < 2) return { orphans, waiting: false }
  const market = new Market(crew)
  for (const flight of queued.sort(byUrgency)) {
    const able = market.able(flight)
    if (able.length === 0) orphans.push(flight)
    else wishes.push(market.wish(flight, able))
  }
  const used = new Set<SupplierOffer>()
  let started = 0
  for (const start of plan(wishes)) {
    const [first] = start.run
    if (first === undefined) continue
    if (start.urgency !== 'read' && !budget.allows(pieceSize(crew.space, first))) {
      budget.whenFreed(onFreed)
      break
    }
    started += begin(crew, market, start)
    used.add(start.offer)
  }
  if (market.offers.length > 1) {
    const idle = market.offers.filter((one) => !used.has(one) && isIdle(one))
    for (const offer of idle) {
      if (started < wishes.length) started += tryWith(crew, market, offer, wishes)
      else stealFor(crew, offer, market.now)
    }
  }
  return { orphans, waiting: started < wishes.length }
}

/** Starts one request, or several for parts of one piece. @returns how many pieces are on their way now. */
function begin(crew: Crew, market: Market, { offer, run, urgency }: Start<SupplierOffer>): number {
  const [first] = run
  const flight = first === undefined ? undefined : crew.flights.get(first)
  if (flight === undefined) return 0
  if (urgency === 'read') {
    const parts = partsOf(crew, market, flight, offer)
    if (parts !== undefined) {
      crew.carriers.startParts(flight.index, parts)
      return 1
    }
  }
  crew.carriers.start(offer.supplier, run, urgency)
  if (urgency === 'read') probe(crew, market, flight, offer)
  return run.length
}

function partsOf(
  crew: Crew,
  market: Market,
  flight: Flight,
  chosen: SupplierOffer,
): ReturnType<typeof split<SupplierOffer>> {
  const range = pieceRange(crew.space, flight.index)
  if (flight.alone || range.end - range.start < 2 * LEAST_PART || market.offers.length < 2) return undefined
  const helpers = market
    .able(flight)
    .filter(
      (one) =>
        one.known &&
        !one.whole &&
        !one.resting &&
        one.supplier.holding.piece === undefined &&
        !flight.hasFailed(one.supplier.source) &&
        one.active < one.parallel &&
        isAlike(one.cost, chosen.cost),
    )
    .map((one) => ({ ...one, rate: one.rate / (one.active + 1) }))
  return helpers.some((one) => one.supplier === chosen.supplier) ? split(range, helpers) : undefined
}

/** Asks a source that nobody knows for the same piece, within what may be wasted: it may be the better one. */
function probe(crew: Crew, market: Market, flight: Flight, chosen: SupplierOffer): void {
  if (market.offers.length < 2) return
  const size = pieceSize(crew.space, flight.index)
  for (const other of market.able(flight)) {
    const { place } = other.supplier
    if (other === chosen || other.known || other.whole || other.resting || place.active > 0) continue
    if (!isAlike(other.cost, chosen.cost) || place === chosen.supplier.place) continue
    const cost = Math.max(size, other.unit)
    if (market.now - place.probedAt < PROBE_EVERY || !crew.waste.allows(cost)) continue
    place.probedAt = market.now
    crew.waste.spend(cost)
    flight.spent += cost
    crew.carriers.start(other.supplier, [flight.index], 'read')
    return
  }
}

/** Gives an idle source the piece that is wanted last, of those that nobody else has time for now. */
function tryWith(crew: Crew, market: Market, offer: SupplierOffer, wishes: readonly Wish<SupplierOffer>[]): number {
  const { place, source } = offer.supplier
  const last = wishes.at(-1)
  if (offer.active > 0 || market.now - place.lastAsked < TRY_EVERY) return 0
  if (last === undefined || last.urgency === 'read' || !last.able.includes(offer)) return 0
  if (!last.able.every((one) => isAlike(offer.cost, one.cost))) return 0
  const flight = crew.flights.get(last.index)
  if (flight === undefined || flight.carriers.size > 0 || flight.hasFailed(source)) return 0
  crew.carriers.start(offer.supplier, [last.index], last.urgency)
  return 1
}

function isIdle({ active, parallel, outstanding, rate, resting, whole }: SupplierOffer): boolean {
  return !resting && !whole && active < parallel && (outstanding * 1000) / rate < IDLE_WITHIN
}

/** Lets an idle source take over the end of the run that would take longest. */
function stealFor(crew: Crew, thief: SupplierOffer, now: Milliseconds): void {
  let best: { readonly carrier: Carrier; readonly keeps: number; readonly ends: Milliseconds } | undefined
  for (const carrier of crew.carriers) {
    const { left } = carrier
    const last = left.at(-1)
    if (last === undefined || left.length < 2 || carrier.part !== undefined) continue
    if (carrier.supplier.place === thief.supplier.place) continue
    const ends = carrier.remaining(last, now)
    if (best !== undefined && ends <= best.ends) continue
    if (!isAlike(thief.cost, carrier.supplier.cost) && ends < SPARED_FOR) continue
    const { rate } = carrier.underway(last, now)
    const sizes = left.map((index) => pieceSize(crew.space, index))
    const moving = (sizes.reduce((sum, size) => sum + size, -carrier.unfinished) * 1000) / rate
    sizes[0] = Math.max(1, (sizes[0] ?? 1) - carrier.unfinished)
    const wait = Math.max(0, ends - moving)
    const keeps = cutAt({ sizes, rate, wait, idleLatency: thief.latency, idleRate: thief.rate })
    if (keeps === undefined || !left.slice(keeps).every((index) => mayTake(crew, thief, index, now))) continue
    best = { carrier, keeps, ends }
  }
  if (best === undefined) return
  const pieces = crew.carriers.cut(best.carrier, best.keeps)
  const run: number[] = []
  let bytes = 0
  for (const index of pieces) {
    bytes += pieceSize(crew.space, index)
    if (run.length > 0 && bytes > thief.run) break
    run.push(index)
  }
  const [first] = run
  if (first !== undefined) {
    crew.carriers.start(thief.supplier, run, crew.flights.get(first)?.urgency ?? 'readahead')
  }
}

function mayTake(crew: Crew, { supplier }: SupplierOffer, index: number, now: Milliseconds): boolean {
  const flight = crew.flights.get(index)
  // Nobody wants it any more, or somebody else brings it too: then the run is not what it seems.
  if (flight === undefined || flight.carriers.size !== 1 || !flight.isWanted) return false
  return (
    !flight.hasFailed(supplier.source) && flight.mayAsk(supplier.source, now) && hasPiece(supplier, crew.space, index)
  )
}
