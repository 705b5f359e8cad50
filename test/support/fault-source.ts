import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, AnnexfsError } from '../../lib/errors.js'
import type { Demand, Holding, Source } from '../../lib/sources/source.js'
import type { ByteRange } from '../../lib/space/space.js'
import { randomOf } from './memory.js'

/** How often each thing happens, of all reads: from 0 to 1. What is not named does not. */
export interface FaultRates {
  /** An error before the first byte. */
  readonly error?: number
  /** An error after some bytes. */
  readonly cutOff?: number
  /** A pause before the answer, of up to `longestDelay`. */
  readonly delay?: number
  /** Nothing at all, until the reader gives up. */
  readonly hang?: number
  /** Fewer bytes than were asked, without an error. */
  readonly short?: number
  /** More bytes than were asked. */
  readonly long?: number
  /** One byte is another. */
  readonly wrong?: number
  /** It cannot be asked whether it has the content. */
  readonly find?: number
}

export interface FaultOptions extends FaultRates {
  readonly seed: number
  /** Milliseconds; default 20. */
  readonly longestDelay?: number
}

export interface FaultySource extends Source {
  /** How often each fault happened. */
  readonly faults: Map<keyof FaultRates, number>
}

/** A source that fails now and then, as a repeatable schedule from a seed says. */
export function faultSource(source: Source, options: FaultOptions): FaultySource {
  const random = randomOf(options.seed)
  const faults = new Map<keyof FaultRates, number>()
  const happens = (what: keyof FaultRates): boolean => {
    if (random() >= (options[what] ?? 0)) return false
    faults.set(what, (faults.get(what) ?? 0) + 1)
    return true
  }
  const read = async function* (
    holding: Holding,
    range: ByteRange,
    demand: Demand,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const length = range.end - range.start
    // Drawn at once, so that the schedule does not depend on how the bytes come.
    const [fails, cut, slow, hangs] = [happens('error'), happens('cutOff'), happens('delay'), happens('hang')]
    const [short, long, wrong] = [happens('short'), happens('long'), happens('wrong')]
    const [place, wait] = [random(), random() * (options.longestDelay ?? 20)]
    const fault = Math.floor(place * length)
    if (slow) await pause(wait, demand.signal)
    if (fails) throw new AnnexfsError('UNAVAILABLE', 'connection refused')
    if (hangs) await forever(demand.signal)
    let at = 0
    for await (const chunk of holding.read(range, demand)) {
      let bytes = chunk
      const inside = fault >= at && fault < at + chunk.byteLength
      if (inside && cut) throw new AnnexfsError('UNAVAILABLE', 'connection reset')
      if (inside && short) {
        yield chunk.subarray(0, fault - at)
        return
      }
      if (inside && wrong) {
        bytes = Buffer.from(chunk)
        bytes[fault - at] = (bytes[fault - at] ?? 0) ^ 0x10
      }
      at += chunk.byteLength
      yield bytes
    }
    if (long) yield Buffer.alloc(1 + fault, 'x')
  }
  return {
    ...source,
    faults,
    find: async (space, signal) => {
      if (happens('find')) throw new AnnexfsError('UNAVAILABLE', 'no route to host')
      const holding = await source.find(space, signal)
      if (holding === undefined) return undefined
      return { ...holding, read: (range, demand) => read(holding, range, demand) }
    },
  }
}

async function pause(duration: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(duration, undefined, { signal })
  } catch {
    // Only the signal ends a sleep early.
    throw abortError(signal)
  }
}

function forever(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const stop = (): void => reject(abortError(signal))
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
}
