import type { Bytes } from '../space/space.js'
import { serializeKey, type Key } from './key.js'

/** A way in which a content was cut and stored: `count` chunks of `size` bytes, the last one shorter. */
export interface ChunkList {
  readonly size: Bytes
  readonly count: number
}

/** How a content may be stored in a remote: in one object, or in chunks. */
export type Stored = { readonly kind: 'whole' } | ({ readonly kind: 'chunks' } & ChunkList)

/** Ways of one content in one remote that are tried; git-annex records one for each chunk size that was ever used. */
const MOST_LISTS = 16
/** More chunks than this of one content are nobody's. */
const MOST_CHUNKS = 100_000_000

/** Keys of these are never chunked: a later download need not have the same bytes. */
const NEVER_CHUNKED = ['URL', 'VURL']

/**
 * The chunk lists that a key's `.log.cnk` (FIELD `UUID:CHUNKSIZE`, VALUE the number of chunks) records for the store
 * `uuid`, in ascending order of size. Lists that do not agree with the content's `length` are left out.
 */
export function recordedChunks(fields: ReadonlyMap<string, string>, uuid: string, length: Bytes): ChunkList[] {
  const lists: ChunkList[] = []
  for (const [field, value] of fields) {
    const digits = field.startsWith(`${uuid}:`) ? field.slice(uuid.length + 1) : ''
    if (!/^[1-9]\d{0,15}$/.test(digits) || !/^[1-9]\d{0,8}$/.test(value.trim())) continue
    const list = { size: Number(digits), count: Number(value) }
    if (list.count === chunkCount(length, list.size)) lists.push(list)
  }
  return lists.sort((a, b) => a.size - b.size).slice(0, MOST_LISTS)
}

/** Chunks of `size` bytes that `length` bytes are cut into: an empty content is one empty chunk. */
export function chunkCount(length: Bytes, size: Bytes): number {
  return Math.max(1, Math.ceil(length / size))
}

/**
 * What git-annex looks for, in its order (Remote/Helper/Chunked.hs): with `chunk=` the recorded lists, the whole, and the
 * list that the setting would have made; without it the whole first.
 */
export function probeOrder(options: {
  readonly key: Key
  readonly length: Bytes
  /** `chunk=` in bytes; undefined when chunking is off. */
  readonly chunk: Bytes | undefined
  readonly recorded: readonly ChunkList[]
}): readonly Stored[] {
  const { key, length, chunk, recorded } = options
  const whole: Stored = { kind: 'whole' }
  const lists = recorded.map((list): Stored => ({ kind: 'chunks', ...list }))
  if (chunk === undefined) return [whole, ...lists]
  const known = recorded.some((list) => list.size === chunk) || NEVER_CHUNKED.includes(key.backend)
  const count = chunkCount(length, chunk)
  const speculative: readonly Stored[] = known || count > MOST_CHUNKS ? [] : [{ kind: 'chunks', size: chunk, count }]
  return [...lists, whole, ...speculative]
}

/** The key of chunk `number` (from 1) of `key`. */
export function chunkKey(key: Key, size: Bytes, number: number): Key {
  const fields = { ...key, chunkSize: size, chunkNumber: number }
  return { ...fields, raw: serializeKey(fields) }
}

/** Units by abbreviation in lower case; names in full are those of the standards (git-annex: Utility/DataUnits.hs). */
const UNITS: ReadonlyMap<string, number> = new Map(
  ['', 'k', 'm', 'g', 't', 'p', 'e', 'z', 'y'].flatMap((letter, power): [string, number][] => [
    [`${letter}b`, 1000 ** power],
    [`${letter}ib`, 1024 ** power],
  ]),
)
const NAMES: ReadonlyMap<string, number> = new Map([
  ['byte', 1],
  ...['kilo', 'mega', 'giga', 'tera', 'peta', 'exa', 'zetta', 'yotta'].map((name, power): [string, number] => [
    `${name}byte`,
    1000 ** (power + 1),
  ]),
  ...['kibi', 'mebi', 'gibi', 'tebi', 'pebi', 'exbi', 'zebi', 'yobi'].map((name, power): [string, number] => [
    `${name}byte`,
    1024 ** (power + 1),
  ]),
])

/** A size as git-annex reads it (`1MiB`, `100 kB`, `1.5 megabytes`, `2g`, `500`) in bytes; undefined for zero or nonsense. */
export function parseChunkSize(text: string | undefined): Bytes | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)/.exec(text ?? '')
  if (match === null) return undefined
  const unit = (match[2] ?? '').toLowerCase()
  const factor = unit === '' ? 1 : (UNITS.get(unit) ?? UNITS.get(`${unit}b`) ?? NAMES.get(unit.replace(/s$/, '')))
  const size = Math.round(Number(match[1]) * (factor ?? 0))
  return Number.isSafeInteger(size) && size > 0 ? size : undefined
}
