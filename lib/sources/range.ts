import { AnnexfsError } from '../errors.js'
import type { ByteRange, Bytes } from '../space/space.js'

/** True when `range` lies within `length` bytes. */
export function inside(range: ByteRange, length: Bytes): boolean {
  return range.start >= 0 && range.start <= range.end && range.end <= length
}

/** @throws AnnexfsError INVALID when `range` does not lie within `length` bytes; `name`: of the source. */
export function checkInside(range: ByteRange, length: Bytes, name: string): void {
  if (inside(range, length)) return
  throw new AnnexfsError('INVALID', `${name}: bytes ${range.start} to ${range.end} of ${length} were asked for`)
}
