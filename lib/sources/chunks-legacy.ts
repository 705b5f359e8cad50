import { AnnexfsError, isAnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'
import type { ObjectName, ObjectStore, StoredObject } from '../stores/store.js'
import { checkInside } from './range.js'
import { SequentialBody } from './sequential.js'
import type { Demand } from './source.js'

/** Chunks of one object that are taken. */
const MOST_CHUNKS = 100_000
/** `F.chunkcount` holds a number. */
const LONGEST_COUNT = 32

interface Part {
  readonly name: ObjectName
  readonly start: Bytes
  readonly end: Bytes
}

/**
 * An object as old versions of git-annex chunked it for `chunksize=` (directory and WebDAV remotes): files `F.chunk1`…
 * and `F.chunkcount`, cut after encryption, of sizes that nobody recorded. Undefined when it is not stored so.
 * `name.size` is that of the whole object, when it is known.
 * @throws AnnexfsError CORRUPT when the parts do not have that size together, and as the store.
 */
export async function openLegacyChunks(
  store: ObjectStore,
  name: ObjectName,
  demand: Demand,
): Promise<StoredObject | undefined> {
  const { size, ...unsized } = name
  const partName = (number: number): ObjectName => ({ ...unsized, suffix: `.chunk${number}` })
  const count = await recordedCount(store, { ...unsized, suffix: '.chunkcount' }, demand)
  const first = await store.open(partName(1), demand.signal)
  if (first === undefined) return undefined
  first.close?.()

  async function* bodies(most: Bytes, within: Demand): AsyncGenerator<Uint8Array, void, undefined> {
    let given = 0
    for (let number = 1; number <= (count ?? MOST_CHUNKS); number++) {
      const part = await store.open(partName(number), within.signal)
      if (part === undefined) {
        if (count === undefined && number > 1) return
        throw absent(number, count)
      }
      try {
        for await (const bytes of part.all(most - given, within)) {
          given += bytes.byteLength
          yield bytes
        }
      } catch (error) {
        // A store that opens objects unasked tells only now that the one before was the last.
        if (count === undefined && number > 1 && isAnnexfsError(error, 'NOT_FOUND')) return
        throw error
      } finally {
        part.close?.()
      }
    }
  }

  const common = { unit: first.unit, longest: first.longest, parallel: first.parallel, all: bodies }
  if (size === undefined) return { ...common, read: () => unsizedRead() }
  const parts = await measuredParts(store, partName, count, demand)
  if (parts === undefined) {
    const body = new SequentialBody((signal) => bodies(size, { ...demand, signal }), size)
    return {
      ...common,
      size,
      whole: true,
      read: (range, within) => body.read(range, within),
      close: () => body.close(),
    }
  }
  const total = parts.at(-1)?.end ?? 0
  if (total !== size) throw new AnnexfsError('CORRUPT', `its chunks have ${total} bytes together instead of ${size}`)
  return {
    ...common,
    size,
    read: async function* (range, within) {
      checkInside(range, size, 'an object in chunks')
      for (const part of parts) {
        if (part.end <= range.start || part.start >= range.end) continue
        const object = await store.open({ ...part.name, size: part.end - part.start }, within.signal)
        if (object === undefined) throw absent(parts.indexOf(part) + 1, count)
        try {
          const start = Math.max(range.start, part.start) - part.start
          yield* object.read({ start, end: Math.min(range.end, part.end) - part.start }, within)
        } finally {
          object.close?.()
        }
      }
    },
  }
}

// eslint-disable-next-line require-yield -- a body that only fails
async function* unsizedRead(): AsyncGenerator<Uint8Array, void, undefined> {
  throw new AnnexfsError('UNSUPPORTED', 'an object in chunks of unknown sizes is read as a whole')
}

function absent(number: number, count: number | undefined): AnnexfsError {
  const of = count === undefined ? '' : ` of ${count}`
  return new AnnexfsError(number === 1 ? 'NOT_FOUND' : 'UNAVAILABLE', `chunk ${number}${of} is missing`)
}

async function recordedCount(store: ObjectStore, name: ObjectName, demand: Demand): Promise<number | undefined> {
  const object = await store.open(name, demand.signal)
  if (object === undefined) return undefined
  try {
    const parts: Uint8Array[] = []
    for await (const part of object.all(LONGEST_COUNT, demand)) parts.push(part)
    const text = Buffer.concat(parts).toString('latin1').trim()
    if (/^[1-9]\d*$/.test(text) && Number(text) <= MOST_CHUNKS) return Number(text)
    throw new AnnexfsError('CORRUPT', 'the recorded number of chunks is none')
  } catch (error) {
    if (isAnnexfsError(error, 'NOT_FOUND')) return undefined
    throw error
  } finally {
    object.close?.()
  }
}

/** Where each chunk lies; undefined when the store does not tell sizes beforehand. */
async function measuredParts(
  store: ObjectStore,
  partName: (number: number) => ObjectName,
  count: number | undefined,
  demand: Demand,
): Promise<readonly Part[] | undefined> {
  const parts: Part[] = []
  let start = 0
  for (let number = 1; number <= (count ?? MOST_CHUNKS); number++) {
    const name = partName(number)
    const object = await store.open(name, demand.signal)
    if (object === undefined) {
      if (count === undefined) break
      throw absent(number, count)
    }
    const { size } = object
    object.close?.()
    if (size === undefined) return undefined
    parts.push({ name, start, end: start + size })
    start += size
  }
  return parts
}
