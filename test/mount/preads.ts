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
  const mayFail = options.mayFail ?? ((): boolean => false)
  const open = await openAll(pairs, mayFail)
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
        if (mayFail(error)) continue
        throw new Error(`${what}: ${String(error)}`, { cause: error })
      }
      // A mount that dies in the middle of a read gives what it had, and the next read the error.
      const short = result.bytesRead < wanted && (await fails(file.mounted, offset + result.bytesRead, mayFail))
      if (!short) assert.equal(result.bytesRead, wanted, what)
      for (let at = 0; at < wanted;) at += (await file.source.read(right, at, wanted - at, offset + at)).bytesRead
      const got = result.bytesRead
      if (own.compare(right, 0, got, 0, got) !== 0) assert.fail(`${what}: wrong bytes`)
      if (!short) good += 1
    }
  }
  try {
    await Promise.all(Array.from({ length: options.parallel ?? 6 }, reader))
  } finally {
    await Promise.all(open.map((file) => closePair(file, mayFail)))
  }
  return good
}

async function fails(file: FileHandle, offset: number, mayFail: (error: unknown) => boolean): Promise<boolean> {
  try {
    await within(60_000, 'the rest of a read', file.read(Buffer.alloc(1), 0, 1, offset))
    return false
  } catch (error) {
    return mayFail(error)
  }
}

interface OpenPair {
  readonly pair: Pair
  readonly mounted: FileHandle
  readonly source: FileHandle
}

async function openAll(pairs: readonly Pair[], mayFail: (error: unknown) => boolean): Promise<OpenPair[]> {
  const opened: OpenPair[] = []
  for (const pair of pairs) {
    try {
      const mounted = await within(60_000, `opening ${pair.mounted}`, open(pair.mounted))
      opened.push({ pair, mounted, source: await open(pair.source) })
    } catch (error) {
      if (mayFail(error)) continue
      await Promise.all(opened.map((file) => closePair(file, mayFail)))
      throw error
    }
  }
  return opened
}

async function closePair(file: OpenPair, mayFail: (error: unknown) => boolean): Promise<void> {
  await file.source.close()
  try {
    await file.mounted.close()
  } catch (error) {
    if (!mayFail(error)) throw error
  }
}

const SPREAD = 3_000_000

function place(size: number, random: () => number): { offset: number; length: number } {
  const length = random() < 0.7 ? 1 + Math.floor(random() * 9_000) : 1 + Math.floor(random() * (LONGEST - 1))
  const anchors = [0, size, 2 ** 17, 2 ** 18, 2 ** 31, 2 ** 32].filter((anchor) => anchor <= size)
  const anchor = anchors[Math.floor(random() * anchors.length)] ?? 0
  const offset = size <= SPREAD ? Math.floor(random() * (size + 1)) : anchor + Math.floor((random() - 0.5) * SPREAD)
  return { offset: Math.max(0, Math.min(size, offset)), length }
}
