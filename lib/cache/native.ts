import { createRequire, Module } from 'node:module'

/** What we use of fs-native-extensions, which carries no types: open file description locks and hole punching. */
export interface NativeFiles {
  /** Locks the whole file for this open file description; false when another one holds a lock in the way. */
  tryLock(fd: number, options?: { readonly shared?: boolean }): boolean
  unlock(fd: number): void
  /** Punches a hole: the range reads as zeros afterwards and takes no room. */
  trim(fd: number, offset: number, length: number): Promise<void>
}

const require = createRequire(import.meta.url)
const PACKAGE = 'fs-native-extensions'

placeBinding()
export const native = require(PACKAGE) as NativeFiles

/** The package has another one, of twenty files, find its binary: that takes a tenth of a start, for it lies beside it. */
function placeBinding(): void {
  try {
    const place = require.resolve(`${PACKAGE}/binding`)
    const binding = new Module(place)
    binding.exports = require(`${PACKAGE}/prebuilds/${process.platform}-${process.arch}/${PACKAGE}.node`)
    binding.loaded = true
    require.cache[place] ??= binding
  } catch {
    // It is somewhere else, or nowhere: the package finds it, or says so.
  }
}
