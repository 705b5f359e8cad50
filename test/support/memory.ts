import type { CachedSpace } from '../../lib/cache/store.js'
import type { Demand, Holding, Source } from '../../lib/sources/source.js'
import { pieceCount, pieceSize, type ByteRange, type PieceSpace, type SpaceId } from '../../lib/space/space.js'
import type { Piece } from '../../lib/verify/piece.js'

/** Bytes that differ everywhere, from a seed: mulberry32. */
export function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(Math.ceil(length / 4) * 4)
  const random = randomOf(seed)
  for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(Math.floor(random() * 2 ** 32), i)
  return bytes.subarray(0, length)
}

/** A repeatable source of numbers in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export function spaceOf(bytes: Uint8Array, pieceLength: number, id = 'key:test'): PieceSpace {
  return { id: id as SpaceId, length: bytes.byteLength, pieceLength }
}

/** What a source in memory was asked. */
export interface Asked {
  readonly ranges: ByteRange[]
  /** Most reads at the same time. */
  most: number
  running: number
  aborted: number
}

export interface MemorySourceOptions {
  readonly name?: string
  readonly cost?: number
  readonly chunk?: number
  readonly parallel?: number
  readonly longest?: number
  /** Called before each chunk; may wait or throw. */
  readonly before?: (range: ByteRange, given: number, demand: Demand) => Promise<void> | void
  readonly find?: () => Promise<boolean>
}

/** A source over bytes in memory that notes what it is asked. */
export function memorySource(bytes: Uint8Array, options: MemorySourceOptions = {}): Source & { asked: Asked } {
  const asked: Asked = { ranges: [], most: 0, running: 0, aborted: 0 }
  const holding: Holding = {
    unit: 1,
    longest: options.longest ?? 8 * 1024 * 1024,
    parallel: options.parallel ?? 4,
    has: (range) => range.end <= bytes.byteLength,
    async *read(range, demand) {
      asked.ranges.push(range)
      asked.running += 1
      asked.most = Math.max(asked.most, asked.running)
      try {
        for (let at = range.start; at < range.end;) {
          await options.before?.(range, at - range.start, demand)
          if (demand.signal.aborted) {
            asked.aborted += 1
            demand.signal.throwIfAborted()
          }
          const end = Math.min(range.end, at + (options.chunk ?? 16 * 1024))
          yield bytes.subarray(at, end)
          at = end
        }
      } finally {
        asked.running -= 1
      }
    },
  }
  return {
    name: options.name ?? 'memory',
    cost: options.cost ?? 200,
    asked,
    find: async () => ((await options.find?.()) === false ? undefined : holding),
  }
}

/** A cache without a bound, in memory. */
export function memoryCache(space: PieceSpace): CachedSpace & { readonly pieces: Map<number, Piece> } {
  const pieces = new Map<number, Piece>()
  const cachedIn = (start: number, end: number): number => {
    let bytes = 0
    for (const index of pieces.keys()) {
      const from = index * space.pieceLength
      bytes += Math.max(0, Math.min(end, from + pieceSize(space, index)) - Math.max(start, from))
    }
    return bytes
  }
  return {
    space,
    pieces,
    has: (index) => pieces.has(index),
    readSync: (index, start, end, into) => {
      const piece = pieces.get(index)
      if (piece === undefined) return 'miss'
      into.set(piece.bytes.subarray(start, end))
      return 'hit'
    },
    read: async (index, start, end) => pieces.get(index)?.bytes.subarray(start, end),
    put: async (piece) => {
      // Its bytes are somebody else's afterwards.
      pieces.set(piece.index, { ...piece, bytes: Uint8Array.from(piece.bytes) })
      return true
    },
    summary: () => ({
      cachedBytes: cachedIn(0, space.length),
      complete: pieces.size === pieceCount(space),
      assurance: pieces.size === 0 ? 'none' : 'pending',
    }),
    cachedIn,
    states: (from, to) => Uint8Array.from({ length: to - from }, (_, n) => (pieces.has(from + n) ? 1 : 0)),
    markWhole: async () => undefined,
    drop: async () => pieces.clear(),
    close: () => undefined,
  }
}
