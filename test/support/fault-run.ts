import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { openPieceStore } from '../../lib/cache/open.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { Reader } from '../../lib/reader/reader.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import { Places } from '../../lib/scheduler/places.js'
import type { PieceSpace } from '../../lib/space/space.js'
import { faultSource, type FaultRates, type FaultySource } from './fault-source.js'
import { bytesOf, memorySource, randomOf, spaceOf } from './memory.js'

export interface FaultRun {
  readonly seed: number
  readonly reads: number
  /** Whether pieces have hashes; without them no source may give wrong bytes of the right length. */
  readonly hashed: boolean
  /** For the cache. */
  readonly folder: string
}

export interface FaultRunResult {
  readonly right: number
  readonly failed: number
  /** How often each fault happened. */
  readonly faults: ReadonlyMap<string, number>
  /** Bytes that sources gave, per byte of pieces that were wanted for the first time. */
  readonly fetched: number
}

const PIECE = 16 * 1024
const LENGTH = 150 * PIECE + 1234
const LONGEST_READ = 48 * 1024
const READS_A_ROUND = 200
const READERS = 8
/** Smaller than the content: pieces are evicted and fetched again. */
const CACHE = 40 * PIECE
const DEADLINE = 10_000

/** One that is only slow and flaky, so that the bytes can be had, and three that do everything wrong. */
const FLAKY: FaultRates = { error: 0.03, cutOff: 0.02, delay: 0.2 }
const BAD: FaultRates = { error: 0.08, cutOff: 0.05, delay: 0.2, hang: 0.01, short: 0.02, find: 0.1 }
const WORSE: FaultRates = { ...BAD, long: 0.01, short: 0.03 }
const LYING: FaultRates = { wrong: 0.05, long: 0.01, delay: 0.3 }

/**
 * Reads through reader, scheduler and cache from sources that fail by a schedule, and compares each byte.
 * @throws AssertionError when any byte is wrong, a read is short, or fails without an error of ours.
 */
export async function faultRun({ seed, reads, hashed, folder }: FaultRun): Promise<FaultRunResult> {
  const random = randomOf(seed)
  const store = await openPieceStore({ folder, limitBytes: CACHE, minFreeBytes: 0, log: silentLog })
  const places = new Places()
  const faults = new Map<string, number>()
  let right = 0
  let failed = 0
  let fetched = 0
  let asked = 0
  try {
    for (let round = 0; right + failed < reads; round++) {
      const bytes = bytesOf(LENGTH, seed + round)
      const space = spaceFor(bytes, hashed, `key:${seed}-${round}`)
      const sources = sourcesFor(bytes, hashed, Math.floor(random() * 2 ** 31), round)
      const cache = store.open(space)
      const fetcher = new Fetcher({
        space,
        sources: async () => ({ sources, unusable: [] }),
        cache,
        budget: fetchBudget(64 * PIECE),
        places,
        log: silentLog,
        onBytes: (_source, count) => {
          fetched += count
        },
      })
      const readahead = round % 3 === 0 ? 0 : 20 * PIECE
      const readers = Array.from({ length: READERS }, async (_, n) => {
        const slice = { space, offset: 0, length: LENGTH }
        const reader = new Reader({ slice, cache, fetcher, readahead, log: silentLog })
        let next = 0
        for (let i = n; i < READS_A_ROUND; i += READERS) {
          // Some read on where they were, some go elsewhere.
          const offset = random() < 0.5 ? next : Math.floor(random() * (LENGTH + PIECE))
          const length = 1 + Math.floor(random() * LONGEST_READ)
          next = offset + length > LENGTH ? 0 : offset + length
          asked += Math.max(0, Math.min(length, LENGTH - offset))
          if (await isRight(reader, bytes, offset, length, `seed ${seed} round ${round}`)) right += 1
          else failed += 1
        }
        reader.close()
      })
      await Promise.all(readers)
      fetcher.close()
      await fetcher.idle()
      cache.close()
      for (const source of sources) {
        for (const [what, times] of source.faults) faults.set(what, (faults.get(what) ?? 0) + times)
      }
    }
  } finally {
    await store.close()
  }
  return { right, failed, faults, fetched: fetched / asked }
}

async function isRight(reader: Reader, bytes: Buffer, offset: number, length: number, where: string): Promise<boolean> {
  const into = Buffer.alloc(length)
  let got: Buffer
  try {
    const result = await reader.read(offset, length, into, AbortSignal.timeout(DEADLINE))
    got = typeof result === 'number' ? into.subarray(0, result) : Buffer.from(result)
  } catch (error) {
    if (!isAnnexfsError(error)) throw error
    return false
  }
  assert.ok(got.equals(bytes.subarray(offset, offset + length)), `${where}: wrong bytes at ${offset}+${length}`)
  return true
}

function spaceFor(bytes: Buffer, hashed: boolean, id: string): PieceSpace {
  const space = spaceOf(bytes, PIECE, id)
  if (!hashed) return space
  const digest = (index: number): Buffer =>
    createHash('sha1')
      .update(bytes.subarray(index * PIECE, (index + 1) * PIECE))
      .digest()
  return { ...space, hashes: { algorithm: 'sha1', at: digest } }
}

function sourcesFor(bytes: Buffer, hashed: boolean, seed: number, round: number): FaultySource[] {
  const one = (name: string, cost: number, rates: FaultRates, n: number): FaultySource => {
    const source = memorySource(bytes, { name, cost, chunk: 5000, longest: 8 * PIECE })
    return faultSource(source, { ...rates, seed: seed + n })
  }
  const sources = [
    one('flaky', round % 2 === 0 ? 200 : 400, FLAKY, 1),
    one('bad', 200, BAD, 2),
    one('worse', 210, WORSE, 3),
  ]
  return hashed ? [...sources, one('lying', 150, LYING, 4)] : sources
}
