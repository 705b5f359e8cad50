import { createRequire } from 'node:module'

/** What we use of fs-native-extensions, which carries no types: open file description locks and hole punching. */
export interface NativeFiles {
  /** Locks the whole file for this open file description; false when another one holds a lock in the way. */
  tryLock(fd: number, options?: { readonly shared?: boolean }): boolean
  unlock(fd: number): void
  /** Punches a hole: the range reads as zeros afterwards and takes no room. */
  trim(fd: number, offset: number, length: number): Promise<void>
}

export const native = createRequire(import.meta.url)('fs-native-extensions') as NativeFiles
