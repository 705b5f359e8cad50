import type { Bytes, Milliseconds, Urgency } from '../space/space.js'

/** Which piece is asked of which source now: a pure decision over what is wanted and what the sources offer. */

/** What the plan must know of one source at this moment. */
export interface Offer {
  readonly cost: number
  /** It gives the whole content only. */
  readonly whole: boolean
  /** It has failed lately, or asked to be left alone. */
  readonly resting: boolean
  /** Whether it was ever measured. */
  readonly known: boolean
  readonly latency: Milliseconds
  /** Bytes per second, all its transfers together. */
  readonly rate: number
  /** Bytes asked of it that have not come. */
  readonly outstanding: Bytes
  /** Requests under way, and how many it takes gladly. */
  readonly active: number
  readonly parallel: number
  /** The least that a read costs. */
  readonly unit: Bytes
  /** The most to ask in one request. */
  readonly run: Bytes
  /** What it has brought so far: among equals the one that has done least goes first. */
  readonly served: Bytes
}

export interface Wish<O> {
  readonly index: number
  readonly size: Bytes
  readonly urgency: Urgency
  /** How long somebody has waited for it, when nobody is asked for it now. */
  readonly waited?: Milliseconds
  /** The sources that may be asked for it. */
  readonly able: readonly O[]
  /** Those of them that it may be asked of in one request with its left neighbour. */
  joins(offer: O): boolean
}

export interface Start<O> {
  readonly offer: O
  readonly run: readonly number[]
  readonly urgency: Urgency
}

/** A waiting read may use this many transfers above what a source takes gladly, so that readahead never blocks it. */
export const EXTRA_FOR_READS = 2
/** Of a source that was never measured, while there are others. */
const LANES_OF_UNKNOWN = 2
/** Nothing more is asked of a source that has this much to do: another may have become better by then. */
const AHEAD: Milliseconds = 120
/** Costs within this ratio are alike: such sources share the work. Local paths and the network are not alike. */
const ALIKE = 1.5
/** Sources that are this many times dearer are asked only for what nobody else has. */
const FAR = 5
const LEAST_COST = 20
/** A dearer source is spared while a cheaper one is expected to bring the piece within this. */
const PATIENCE: Readonly<Record<Urgency, Milliseconds>> = { read: 250, readahead: 1_000, fill: 5_000 }
/** Sources that finish within this ratio are equally good, and the load is spread. */
const AS_GOOD: Readonly<Record<Urgency, number>> = { read: 1.1, readahead: 1.3, fill: 1.5 }
/** Pieces stay with their neighbours for this long: a request of its own costs something too. */
const JOINED: Readonly<Record<Urgency, Milliseconds>> = { read: 5, readahead: 100, fill: 250 }

class Desk<O extends Offer> {
  readonly offer: O
  /** When what it was asked for, and is going to be, will have come. */
  busyFor: Milliseconds
  active: number

  constructor(offer: O) {
    this.offer = offer
    this.busyFor = (offer.outstanding * 1000) / offer.rate
    this.active = offer.active
  }

  finish(size: Bytes, urgent: boolean): Milliseconds {
    const { latency, rate, unit } = this.offer
    const takes = (Math.max(size, unit) * 1000) / rate
    const inLine = Math.max(this.busyFor, latency) + takes
    // A request of its own does not wait in line, but shares the source's rate with the others.
    return urgent ? Math.min(inLine, latency + takes * (this.active + 1)) : inLine
  }

  take(size: Bytes): void {
    this.busyFor = Math.max(this.busyFor, 0) + (size * 1000) / this.offer.rate
  }

  room(urgent: boolean, alone: boolean): boolean {
    const { parallel, known, latency } = this.offer
    if (urgent) return this.active < parallel + EXTRA_FOR_READS
    if (this.active >= parallel) return false
    if (alone || this.active === 0) return true
    return this.busyFor <= latency + AHEAD && (known || this.active < LANES_OF_UNKNOWN)
  }
}

/**
 * The requests to start now for `wishes`, which are in order of urgency. Each piece goes to the source that is expected
 * to have brought it first, counting what went to that source before it; so a slow source only gets pieces that it brings
 * before a fast one would, and what a busy source is the best for waits for it.
 */
export function plan<O extends Offer>(wishes: readonly Wish<O>[]): Start<O>[] {
  const desks = new Map<O, Desk<O>>()
  const deskOf = (offer: O): Desk<O> => {
    const known = desks.get(offer)
    if (known !== undefined) return known
    const made = new Desk(offer)
    desks.set(offer, made)
    return made
  }
  const starts: Start<O>[] = []
  const open = new Map(wishes.map((wish) => [wish.index, wish]))
  for (const wish of wishes) {
    if (!open.delete(wish.index)) continue
    const urgent = wish.urgency === 'read'
    const able = wish.able.map(deskOf)
    const desk = choose(able, wish)
    if (desk === undefined) continue
    if (!desk.room(urgent, able.length === 1)) {
      desk.take(wish.size)
      continue
    }
    const run = [wish.index]
    let bytes = wish.size
    desk.active += 1
    desk.take(wish.size)
    for (let index = wish.index + 1; ; index++) {
      const next = open.get(index)
      if (next === undefined || bytes + next.size > desk.offer.run) break
      if (!next.able.includes(desk.offer) || !next.joins(desk.offer)) break
      const better = choose(next.able.map(deskOf), next)
      const slack = JOINED[next.urgency]
      if (better !== undefined && better !== desk) {
        const isUrgent = next.urgency === 'read'
        if (better.finish(next.size, isUrgent) + slack < desk.finish(next.size, false)) break
      }
      open.delete(index)
      run.push(index)
      bytes += next.size
      desk.take(next.size)
    }
    starts.push({ offer: desk.offer, run, urgency: wish.urgency })
  }
  return starts
}

/** Who would bring a piece soonest, and when, leaving out what else is wanted. */
export function soonest<O extends Offer>(
  wish: Wish<O>,
): { readonly offer: O; readonly finish: Milliseconds } | undefined {
  const desk = choose(
    wish.able.map((offer) => new Desk(offer)),
    wish,
  )
  return desk === undefined ? undefined : { offer: desk.offer, finish: desk.finish(wish.size, wish.urgency === 'read') }
}

/** Whether `cost` is not much more than `other`: such sources share the work. */
export function isAlike(cost: number, other: number): boolean {
  return cost < Math.max(LEAST_COST, other) * ALIKE
}

/** Whether `cost` is so much more than `other` that it is asked only for what nobody else has. */
export function isFar(cost: number, other: number): boolean {
  return cost >= Math.max(LEAST_COST, other) * FAR
}

/** The best desk for a piece, or undefined when it must wait for one. */
function choose<O extends Offer>(able: readonly Desk<O>[], wish: Wish<O>): Desk<O> | undefined {
  const urgent = wish.urgency === 'read'
  const { waited = 0 } = wish
  let left = able
  const prefer = (test: (desk: Desk<O>) => boolean): void => {
    const some = left.filter(test)
    if (some.length > 0) left = some
  }
  if (left.length > 1) {
    prefer((one) => !one.offer.resting)
    prefer((one) => !one.offer.whole)
    const cheapest = Math.min(...left.map((one) => one.offer.cost))
    prefer((one) => !isFar(one.offer.cost, cheapest))
    const alike = left.filter((one) => isAlike(one.offer.cost, cheapest))
    // What has taken longer than was expected will take as long again: those before it in line may never get done.
    const soon = Math.max(waited, Math.min(...alike.map((one) => one.finish(wish.size, urgent))))
    left = left.filter(
      (one) => alike.includes(one) || (soon > PATIENCE[wish.urgency] && one.finish(wish.size, urgent) * 2 < soon),
    )
    if (waited > PATIENCE[wish.urgency]) prefer((one) => one.room(urgent, false))
    // A lone read is no time for experiments.
    if (urgent) prefer((one) => one.offer.known)
  }
  if (urgent) left = left.filter((one) => one.room(true, false))
  if (left.length < 2) return left[0]
  const soon = Math.min(...left.map((one) => one.finish(wish.size, urgent)))
  const good = left.filter((one) => one.finish(wish.size, urgent) <= soon * AS_GOOD[wish.urgency])
  return good.reduce((best, one) => (isIdler(one, best) ? one : best))
}

function isIdler<O extends Offer>(a: Desk<O>, b: Desk<O>): boolean {
  if (a.active !== b.active) return a.active < b.active
  if (a.offer.served !== b.offer.served) return a.offer.served < b.offer.served
  return a.offer.cost < b.offer.cost
}
