import parseRange from 'range-parser'
import type { ByteRange, Bytes } from '../space/space.js'

/** What a Range header comes to: all of it, some of it, or nothing that is there. */
export type Selection = 'whole' | 'unsatisfiable' | readonly ByteRange[]

/** Each range of an answer costs a read; players and viewers ask for a few at once. */
const MOST_RANGES = 32
const LONGEST_HEADER = 4096

/**
 * The ranges of a file of `size` bytes that `header` asks for (RFC 9110, section 14), joined where they touch or
 * overlap, so that an answer is never longer than the file by more than its headers. What is malformed is ignored,
 * and what asks for more than a few ranges is refused.
 */
export function selectRanges(header: string | undefined, size: Bytes): Selection {
  // Some clients send a Range with everything; of an empty file no range exists.
  if (header === undefined || size === 0 || !/^bytes=/i.test(header)) return 'whole'
  if (header.length > LONGEST_HEADER || header.split(',').length > MOST_RANGES) return 'unsatisfiable'
  // The library takes a suffix that is longer than the file for none: it is the whole file.
  const known = header.replace(/([=,]\s*)-(\d+)(?=\s*(?:,|$))/g, (all, before: string, length: string) =>
    Number(length) > size ? `${before}0-` : all,
  )
  const ranges = parseRange(size, known, { combine: true })
  if (ranges === -2) return 'whole'
  if (ranges === -1) return 'unsatisfiable'
  return ranges.map(({ start, end }) => ({ start, end: end + 1 }))
}
