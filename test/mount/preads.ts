import assert from 'node:assert/strict'
import { open, type FileHandle } from 'node:fs/promises'
import { randomOf } from '../support/memory.js'
import { within } from '../support/session.js'

/** A file of the mount and the file whose bytes it must have. */
export interface Pair {
  readonly mounted: string
  readonly source: string
  readonly size: number
}

export interface PreadOptions {
  readonly seed: number
  readonly count: number
  /** Reads at the same time. Default 6. */
  readonly parallel?: number
  /** What a read may fail with without being wrong; default: nothing. */
  readonly mayFail?: (error: unknown) => boolean
}

/** The longest read: more than one request of the kernel. */
const LONGEST = 300_000

/**
 * Random preads of random files, each compared with the source. Positions gather around the start, the end, and the
 * powers of two; lengths are mostly small, and reach over the end.
 * @returns how many reads gave bytes.
 */
export async function randomPreads(pairs: readonly Pair[], options: PreadOptions): Promise<number> {
  const random = randomOf(options.seed)
  const open = await openAll(pairs)
  let left = options.count
  let good = 0
  const reader = async (): Promise<void> => {
    const [own, right] = [Buffer.alloc(LONGEST), Buffer.alloc(LONGEST)]
    while (left-- > 0) {
      const file = open[Math.floor(random() * open.length)]
      if (file === undefined) return
      const { offset, length } = place(file.pair.size, random)
      const what = `seed ${options.seed}: ${length} bytes at ${offset} of ${file.pair.mounted}`
      const wanted = Math.max(0, Math.min(length, file.pair.size - offset))
      // A read as a program makes it may be short only at the end of the file, so one call must do.
      let result
      try {
        result = await within(60_000, what, file.mounted.read(own, 0, length, offset))
      } catch (error) {
        if (options.mayFail?.(error) === true) continue
        throw new Error(`${what}: ${String(error)}`, { cause: error })
      }
      assert.equal(result.bytesRead, wanted, what)
      for (let at = 0; at < wanted;) at += (await file.source.read(right, at, wanted - at, offset + at)).bytesRead
      if (own.compare(right, 0, wanted, 0, wanted) !== 0) assert.fail(`${what}: wrong bytes`)
      good += 1
    }
  }
  try {
    await Promise.all(Array.from({ length: options.parallel ?? 6 }, reader))
  } finally {
    await Promise.all(open.flatMap((file) => [file.mounted.close(), file.source.close()]))
  }
  return good
}

interface OpenPair {
  readonly pair: Pair
  readonly mounted: FileHandle
  readonly source: FileHandle
}

async function openAll(pairs: readonly Pair[]): Promise<OpenPair[]> {
  return Promise.all(
    pairs.map(async (pair) => ({
      pair,
      mounted: await within(30_000, `opening ${pair.mounted}`, open(pair.mounted)),
      source: await open(pair.source),
    })),
  )
}

const SPREAD = 3_000_000

function place(size: number, random: () => number): { offset: number; length: number } {
  const length = random() < 0.7 ? 1 + Math.floor(random() * 9_000) : 1 + Math.floor(random() * (LONGEST - 1))
  const anchors = [0, size, 2 ** 17, 2 ** 18, 2 ** 31, 2 ** 32].filter((anchor) => anchor <= size)
  const anchor = anchors[Math.floor(random() * anchors.length)] ?? 0
  const offset = size <= SPREAD ? Math.floor(random() * (size + 1)) : anchor + Math.floor((random() - 0.5) * SPREAD)
  return { offset: Math.max(0, Math.min(size, offset)), length }
}
