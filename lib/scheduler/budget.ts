import type { Bytes } from '../space/space.js'

/**
 * Bounds the bytes of all pieces being fetched ahead at once, over all files, so that memory does not grow with the
 * number of open files. A read that someone waits for is always let through.
 */
export interface FetchBudget {
  /** True when `bytes` more may be fetched ahead now. */
  allows(bytes: Bytes): boolean
  take(bytes: Bytes): void
  give(bytes: Bytes): void
  /** Calls `callback` once, when some bytes were given back. */
  whenFreed(callback: () => void): void
}

export function fetchBudget(limit: Bytes): FetchBudget {
  let taken = 0
  let waiting: (() => void)[] = []
  return {
    allows: (bytes) => taken === 0 || taken + bytes <= limit,
    take: (bytes) => {
      taken += bytes
    },
    give: (bytes) => {
      taken -= bytes
      const woken = waiting
      waiting = []
      for (const wake of woken) wake()
    },
    whenFreed: (callback) => {
      if (!waiting.includes(callback)) waiting.push(callback)
    },
  }
}
