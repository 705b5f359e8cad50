import type { Milliseconds } from '../space/space.js'
import { decodeRecord, PAGE, RECORD, TIME, type Geometry } from './format.js'
import type { SpaceFiles } from './space-files.js'

/** Times that could not be written are not kept for ever. */
const MOST = 65_536
const PER_PAGE = PAGE / TIME

/** When pieces of a space were last used, as far as that has not reached the disk yet. */
export class Recency {
  #used = new Map<number, Milliseconds>()

  constructor(readonly geometry: Geometry) {}

  get isEmpty(): boolean {
    return this.#used.size === 0
  }

  touch(index: number): void {
    this.#used.set(index, Date.now())
    if (this.#used.size > MOST) this.#used.clear()
  }

  usedAt(index: number): Milliseconds | undefined {
    return this.#used.get(index)
  }

  clear(): void {
    this.#used.clear()
  }

  /** Writes them, a page of them at a time, where the piece is still there. */
  async flush(files: SpaceFiles): Promise<void> {
    const used = this.#used
    this.#used = new Map()
    const pages = new Set([...used.keys()].map((index) => Math.floor(index / PER_PAGE)))
    for (const page of pages) {
      const from = page * PER_PAGE
      const to = Math.min(this.geometry.pieces, from + PER_PAGE)
      const times = await files.times(from, to)
      const records = await files.records(from, to)
      for (let index = from; index < to; index++) {
        const time = used.get(index)
        const there = decodeRecord(this.geometry, index, records, (index - from) * RECORD) !== undefined
        if (time !== undefined && there) times.writeDoubleLE(time, (index - from) * TIME)
      }
      await files.writeTimes(from, times)
    }
  }
}
