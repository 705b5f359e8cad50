import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'
import { reasonOf } from '../errors.js'

/** Where `npm run build` puts what it compiles of this folder, for machines of this kind. */
export const NATIVE_FILE = fileURLToPath(
  new URL(`../../native/annexfs-${process.platform}-${process.arch}.so`, import.meta.url),
)

/** What `module.c` gives. Handles are those of open files of a mount; descriptors are duplicated, or used until it is done. */
export interface NativeExports {
  /** See reads.c; `index` is -1 for a file that is read in place. 1 when it is granted. */
  readonly grant: (handle: number, data: number, index: number, layout: Float64Array) => number
  /** No read is answered any more; what was is still to be collected, until `revoke`. */
  readonly end: (handle: number) => void
  readonly revoke: (handle: number) => void
  /** Fills `notes` with reads, three numbers each, and says how many they are. */
  readonly collect: (handle: number, notes: Float64Array) => number
  readonly served: () => number
  /** See names.c. */
  readonly forget: (mount: number, path: string) => void
  /**
   * See store.c. `places`: where data, sums and records go, the first piece, the seed of the space, the stamp of each piece.
   * Resolves to 0 or an errno. Not there where Node.js gives no sums.
   */
  readonly store?: (
    data: number,
    index: number,
    places: Float64Array,
    pieces: readonly Uint8Array[],
    records: Uint8Array,
  ) => Promise<number>
}

let loaded: { readonly exports?: NativeExports; readonly why?: string } | undefined

/**
 * Our own native part (native-notes.md). To be called before fuse-native is loaded, so that its mounts are served by it.
 * @returns undefined when it cannot be used: everything works without it, only slower.
 */
export function nativeExports(): NativeExports | undefined {
  loaded ??= load()
  return loaded.exports
}

/** Why there is no native part; undefined when there is. */
export function whyNoNativePart(): string | undefined {
  loaded ??= load()
  return loaded.why
}

function load(): { readonly exports?: NativeExports; readonly why?: string } {
  if (process.env['ANNEXFS_NATIVE'] === 'off') return { why: 'the variable ANNEXFS_NATIVE says so' }
  if (!existsSync(NATIVE_FILE)) return { why: 'it was not compiled (no C compiler when annexfs was built)' }
  const module = { exports: {} as NativeExports }
  try {
    process.dlopen(module, NATIVE_FILE, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL)
    return { exports: module.exports }
  } catch (error) {
    return { why: reasonOf(error) }
  }
}
