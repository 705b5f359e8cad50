import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../errors.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds } from '../space/space.js'

/** Where `npm run build` puts what it compiles of `native/`, for machines of this kind. */
export const NATIVE_FILE = fileURLToPath(
  new URL(`../../native/fuse-${process.platform}-${process.arch}.so`, import.meta.url),
)

/** What `native/module.c` gives. */
interface Exports {
  readonly grant: (handle: number, data: number, index: number, layout: Float64Array) => number
  readonly revoke: (handle: number) => void
  readonly collect: (handle: number, notes: Float64Array) => number
  readonly served: () => number
  readonly forget: (mount: number, path: string) => void
}

/** What our own native part does beside serving mounts with threads that stay. Handles are those of open files. */
export interface NativePart {
  /** Lets reads of an open file of `size` bytes be answered without us. False when that cannot be. */
  grant(handle: number, size: Bytes, direct: DirectRead): boolean
  /** From now on its reads come to us again. */
  revoke(handle: number): void
  /** Calls `noted` for each read that was answered without us since it was asked last; `at` is of `performance.now()`. */
  collect(handle: number, noted: (offset: Bytes, length: Bytes, at: Milliseconds) => void): number
  /** Reads that were answered without us since the start. */
  served(): number
  /** Lets the attributes of `path` be ours again, which were given along with a listing. */
  forget(mount: number, path: string): void
}

let loaded: { readonly part?: NativePart; readonly why?: string } | undefined

/**
 * Loads our native part: it makes fuse-native serve its mounts by threads that stay (native-notes.md), and answers
 * reads of what is cached. To be called before fuse-native is loaded.
 * @returns undefined when it cannot be used ({@link whyNoNativePart}): then libfuse's own loop is used, which is as right.
 */
export function nativePart(): NativePart | undefined {
  loaded ??= load()
  return loaded.part
}

export function whyNoNativePart(): string | undefined {
  loaded ??= load()
  return loaded.why
}

function load(): { readonly part?: NativePart; readonly why?: string } {
  if (!existsSync(NATIVE_FILE)) return { why: 'it was not compiled (no C compiler when annexfs was built)' }
  const module = { exports: {} as Exports }
  try {
    process.dlopen(module, NATIVE_FILE, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL)
    return { part: partOf(module.exports) }
  } catch (error) {
    return { why: reasonOf(error) }
  }
}

/** Reads that are collected in one call; as many as a file may have noted (reads.c). */
const NOTES = 512

function partOf({ grant, revoke, collect, served, forget }: Exports): NativePart {
  const notes = new Float64Array(NOTES * 3)
  // Both clocks are the system's monotonic one; only where they begin differs.
  const epoch = Number(process.hrtime.bigint()) / 1e6 - performance.now()
  return {
    grant: (handle, size, { from, start }) =>
      grant(handle, from.data, from.kind === 'file' ? -1 : from.index, layoutOf(size, from, start)) === 1,
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
