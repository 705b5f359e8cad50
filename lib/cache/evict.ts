import { closeSync, rmdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { openFile, spaceFolder } from './folder.js'
import { decodeRecord, RECORD, roomOf, TIME } from './format.js'
import { native } from './native.js'
import { OldestFirst } from './oldest.js'
import { isPinned, type Pinned } from './pins.js'
import { SpaceFiles } from './space-files.js'
import { isGone, spaceNames } from './walk.js'

/** A space that this process has open: its evictor must keep out of the way of its own puts. */
export interface Resident {
  exclusively<T>(work: () => Promise<T>): Promise<T>
  /** Times of use that have not reached the disk yet. */
  usedAt(piece: number): Milliseconds | undefined
  evicted(): void
}

export interface EvictOptions {
  readonly root: string
  readonly need: Bytes
  /** Bytes without a record that may belong to pieces that other processes are just writing. */
  readonly inFlight: Bytes
  readonly resident: (name: string) => Resident | undefined
  readonly log: Log
  /** What stays, however old. */
  readonly pinned: Pinned
  /** Told of pieces that were evicted, and how much room they took. */
  readonly evicted?: (pieces: number, bytes: Bytes) => void
}

/** Records are looked at in steps of this many, with the event loop let in between. */
const STEP = 8192
/** No more pieces than this a round, to bound memory; the caller runs as many rounds as it needs. */
const MOST_A_ROUND = 200_000
/** A clock that was once wrong must not make pieces immortal. */
const FUTURE = 3_600_000
/** File systems count some of their own bookkeeping as ours. */
const ORPHAN_SLACK = 65_536

/**
 * One round of eviction: makes about `need` bytes of room by forgetting the least recently used pieces over all spaces,
 * open or not. Where there is something to be had for nothing (spaces without pieces, room that killed writers left),
 * only that goes. The caller holds the evict lock.
 * @returns whether anything was removed.
 */
export async function evict(options: EvictOptions): Promise<boolean> {
  const { root, log } = options
  const names: string[] = []
  const oldest = new OldestFirst(options.need, MOST_A_ROUND)
  let removed = false
  for await (const name of spaceNames(root)) {
    try {
      const survey = await surveySpace(options, name, names.length, oldest)
      if (survey.pieces === 0 && removeSpace(root, name)) removed = true
      else if (survey.orphans > options.inFlight + ORPHAN_SLACK && (await clean(options, name, []))) removed = true
    } catch (error) {
      if (!isGone(error)) log.debug('a cached space could not be looked at', { name, reason: reasonOf(error) })
    }
    names.push(name)
  }
  // That may have been enough: the caller measures, and comes again if it was not.
  if (removed) return true
  const victims = new Map<number, { readonly pieces: number[]; bytes: Bytes }>()
  for (const { space, piece, bytes } of oldest.chosen) {
    const victim = victims.get(space) ?? { pieces: [], bytes: 0 }
    victims.set(space, victim)
    victim.pieces.push(piece)
    victim.bytes += bytes
  }
  for (const [space, { pieces, bytes }] of victims) {
    const name = names[space]
    if (name === undefined) continue
    try {
      if (!(await clean(options, name, pieces))) continue
      removed = true
      options.evicted?.(pieces.length, bytes)
    } catch (error) {
      if (!isGone(error)) log.debug('cached pieces could not be evicted', { name, reason: reasonOf(error) })
    }
  }
  return removed
}

async function surveySpace(
  options: EvictOptions,
  name: string,
  space: number,
  oldest: OldestFirst,
): Promise<{ readonly pieces: number; readonly orphans: Bytes }> {
  const files = SpaceFiles.find(options.root, name, 'read')
  if (files === undefined) return { pieces: 0, orphans: 0 }
  try {
    const { geometry } = files
    const resident = options.resident(name)
    const pinned = options.pinned.get(name)
    const latest = Date.now() + FUTURE
    let pieces = 0
    let expected = 0
    for (let from = 0; from < geometry.pieces; from += STEP) {
      const to = Math.min(geometry.pieces, from + STEP)
      const records = await files.records(from, to)
      const times = await files.times(from, to)
      for (let piece = from; piece < to; piece++) {
        const record = decodeRecord(geometry, piece, records, (piece - from) * RECORD)
        if (record === undefined) continue
        pieces++
        const bytes = roomOf(geometry, piece)
        expected += bytes
        if (pinned !== undefined && isPinned(pinned, piece)) continue
        const kept = times.readDoubleLE((piece - from) * TIME)
        const used = Math.max(record.storedAt, kept > 0 ? kept : 0, resident?.usedAt(piece) ?? 0)
        oldest.offer({ usedAt: used > latest ? 0 : used, bytes, space, piece })
      }
    }
    return { pieces, orphans: files.allocated().data - expected }
  } finally {
    await files.close()
  }
}

export interface Evicted {
  readonly pieces: number
  readonly bytes: Bytes
}

/** Evicts what is there of the pieces `[from, to)` of a space, but for pinned ones. The caller holds the evict lock. */
export async function evictRange(options: EvictOptions, name: string, from: number, to: number): Promise<Evicted> {
  const files = SpaceFiles.find(options.root, name, 'read')
  if (files === undefined) return { pieces: 0, bytes: 0 }
  const pinned = options.pinned.get(name)
  const pieces: number[] = []
  let bytes = 0
  try {
    const { geometry } = files
    for (let at = from; at < Math.min(to, geometry.pieces); at += STEP) {
      const end = Math.min(to, geometry.pieces, at + STEP)
      const records = await files.records(at, end)
      for (let piece = at; piece < end; piece++) {
        if (decodeRecord(geometry, piece, records, (piece - at) * RECORD) === undefined) continue
        if (isPinned(pinned, piece)) continue
        pieces.push(piece)
        bytes += roomOf(geometry, piece)
      }
    }
  } finally {
    await files.close()
  }
  if (pieces.length > 0) await clean(options, name, pieces)
  return { pieces: pieces.length, bytes }
}

/** Evicts these pieces of a space, and gives back the room of everything in it that has no record. */
async function clean(options: EvictOptions, name: string, pieces: number[]): Promise<boolean> {
  const resident = options.resident(name)
  const work = async (): Promise<boolean> => {
    const files = SpaceFiles.find(options.root, name, 'write')
    if (files === undefined) return removeSpace(options.root, name)
    let left: number
    let freed: Bytes
    try {
      const before = files.allocated().data
      left = await clear(files, pieces)
      freed = before - files.allocated().data
    } finally {
      await files.close()
    }
    resident?.evicted()
    if (left === 0) removeSpace(options.root, name)
    return pieces.length > 0 || freed > 0
  }
  return resident === undefined ? work() : resident.exclusively(work)
}

/** Clears records first, so that nobody finds a piece there, then punches the holes. Returns the pieces left. */
async function clear(files: SpaceFiles, pieces: number[]): Promise<number> {
  const { geometry } = files
  const records = await files.records(0, geometry.pieces)
  pieces.sort((a, b) => a - b)
  for (const [from, to] of runsOf(pieces)) {
    const zeros = records.subarray(from * RECORD, to * RECORD).fill(0)
    await files.writeRecords(from, zeros)
  }
  let left = 0
  let emptyFrom = 0
  let wanted = 0
  const orphans = pieces.length === 0
  for (let piece = 0; piece <= geometry.pieces; piece++) {
    const present = piece < geometry.pieces && decodeRecord(geometry, piece, records, piece * RECORD) !== undefined
    if (piece < geometry.pieces && !present) continue
    if (present) left++
    while (wanted < pieces.length && (pieces[wanted] ?? 0) < emptyFrom) wanted++
    const touched = orphans || (wanted < pieces.length && (pieces[wanted] ?? piece) < piece)
    if (piece > emptyFrom && touched && !(await trim(files, emptyFrom, piece))) return 0
    emptyFrom = piece + 1
    if (piece % STEP === 0) await new Promise(setImmediate)
  }
  return left
}

/** False when the file system cannot punch holes: then the space was emptied as a whole. */
async function trim(files: SpaceFiles, from: number, to: number): Promise<boolean> {
  try {
    await files.trim(from, to)
    return true
  } catch (error) {
    const code = systemCode(error)
    if (code !== 'EOPNOTSUPP' && code !== 'ENOTSUP' && code !== 'ENOSYS') throw error
    files.empty()
    return false
  }
}

function* runsOf(sorted: readonly number[]): Generator<[from: number, to: number]> {
  let from: number | undefined
  let to = 0
  for (const piece of sorted) {
    if (from !== undefined && piece === to) {
      to++
      continue
    }
    if (from !== undefined) yield [from, to]
    from = piece
    to = piece + 1
  }
  if (from !== undefined) yield [from, to]
}

/** Removes a space's files unless somebody has them open; says whether it did. */
export function removeSpace(root: string, name: string): boolean {
  const folder = spaceFolder(root, name)
  let fd: number | undefined
  try {
    fd = openFile(join(folder, 'index'), 'write')
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
  try {
    if (fd !== undefined && !native.tryLock(fd)) return false
    unlinkIfThere(join(folder, 'data'))
    unlinkIfThere(join(folder, 'index'))
    rmdirSync(folder)
    return true
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'ENOTEMPTY') return false
    throw error
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
  }
}
