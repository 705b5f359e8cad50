import type { Bytes, Milliseconds } from '../space/space.js'

/** A request of its own, and what is lost of the one that is cut short, must be worth it. */
const LEAST_GAIN: Milliseconds = 40
const LEAST_SHARE = 0.25

/** What a slow transfer still has to bring, and who is idle. */
export interface Theft {
  /** Of the pieces that are still to come, in order; the first is under way. */
  readonly sizes: readonly Bytes[]
  /** Of the slow transfer, bytes per second. */
  readonly rate: number
  /** Until its next bytes come. */
  readonly wait: Milliseconds
  readonly idleLatency: Milliseconds
  readonly idleRate: number
}

/**
 * Where to cut a slow transfer's run so that it and an idle source have finished their parts soonest.
 * @returns how many pieces it keeps (at least the first), or undefined when cutting is not worth it.
 */
export function cutAt({ sizes, rate, wait, idleLatency, idleRate }: Theft): number | undefined {
  const all = sizes.reduce((sum, size) => sum + size, 0)
  const before = wait + (all * 1000) / rate
  let kept = 0
  let best: number | undefined
  let soonest = before - Math.max(LEAST_GAIN, before * LEAST_SHARE)
  for (const [index, size] of sizes.entries()) {
    kept += size
    if (index === sizes.length - 1) break
    const both = Math.max(wait + (kept * 1000) / rate, idleLatency + ((all - kept) * 1000) / idleRate)
    if (both >= soonest) continue
    soonest = both
    best = index + 1
  }
  return best
}
