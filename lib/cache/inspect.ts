import { lstatSync, rmSync, rmdirSync } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { throwIfAborted } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { removeSpace } from './evict.js'
import { CLIENTS, FACTS, PINS, removeOurs, requireCache, spaceFolder, SPACES, strangersIn } from './folder.js'
import { decodeRecord, RECORD, sizeOf } from './format.js'
import { isPinName } from './pins.js'
import { SpaceFiles } from './space-files.js'
import { allocatedBytes, isGone, spaceNames } from './walk.js'

/** What is in a cache folder. */
export interface CacheReport {
  readonly spaces: number
  readonly pieces: number
  /** Bytes on disk of pieces and indexes. */
  readonly usedBytes: Bytes
}

/** What {@link checkCache} found and did. */
export interface CacheCheckReport extends CacheReport {
  /** Pieces whose checksum was wrong, now forgotten. */
  readonly badPieces: number
  /** Spaces removed because their index was damaged or of another format, or because they held nothing. */
  readonly removedSpaces: number
  /** Files, folders and links that did not belong, now removed. */
  readonly strangers: number
}

const STEP = 8192

/** Counts what is in the cache, also while it is in use. Does not ask whether it is a cache. */
export async function countCache(folder: string): Promise<CacheReport> {
  let spaces = 0
  let pieces = 0
  for await (const name of spaceNames(folder)) {
    const present = await whenThere(() => countPieces(folder, name))
    if (present === undefined) continue
    spaces++
    pieces += present
  }
  return { spaces, pieces, usedBytes: (await whenThere(() => allocatedBytes(folder))) ?? 0 }
}

/** What spaces hold may be removed or refused at any moment: then it does not count. */
async function whenThere<T>(look: () => Promise<T>): Promise<T | undefined> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) throw error
    return undefined
  }
}

async function countPieces(folder: string, name: string): Promise<number | undefined> {
  const files = SpaceFiles.find(folder, name, 'read')
  if (files === undefined) return undefined
  try {
    let pieces = 0
    for (let from = 0; from < files.geometry.pieces; from += STEP) {
      const to = Math.min(files.geometry.pieces, from + STEP)
      const records = await files.records(from, to)
      for (let index = from; index < to; index++) {
        if (decodeRecord(files.geometry, index, records, (index - from) * RECORD) !== undefined) pieces++
      }
    }
    return pieces
  } finally {
    await files.close()
  }
}

/**
 * What is in the cache in `folder`.
 * @throws AnnexfsError INVALID when it is not a cache.
 */
export async function inspectCache(folder: string): Promise<CacheReport> {
  requireCache(folder)
  return countCache(folder)
}

/**
 * Empties the cache in `folder`: pieces and facts. Processes that use it notice and go on with an empty one.
 * @throws AnnexfsError INVALID when it is not a cache.
 */
export async function clearCache(folder: string): Promise<void> {
  requireCache(folder)
  for await (const name of spaceNames(folder)) {
    await whenThere(async () => {
      const files = SpaceFiles.find(folder, name, 'write')
      files?.empty()
      await files?.close()
    })
  }
  removeOurs(folder, 'contents')
}

/**
 * Reads every piece of the cache and forgets those whose checksum is wrong; removes spaces that hold nothing or are
 * damaged, and whatever does not belong (never following a link). Safe while the cache is in use.
 * @throws AnnexfsError INVALID when it is not a cache; ABORTED or TIMED_OUT when `signal` fires.
 */
export async function checkCache(folder: string, signal: AbortSignal): Promise<CacheCheckReport> {
  requireCache(folder)
  let strangers = 0
  for (const name of strangersIn(folder)) strangers += remove(join(folder, name))
  strangers += await pruneStrangers(folder)
  let badPieces = 0
  let removedSpaces = 0
  for await (const name of spaceNames(folder)) {
    throwIfAborted(signal)
    const found = await whenThere(() => checkSpace(folder, name, signal))
    throwIfAborted(signal)
    badPieces += found?.bad ?? 0
    if ((found?.good ?? 0) === 0 && (await whenThere(() => Promise.resolve(removeSpace(folder, name)))) === true) {
      removedSpaces++
    }
  }
  return { ...(await countCache(folder)), badPieces, removedSpaces, strangers }
}

async function checkSpace(folder: string, name: string, signal: AbortSignal): Promise<{ good: number; bad: number }> {
  const files = SpaceFiles.find(folder, name, 'write')
  if (files === undefined) return { good: 0, bad: 0 }
  let good = 0
  let bad = 0
  try {
    for (let index = 0; index < files.geometry.pieces; index++) {
      throwIfAborted(signal)
      if (files.recordOf(index) === undefined) {
        if (index % STEP === 0) await new Promise(setImmediate)
        continue
      }
      const outcome = await files.read(index, 0, sizeOf(files.geometry, index))
      if (outcome instanceof Uint8Array) good++
      else if (outcome === 'damaged') bad++
    }
    return { good, bad }
  } finally {
    await files.close()
  }
}

/** Removes what does not belong into `spaces/`, `clients/`, `facts/` and `pins/`. */
async function pruneStrangers(folder: string): Promise<number> {
  let removed = 0
  for (const part of [SPACES, CLIENTS, FACTS, PINS]) {
    const path = join(folder, part)
    if (await isOtherThanFolder(path)) removed += remove(path)
  }
  for (const name of await list(join(folder, CLIENTS))) {
    if (!/^[0-9a-f]{16}$/.test(name)) removed += remove(join(folder, CLIENTS, name))
  }
  for (const name of await list(join(folder, PINS))) {
    if (!isPinName(name)) removed += remove(join(folder, PINS, name))
  }
  for (const prefix of await list(join(folder, SPACES))) {
    const path = join(folder, SPACES, prefix)
    if (!/^[0-9a-f]{2}$/.test(prefix) || (await isOtherThanFolder(path))) {
      removed += remove(path)
      continue
    }
    for (const name of await list(path)) {
      const space = spaceFolder(folder, name)
      const belongs = /^[0-9a-f]{64}$/.test(name) && name.startsWith(prefix)
      if (!belongs || (await isOtherThanFolder(space))) {
        removed += remove(join(path, name))
        continue
      }
      for (const file of await list(space)) {
        const known = file === 'data' || file === 'index'
        if (!known || !lstatSync(join(space, file), { throwIfNoEntry: false })?.isFile())
          removed += remove(join(space, file))
      }
    }
    removeIfEmpty(path)
  }
  return removed
}

async function list(folder: string): Promise<string[]> {
  return (await whenThere(() => readdir(folder))) ?? []
}

async function isOtherThanFolder(path: string): Promise<boolean> {
  try {
    return !(await lstat(path)).isDirectory()
  } catch (error) {
    if (isGone(error)) return false
    throw error
  }
}

function remove(path: string): number {
  rmSync(path, { recursive: true, force: true })
  return 1
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // It is not empty, which is the common case, or was removed meanwhile.
  }
}
