import { createHash } from 'node:crypto'
import { wholeKey, type Key } from './key.js'

/** The alphabet of the mixed-case hash directories. */
const MIXED = '0123456789zqjxkmvwgpfZQJXKMVWGPF'

/**
 * The lower-case hash directory of a key, e.g. `e7d/d01/`: the first six digits of the MD5 of its serialization. All
 * chunks of a key share the directory of the key (https://git-annex.branchable.com/internals/hashing/).
 */
export function hashDirLower(key: Key): string {
  const digest = createHash('md5').update(wholeKey(key), 'latin1').digest('hex')
  return `${digest.slice(0, 3)}/${digest.slice(3, 6)}/`
}

/** The mixed-case hash directory of a key, e.g. `J7/0G/`. */
export function hashDirMixed(key: Key): string {
  const word = createHash('md5').update(wholeKey(key), 'latin1').digest().readUInt32LE(0)
  const at = (index: number): string => MIXED.charAt((word >>> (6 * index)) & 31)
  return `${at(1)}${at(0)}/${at(3)}${at(2)}/`
}
