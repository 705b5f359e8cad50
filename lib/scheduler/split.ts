import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'

/** A source that could bring part of a piece. */
export interface Helper {
  readonly latency: Milliseconds
  /** Bytes per second that it has left. */
  readonly rate: number
  readonly unit: Bytes
}

export interface Part<H> {
  readonly helper: H
  readonly range: ByteRange
}

/** Smaller parts are not worth a request. */
export const LEAST_PART: Bytes = 64 * 1024
/** The whole piece from one source must take this much longer than in parts. */
const WORTH = 1.5
const LEAST_GAIN: Milliseconds = 20
const MOST_PARTS = 8

/**
 * Divides `range`, a piece that somebody waits for, among `helpers` so that all have finished at the same time; ranges
 * are in order and cover it. Undefined when that is not clearly faster than the best alone.
 */
export function split<H extends Helper>(range: ByteRange, helpers: readonly H[]): Part<H>[] | undefined {
  const size = range.end - range.start
  const takes = (one: H, bytes: Bytes): Milliseconds => one.latency + (bytes * 1000) / one.rate
  const sorted = helpers.toSorted((a, b) => takes(a, size) - takes(b, size)).slice(0, MOST_PARTS)
  const [best] = sorted
  if (best === undefined) return undefined
  const alone = takes(best, size)
  for (let count = Math.min(sorted.length, Math.floor(size / LEAST_PART)); count > 1; count--) {
    const some = sorted.slice(0, count)
    const shares = sharesOf(size, some)
    if (shares === undefined) continue
    const slowest = Math.max(...some.map((one, i) => takes(one, shares[i] ?? 0)))
    if (slowest * WORTH > alone || alone - slowest < LEAST_GAIN) return undefined
    let at = range.start
    return some.map((helper, i) => {
      const end = i === some.length - 1 ? range.end : at + (shares[i] ?? 0)
      const part = { helper, range: { start: at, end } }
      at = end
      return part
    })
  }
  return undefined
}

/** Bytes for each; undefined when one of them would get too little to be asked. */
function sharesOf(size: Bytes, helpers: readonly Helper[]): Bytes[] | undefined {
  const rates = helpers.reduce((sum, one) => sum + one.rate / 1000, 0)
  const head = helpers.reduce((sum, one) => sum + (one.latency * one.rate) / 1000, 0)
  const together = (size + head) / rates
  const shares: Bytes[] = []
  let left = size
  for (const [i, one] of helpers.entries()) {
    const least = Math.max(LEAST_PART, one.unit)
    const exact = ((together - one.latency) * one.rate) / 1000
    const share = i === helpers.length - 1 ? left : Math.round(exact / least) * least
    if (share < least) return undefined
    shares.push(share)
    left -= share
  }
  return shares
}
