import { AnnexfsError } from '../errors.js'
import { pieceSize, type Milliseconds } from '../space/space.js'
import type { Carrier } from './carrier.js'
import { Market, type Crew } from './crew.js'
import type { Flight } from './flight.js'
import { isClosed } from './offers.js'
import { isFar, soonest } from './plan.js'

/** What a reader waits for is asked of a second source when that should take less than half of what is left. */
const WORTH = 2
/** Timers are no finer. */
const LEAST_GAIN: Milliseconds = 10
/** A request that has brought nothing for so long is not worth counting what a second one costs. */
const DEAD_AFTER: Milliseconds = 1_000
/** Before content is asked of a source that is far dearer or gives it only whole. */
const FAR_AFTER: Milliseconds = 2_000

/**
 * Looks after transfers that do not bring what they should: asks another source for what a reader waits for and is late,
 * leaves a source that wants to be left alone, gives up what the user's own limits call stalled.
 * @param onFailure told of transfers that were given up.
 */
export function rescue(crew: Crew, onFailure: (carrier: Carrier, error: unknown) => void): void {
  const market = new Market(crew)
  for (const carrier of crew.carriers) {
    leaveClosed(crew, market, carrier)
    giveUpStalled(carrier, market.now, onFailure)
  }
  for (const flight of crew.flights.values()) {
    if (flight.urgency === 'read' && flight.isWanted) hedge(crew, market, flight)
  }
}

function hedge(crew: Crew, market: Market, flight: Flight): void {
  const { now } = market
  const [carrier] = flight.carriers
  if (carrier === undefined || carrier.abort.signal.aborted) return
  const inParts = carrier.part !== undefined
  if (flight.carriers.size > 1 && !inParts) return
  if (inParts && [...flight.carriers].some((one) => one.part === undefined)) return
  const slowest = [...flight.carriers].reduce((a, b) =>
    a.remaining(flight.index, now) < b.remaining(flight.index, now) ? b : a,
  )
  const remaining = slowest.remaining(flight.index, now)
  const silent = now - slowest.lastProgress
  const others = market
    .able(flight)
    .filter(
      (one) =>
        one.supplier.place !== slowest.supplier.place &&
        (silent > DEAD_AFTER || !one.resting) &&
        (silent > FAR_AFTER || (!one.whole && !isFar(one.cost, slowest.supplier.cost))),
    )
  if (others.length === 0) return
  const best = soonest(market.wish(flight, others))
  if (best === undefined || remaining < WORTH * best.finish + LEAST_GAIN) return
  if (!best.offer.known && !slowest.isLate(flight.index, now)) return
  const cost = Math.max(pieceSize(crew.space, flight.index), best.offer.unit)
  const isDead = silent > DEAD_AFTER && slowest.unfinished === 0
  if (!isDead && !crew.waste.allows(cost)) return
  crew.waste.spend(cost)
  flight.spent += cost
  // What comes behind the piece in a slow run would only be late in its turn.
  const place = slowest.left.indexOf(flight.index)
  if (!inParts && place >= 0) crew.carriers.cut(slowest, place + 1)
  crew.carriers.start(best.offer.supplier, [flight.index], 'read')
}

function leaveClosed(crew: Crew, market: Market, carrier: Carrier): void {
  if (carrier.abort.signal.aborted || !isClosed(carrier.supplier, market.now)) return
  const [first] = carrier.left
  const flight = first === undefined ? undefined : crew.flights.get(first)
  if (flight === undefined) return
  if (market.able(flight).some((one) => one.supplier !== carrier.supplier && !one.resting && !one.whole)) {
    carrier.abort.abort()
  }
}

/** git-annex's `annex.stalldetection`: so many bytes within so much time, or it is given up. */
function giveUpStalled(
  carrier: Carrier,
  now: Milliseconds,
  onFailure: (carrier: Carrier, error: unknown) => void,
): void {
  const stall = carrier.supplier.source.limits?.stall
  if (stall === undefined || carrier.abort.signal.aborted || now - carrier.looked.at < stall.within) return
  const came = carrier.received - carrier.looked.received
  carrier.looked = { received: carrier.received, at: now }
  if (came >= stall.bytes) return
  const seconds = Math.round(stall.within / 1000)
  onFailure(
    carrier,
    new AnnexfsError('UNAVAILABLE', `it brought ${came} bytes in ${seconds} s, which counts as stalled`),
  )
  carrier.abort.abort()
}
