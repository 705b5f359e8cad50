import { createRequire } from 'node:module'
import { AnnexfsError, reasonOf } from '../errors.js'
import { nativePart } from './native-part.js'

/**
 * The part of fuse-native that we use. Its public `ops` are bypassed: its own handlers over-read extended attributes,
 * and every answer goes through two closures more than it needs. We give the `_op_*` handlers ourselves; what each
 * `signal` takes is read off fuse-native.c. The version is pinned in package.json for that reason.
 */
export interface NativeFuse {
  open(callback: (error: Error | null | undefined) => void): void
  close(callback: (error: Error | null | undefined) => void): void
}

/** Answers one request: a result (or negative errno), then what the operation returns. To be called exactly once. */
export type Signal<Values extends unknown[] = []> = (result: number, ...values: Values) => void

/** Handlers by operation. Stat arrays are those of {@link packStat}; every `view` must come back through its signal. */
export interface NativeHandlers {
  getattr(signal: Signal<[Uint32Array?]>, path: string): void
  readlink(signal: Signal<[string?]>, path: string): void
  readdir(signal: Signal<[(readonly string[])?, (readonly Uint32Array[])?]>, path: string): void
  statfs(signal: Signal<[Uint32Array?]>, path: string): void
  open(signal: Signal<[number?]>, path: string, flags: number): void
  read(
    signal: Signal<[number, ArrayBufferLike]>,
    path: string,
    handle: number,
    view: Uint8Array,
    length: number,
    offsetLow: number,
    offsetHigh: number,
  ): void
  /** Of each close(2) of a descriptor; `release` is of the last one. */
  flush(signal: Signal, path: string, handle: number): void
  release(signal: Signal, path: string, handle: number): void
  getxattr(signal: Signal<[ArrayBufferLike]>, path: string, name: string, view: Uint8Array): void
  listxattr(signal: Signal<[ArrayBufferLike]>, path: string, view: Uint8Array): void
  setxattr(signal: Signal<[ArrayBufferLike]>, path: string, name: string, view: Uint8Array): void
  write(signal: Signal<[number, ArrayBufferLike]>, path: string, handle: number, view: Uint8Array): void
  readonly refuse: (signal: Signal) => void
}

/** Operations that change something; the kernel refuses them on a read-only mount, we refuse them after a remount. */
const MUTATING = [
  'truncate',
  'ftruncate',
  'utimens',
  'chown',
  'chmod',
  'mknod',
  'removexattr',
  'create',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mkdir',
  'rmdir',
] as const

/** libfuse worker threads need little stack, and small stacks are kept by glibc for the next burst. */
const THREAD_STACK_BYTES = 256 * 1024
const SLAB_BYTES = 384 * 1024

interface StockConstructor {
  new (mountpoint: string, operations: object, options: { timeout: false }): NativeFuse & Record<string, unknown>
  unmount: (mountpoint: string, callback: (error: null) => void) => void
}

/**
 * Loads fuse-native.
 * @throws AnnexfsError SYSTEM, with the line that mends it, when it or libfuse.so.2 is missing.
 */
export function loadNative(): StockConstructor {
  nativePart()
  try {
    const stock = createRequire(import.meta.url)('fuse-native') as StockConstructor
    // The stock one passes the path to a shell; we have unmounted by then.
    stock.unmount = (_, callback) => callback(null)
    return stock
  } catch (error) {
    throw new AnnexfsError(
      'SYSTEM',
      `fuse-native cannot be loaded: ${reasonOf(error)}. Install the FUSE libraries ` +
        '(apt-get install libfuse2 fuse3), or run `annexfs doctor`.',
      { cause: error },
    )
  }
}

/** A file system that is ready to be mounted, with exactly these mount options (`ro,fsname=…`), and its gauges. */
export function createNative(
  mountpoint: string,
  options: string,
  handlers: NativeHandlers,
): { fuse: NativeFuse; threadsEver: () => number } {
  const Stock = loadNative()
  const { refuse, ...own } = handlers
  const table: Record<string, unknown> = { ...own }
  for (const name of MUTATING) table[name] = refuse
  process.env['FUSE_THREAD_STACK'] ??= String(THREAD_STACK_BYTES)
  const fuse = new Stock(mountpoint, table, { timeout: false })
  for (const [name, handler] of Object.entries(table)) fuse[`_op_${name}`] = handler
  fuse['_fuseOptions'] = () => `-o${options}`
  const slab = threadSlab()
  fuse['_malloc'] = slab.allocate
  return { fuse, threadsEver: slab.count }
}

/**
 * Memory for the state of libfuse threads. fuse-native never frees it, and libuv walks all of it at every wake-up: side
 * by side in a few slabs that walk costs next to nothing, scattered over the heap it doubles the latency of a read
 * after 100 bursts of 150 readers (native-notes.md).
 */
function threadSlab(): { allocate: (bytes: number) => Buffer; count: () => number } {
  let slab = Buffer.alloc(0)
  let used = 0
  let count = 0
  const allocate = (bytes: number): Buffer => {
    // A cache line each.
    const stride = Math.ceil(bytes / 64) * 64
    if (used + stride > slab.length) {
      slab = Buffer.alloc(Math.max(SLAB_BYTES, stride))
      used = 0
    }
    const piece = slab.subarray(used, used + bytes)
    used += stride
    count += 1
    return piece
  }
  return { allocate, count: () => count }
}
