import type { ByteRange } from '../space/space.js'

/** More gaps than this are no more told apart: the set then merely covers less. */
const MOST_RANGES = 10_000

/** The union of ranges. */
export class RangeSet {
  /** Sorted, apart from each other. */
  #ranges: ByteRange[] = []

  add(range: ByteRange): void {
    let { start, end } = range
    if (start >= end) return
    const apart = this.#ranges.filter((other) => {
      if (other.end < start || other.start > end) return true
      start = Math.min(start, other.start)
      end = Math.max(end, other.end)
      return false
    })
    if (apart.length >= MOST_RANGES) return
    const at = apart.findIndex((other) => other.start > end)
    apart.splice(at < 0 ? apart.length : at, 0, { start, end })
    this.#ranges = apart
  }

  covers(range: ByteRange): boolean {
    return range.start >= range.end || this.#ranges.some(({ start, end }) => start <= range.start && range.end <= end)
  }
}
