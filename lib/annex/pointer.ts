import { parseKeyFile, type Key } from './key.js'

/** Longest pointer file, in bytes (git-annex: Annex.Link, maxPointerSz). */
export const LONGEST_POINTER = 32768

/** Shortest: `/annex/objects/` and a key of one character without name. */
export const SHORTEST_POINTER = 18

const OBJECTS = Buffer.from('/annex/objects/')
const ANNEX = Buffer.from('/annex/')
const NEWLINE = 0x0a
const RETURN = 0x0d
const SLASH = 0x2f

/** The key that a symbolic link in git points to, or undefined when it is not an annex link. */
export function linkKey(target: Buffer): Key | undefined {
  if (!target.includes(OBJECTS)) return undefined
  // Flat text of the key alone: a slice of the whole target would keep all of it in memory.
  return parseKeyFile(target.toString('latin1', target.lastIndexOf(SLASH) + 1))
}

/**
 * The key that a regular file in git stands for when it is a pointer file (https://git-annex.branchable.com/internals/pointer_file/):
 * its first line names an object, and every further line has `/annex/` in it and an end.
 */
export function pointerKey(blob: Buffer): Key | undefined {
  if (blob.length > LONGEST_POINTER) return undefined
  const newline = blob.indexOf(NEWLINE)
  let end = newline < 0 ? blob.length : newline
  if (blob[end - 1] === RETURN) end--
  const first = blob.subarray(0, end)
  if (!first.includes(OBJECTS)) return undefined
  for (let from = newline < 0 ? blob.length : newline + 1; from < blob.length;) {
    const to = blob.indexOf(NEWLINE, from)
    if (to < 0 || !blob.subarray(from, to).includes(ANNEX)) return undefined
    from = to + 1
  }
  return parseKeyFile(first.toString('latin1', first.lastIndexOf(SLASH) + 1))
}
