import { nativeExports, type NativeExports } from '../native/part.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds } from '../space/space.js'

/** What our own native part does beside serving mounts with threads that stay. Handles are those of open files. */
export interface NativePart {
  /** Lets reads of an open file of `size` bytes be answered without us. False when that cannot be. */
  grant(handle: number, size: Bytes, direct: DirectRead): boolean
  /** From now on its reads come to us again; what was read before can still be collected, until {@link revoke}. */
  end(handle: number): void
  revoke(handle: number): void
  /** Calls `noted` for each read that was answered without us since it was asked last; `at` is of `performance.now()`. */
  collect(handle: number, noted: (offset: Bytes, length: Bytes, at: Milliseconds) => void): number
  /** Reads that were answered without us since the start. */
  served(): number
  /** Lets the attributes of `path` be ours again, which were given along with a listing. */
  forget(mount: number, path: string): void
}

let made: { readonly part: NativePart | undefined } | undefined

/** What serves mounts with it; undefined where there is none. To be called before fuse-native is loaded. */
export function nativePart(): NativePart | undefined {
  if (made === undefined) {
    const exports = nativeExports()
    made = { part: exports === undefined ? undefined : partOf(exports) }
  }
  return made.part
}

/** Reads that are collected in one call; as many as a file may have noted (reads.c). */
const NOTES = 512

function partOf({ grant, end, revoke, collect, served, forget }: NativeExports): NativePart {
  const notes = new Float64Array(NOTES * 3)
  // Both clocks are the system's monotonic one; only where they begin differs.
  const epoch = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return {
    grant: (handle, size, { from, start }) =>
      grant(handle, from.data, from.kind === 'file' ? -1 : from.index, layoutOf(size, from, start)) === 1,
    end,
    revoke,
    collect: (handle, noted) => {
      const count = collect(handle, notes)
      for (let nth = 0; nth < count * 3; nth += 3) {
        noted(notes[nth] ?? 0, notes[nth + 1] ?? 0, (notes[nth + 2] ?? 0) - epoch)
      }
      return count
    },
    served,
    forget,
  }
}

/** In the order of reads.c. */
function layoutOf(size: Bytes, from: DirectRead['from'], start: Bytes): Float64Array {
  if (from.kind === 'file') return Float64Array.of(size, start, from.size, 0, 0, 0, 0, 0, 0, from.mtime)
  const { length, pieceLength, stride, recordsAt, sumsAt, blocks, seed } = from
  return Float64Array.of(size, start, length, pieceLength, stride, recordsAt, sumsAt, blocks, seed, 0)
}
