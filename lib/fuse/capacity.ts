import type { Capacity } from '../engine/volume.js'
import type { Bytes } from '../space/space.js'

const SMALLEST_BLOCK: Bytes = 4096
/** fuse-native carries statfs in 32-bit words. */
const MOST_BLOCKS = 2 ** 32 - 1
const ST_RDONLY = 1
const NAME_MAX = 255

/**
 * `struct statvfs` as fuse-native takes it. Counts are 32-bit words, so the block grows with the total: 4 KiB up to
 * 16 TiB, 8 KiB up to 32 TiB and so on.
 */
export function packCapacity(capacity: Capacity): Uint32Array {
  const total = wholeBytes(capacity.totalBytes)
  const free = Math.min(wholeBytes(capacity.freeBytes), total)
  let block = SMALLEST_BLOCK
  while (Math.ceil(total / block) > MOST_BLOCKS) block *= 2
  const words = new Uint32Array(11)
  words[0] = block
  words[1] = block
  words[2] = Math.ceil(total / block)
  words[3] = Math.floor(free / block)
  words[4] = Math.floor(free / block)
  words[9] = ST_RDONLY
  words[10] = NAME_MAX
  return words
}

function wholeBytes(value: Bytes): Bytes {
  return Number.isFinite(value) && value > 0 ? Math.min(Math.floor(value), Number.MAX_SAFE_INTEGER) : 0
}
