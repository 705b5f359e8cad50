import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, throwIfAborted } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Holding, Source } from '../sources/source.js'
import type { ObjectStore, StoredObject } from './store.js'

/** After a pause this much of a second's bytes may come at once. */
const BURST: Milliseconds = 250
/** Long enough for a timer to keep, short enough that the flow looks even. */
const LARGEST_STEP: Bytes = 64 * 1024

/** A token bucket: at most so many bytes a second over all who share it, in the order in which they ask. */
export class Bandwidth {
  readonly #rate: Bytes
  /** When the last byte that was granted would have come at the rate, on `performance.now()`'s clock. */
  #paidUntil: Milliseconds = 0

  /** @param rate bytes a second, at least 1. */
  constructor(rate: Bytes) {
    this.#rate = Math.max(1, rate)
  }

  /** Returns when `bytes` more have been due. @throws AnnexfsError ABORTED, TIMED_OUT by the signal. */
  async take(bytes: Bytes, signal: AbortSignal): Promise<void> {
    throwIfAborted(signal)
    const now = performance.now()
    this.#paidUntil = Math.max(this.#paidUntil, now - BURST) + (bytes / this.#rate) * 1000
    const wait = this.#paidUntil - now
    if (wait <= 1) return
    try {
      await sleep(wait, undefined, { signal })
    } catch {
      // Only the signal ends it early.
      throw abortError(signal)
    }
  }

  /** `source`, not faster than the rate: whoever reads slowly holds the sender back. */
  async *flow(source: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      for (let at = 0; at < chunk.byteLength; at += LARGEST_STEP) {
        const part = chunk.subarray(at, at + LARGEST_STEP)
        await this.take(part.byteLength, signal)
        yield part
      }
    }
  }
}

/** `store`, all of whose objects together give no more than `bandwidth` (git-annex's `annex-bwlimit`). */
export function limitedStore(store: ObjectStore, bandwidth: Bandwidth): ObjectStore {
  return {
    open: async (name, signal) => {
      const object = await store.open(name, signal)
      return object === undefined ? undefined : limitedObject(object, bandwidth)
    },
    close: async () => store.close?.(),
  }
}

function limitedObject(object: StoredObject, bandwidth: Bandwidth): StoredObject {
  return {
    closedUntil: () => object.closedUntil?.() ?? 0,
    unit: object.unit,
    longest: object.longest,
    parallel: object.parallel,
    ...(object.whole === undefined ? {} : { whole: object.whole }),
    ...(object.size === undefined ? {} : { size: object.size }),
    version: object.version,
    read: (range, demand) => bandwidth.flow(object.read(range, demand), demand.signal),
    all: (most, demand) => bandwidth.flow(object.all(most, demand), demand.signal),
    close: () => object.close?.(),
  }
}

/** `source`, all reads of which together give no more than `bandwidth`. */
export function limitedSource(source: Source, bandwidth: Bandwidth): Source {
  return {
    ...source,
    find: async (space, signal) => {
      const holding = await source.find(space, signal)
      return holding === undefined ? undefined : limitedHolding(holding, bandwidth)
    },
  }
}

function limitedHolding(holding: Holding, bandwidth: Bandwidth): Holding {
  return {
    unit: holding.unit,
    longest: holding.longest,
    parallel: holding.parallel,
    version: holding.version,
    closedUntil: () => holding.closedUntil?.() ?? 0,
    has: (range) => holding.has(range),
    read: (range, demand) => bandwidth.flow(holding.read(range, demand), demand.signal),
  }
}
