import { PerformanceObserver } from 'node:perf_hooks'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import type { Bytes } from './space/space.js'

/** Of both halves together; V8 would let them grow to 32 MiB, which a process then keeps. */
const MOST: Bytes = 8 * 1_048_576

/**
 * Keeps V8's young generation small: what lives long here lies outside of its heap, and what is young is short-lived, so that
 * more room for it saves little time. To be called once, by programs that run for long.
 */
export function boundYoungGeneration(): void {
  // It grows with collections only.
  const observer = new PerformanceObserver(() => {
    const young = getHeapSpaceStatistics().find((space) => space.space_name === 'new_space')
    if (young === undefined || young.space_size < MOST) return
    setFlagsFromString('--semi-space-growth-factor=1')
    observer.disconnect()
  })
  observer.observe({ entryTypes: ['gc'] })
}
