import { close, closeSync, fstatSync, ftruncateSync, read, readSync, write, writeSync, writev } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { getSystemErrorName, promisify } from 'node:util'
import { AnnexfsError, systemCode } from '../errors.js'
import { nativeExports, type NativeExports } from '../native/part.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { checkFolder, ensureFolder, isLinked, openFile, spaceFolder, SPACES } from './folder.js'
import {
  BLOCK,
  decodeHeader,
  decodeRecord,
  encodeHeader,
  encodeRecord,
  headerIs,
  newStamp,
  PAGE,
  pieceSeed,
  RECORD,
  sizeOf,
  sumsMatch,
  sumsOf,
  TIME,
  type Geometry,
  type PieceRecord,
  type StoredAssurance,
} from './format.js'
import { native } from './native.js'

const readAsync = promisify(read)
const writeAsync = promisify(write)
const writevAsync = promisify(writev)
const closeAsync = promisify(close)

/** Ranges are read and checked in steps of this many bytes at the most. */
const STEP = 64 * BLOCK
/** Someone may have rewritten the piece between our reads of its parts: look again before calling it damaged. */
const TRIES = 3
const NO_RECORD = Buffer.alloc(RECORD)
/** For synchronous use only, and so shared by all. */
const recordBuffer = Buffer.alloc(RECORD)
const sumsBuffer = Buffer.alloc((STEP / BLOCK) * 4)
const scratch = Buffer.allocUnsafeSlow(STEP)

/** The most that goes to the disk in one call. */
const LONGEST_RUN: Bytes = 2 * 1024 * 1024
/** How long a stream of pieces waits to become a longer run. */
const LINGER: Milliseconds = 2

interface PieceToWrite extends Omit<PieceRecord, 'stamp'> {
  readonly index: number
  readonly bytes: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Both files of one space, open. Knows the format; knows nothing of bounds, memory or other users. */
export class SpaceFiles {
  readonly #waiting: PieceToWrite[] = []
  #isWriting = false

  private constructor(
    readonly geometry: Geometry,
    readonly index: number,
    readonly data: number,
    readonly writable: boolean,
  ) {}

  /**
   * Opens a space's files; undefined when there are none (or they are of another space or format) and `mode` is not
   * `create`. While they are open they are locked (shared), so that no evictor removes them.
   * @throws system errors, and AnnexfsError FORBIDDEN for planted links.
   */
  static open(root: string, geometry: Geometry, mode: 'read' | 'write' | 'create'): SpaceFiles | undefined {
    const folder = spaceFolder(root, geometry.name)
    try {
      for (const path of [join(root, SPACES), join(folder, '..'), folder]) {
        if (mode === 'create') ensureFolder(path)
        else checkFolder(path)
      }
      const indexFile = openLocked(join(folder, 'index'), mode)
      try {
        const header = Buffer.alloc(PAGE)
        const got = readSync(indexFile, header, 0, PAGE, 0)
        const fits = headerIs(header.subarray(0, got), geometry)
        if (!fits && mode !== 'create') {
          closeSync(indexFile)
          return undefined
        }
        const dataFile = openFile(join(folder, 'data'), mode)
        const files = new SpaceFiles(geometry, indexFile, dataFile, mode !== 'read')
        if (!fits) files.#initialise()
        return files
      } catch (error) {
        closeSync(indexFile)
        throw error
      }
    } catch (error) {
      if (systemCode(error) === 'ENOENT' && mode !== 'create') return undefined
      throw error
    }
  }

  /** Opens the files of the space whose folder has this name, by what its header says; undefined when it is damaged. */
  static find(root: string, name: string, mode: 'read' | 'write'): SpaceFiles | undefined {
    const fd = openFile(join(spaceFolder(root, name), 'index'), 'read')
    let geometry: Geometry | undefined
    try {
      const header = Buffer.alloc(PAGE)
      geometry = decodeHeader(header.subarray(0, readSync(fd, header, 0, PAGE, 0)))
    } finally {
      closeSync(fd)
    }
    return geometry?.name === name ? SpaceFiles.open(root, geometry, mode) : undefined
  }

  #initialise(): void {
    try {
      ftruncateSync(this.index, 0)
      ftruncateSync(this.data, 0)
      writeSync(this.index, encodeHeader(this.geometry), 0, undefined, 0)
    } catch (error) {
      closeSync(this.data)
      throw error
    }
  }

  /** The record of a piece as it is on disk now. */
  recordOf(index: number): PieceRecord | undefined {
    const at = this.geometry.recordsAt + index * RECORD
    if (readSync(this.index, recordBuffer, 0, RECORD, at) !== RECORD) return undefined
    return decodeRecord(this.geometry, index, recordBuffer)
  }

  /** Copies bytes `[start, end)` of a piece into `into`; false when absent or damaged (and then forgotten). */
  readSync(index: number, start: Bytes, end: Bytes, into: Uint8Array): 'hit' | 'absent' | 'damaged' {
    let record = this.recordOf(index)
    for (let attempt = 0; attempt < TRIES && record !== undefined; attempt++) {
      if (this.#copySync(record, index, start, end, into)) return 'hit'
      const again = this.recordOf(index)
      if (again !== undefined && again.stamp === record.stamp && attempt > 0) {
        this.forget(index, record.stamp)
        return 'damaged'
      }
      record = again
    }
    return 'absent'
  }

  #copySync(record: PieceRecord, index: number, start: Bytes, end: Bytes, into: Uint8Array): boolean {
    const { geometry } = this
    const size = sizeOf(geometry, index)
    const seed = pieceSeed(geometry, index, record.stamp)
    const dataAt = index * geometry.stride
    for (let from = start - (start % BLOCK); from < end; from += STEP) {
      const to = Math.min(size, from + STEP, Math.ceil(end / BLOCK) * BLOCK)
      const first = from / BLOCK
      const sumBytes = Math.ceil((to - from) / BLOCK) * 4
      const sumsAt = geometry.sumsAt + (index * geometry.blocks + first) * 4
      if (readSync(this.index, sumsBuffer, 0, sumBytes, sumsAt) !== sumBytes) return false
      const straight = from >= start && to <= end
      const target = straight ? into.subarray(from - start, to - start) : scratch.subarray(0, to - from)
      if (readSync(this.data, target, 0, to - from, dataAt + from) !== to - from) return false
      if (!sumsMatch(seed, first, target, sumsBuffer)) return false
      if (straight) continue
      const begin = Math.max(start, from)
      into.set(target.subarray(begin - from, Math.min(end, to) - from), begin - start)
    }
    return true
  }

  /** As {@link readSync}, without blocking on the disk. */
  async read(index: number, start: Bytes, end: Bytes): Promise<Uint8Array | 'absent' | 'damaged'> {
    let record = await this.#recordLater(index)
    for (let attempt = 0; attempt < TRIES && record !== undefined; attempt++) {
      const bytes = await this.#copy(record, index, start, end)
      if (bytes !== undefined) return bytes
      const again = await this.#recordLater(index)
      if (again !== undefined && again.stamp === record.stamp && attempt > 0) {
        this.forget(index, record.stamp)
        return 'damaged'
      }
      record = again
    }
    return 'absent'
  }

  async #recordLater(index: number): Promise<PieceRecord | undefined> {
    const buffer = Buffer.alloc(RECORD)
    const at = this.geometry.recordsAt + index * RECORD
    const { bytesRead } = await readAsync(this.index, buffer, 0, RECORD, at)
    return bytesRead === RECORD ? decodeRecord(this.geometry, index, buffer) : undefined
  }

  async #copy(record: PieceRecord, index: number, start: Bytes, end: Bytes): Promise<Uint8Array | undefined> {
    const { geometry } = this
    const from = start - (start % BLOCK)
    const to = Math.min(sizeOf(geometry, index), Math.ceil(end / BLOCK) * BLOCK)
    const seed = pieceSeed(geometry, index, record.stamp)
    const sums = Buffer.alloc(Math.ceil((to - from) / BLOCK) * 4)
    const sumsAt = geometry.sumsAt + (index * geometry.blocks + from / BLOCK) * 4
    if ((await readAsync(this.index, sums, 0, sums.length, sumsAt)).bytesRead !== sums.length) return undefined
    const bytes = Buffer.allocUnsafeSlow(to - from)
    for (let at = from; at < to; at += STEP) {
      const step = bytes.subarray(at - from, Math.min(to, at + STEP) - from)
      const { bytesRead } = await readAsync(this.data, step, 0, step.length, index * geometry.stride + at)
      if (bytesRead !== step.length) return undefined
      if (!sumsMatch(seed, at / BLOCK, step, sums, ((at - from) / BLOCK) * 4)) return undefined
    }
    return bytes.subarray(start - from, end - from)
  }

  /**
   * Writes a piece: data and sums, then the record that makes it count. Neighbours that are given while others are
   * being written go to the disk together: handing work to another thread costs as much as writing some 100 KiB. Of one
   * piece only one write may be under way.
   */
  async write(index: number, bytes: Uint8Array, assurance: StoredAssurance, now: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ index, bytes, assurance, storedAt: now, resolve, reject })
      if (!this.#isWriting) void this.#writeWaiting()
    })
  }

  async #writeWaiting(): Promise<void> {
    this.#isWriting = true
    // Those who give theirs in this turn come along.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const pieces = this.#waiting.splice(0)
      const size = pieces.reduce((sum, { bytes }) => sum + bytes.byteLength, 0)
      await Promise.all(runsOf(pieces).map((run) => this.#writeRun(run)))
      // Where many come, more are about to.
      if (pieces.length > 1 && size < LONGEST_RUN) await sleep(LINGER)
    }
    this.#isWriting = false
  }

  async #writeRun(run: readonly PieceToWrite[]): Promise<void> {
    const { geometry } = this
    try {
      const stamps = run.map(() => newStamp())
      const records = Buffer.alloc(run.length * RECORD)
      run.forEach(({ index, assurance, storedAt }, nth) => {
        encodeRecord(geometry, index, { assurance, stamp: stamps[nth] ?? 0, storedAt }, records, nth * RECORD)
      })
      const store = nativeExports()?.store
      if (store !== undefined) await this.#storeRun(store, run, stamps, records)
      else await this.#storeRunHere(run, stamps, records)
      for (const { resolve } of run) resolve()
    } catch (error) {
      for (const { reject } of run) reject(error)
    }
  }

  /** All of it by a thread of the pool: sums are a tenth of what a sequential read costs. */
  async #storeRun(
    store: NonNullable<NativeExports['store']>,
    run: readonly PieceToWrite[],
    stamps: readonly number[],
    records: Buffer,
  ): Promise<void> {
    const { recordsAt, sumsAt, blocks, stride, seed } = this.geometry
    const first = run[0]?.index ?? 0
    const at = [first * stride, sumsAt + first * blocks * 4, recordsAt + first * RECORD]
    const places = Float64Array.of(...at, first, seed, ...stamps)
    const pieces = run.map(({ bytes }) => bytes)
    const errno = await store(this.data, this.index, places, pieces, records)
    if (errno === 0) return
    const code = getSystemErrorName(-errno)
    throw Object.assign(new Error(`${code}: pieces cannot be written to the cache`), { code, errno: -errno })
  }

  async #storeRunHere(run: readonly PieceToWrite[], stamps: readonly number[], records: Buffer): Promise<void> {
    const { geometry } = this
    const first = run[0]?.index ?? 0
    const sums = run.map(({ index, bytes }, nth) => sumsOf(geometry, index, stamps[nth] ?? 0, bytes))
    await Promise.all([
      this.#writeData(run),
      writeFully(this.index, Buffer.concat(sums), geometry.sumsAt + first * geometry.blocks * 4),
    ])
    await this.writeRecords(first, records)
  }

  async #writeData(run: readonly PieceToWrite[]): Promise<void> {
    let at = (run[0]?.index ?? 0) * this.geometry.stride
    let left = run.map(({ bytes }) => bytes)
    while (left.length > 0) {
      const { bytesWritten } = await writevAsync(this.data, left, at)
      at += bytesWritten
      left = without(left, bytesWritten)
    }
  }

  /** Clears the record of a piece if it still is the one with `stamp`. */
  forget(index: number, stamp: number): void {
    if (!this.writable || this.recordOf(index)?.stamp !== stamp) return
    writeSync(this.index, NO_RECORD, 0, RECORD, this.geometry.recordsAt + index * RECORD)
  }

  /** The records of pieces `[from, to)`, as they are on disk; zeros where there are none. */
  async records(from: number, to: number): Promise<Buffer> {
    return this.#section(this.geometry.recordsAt + from * RECORD, (to - from) * RECORD)
  }

  recordsSync(from: number, to: number): Buffer {
    const buffer = Buffer.alloc((to - from) * RECORD)
    readSync(this.index, buffer, 0, buffer.length, this.geometry.recordsAt + from * RECORD)
    return buffer
  }

  /** The last-used times of pieces `[from, to)`: a double each, 0 where unknown. */
  async times(from: number, to: number): Promise<Buffer> {
    return this.#section(this.geometry.timesAt + from * TIME, (to - from) * TIME)
  }

  async #section(at: number, length: Bytes): Promise<Buffer> {
    const buffer = Buffer.alloc(length)
    let got = 0
    while (got < length) {
      const { bytesRead } = await readAsync(this.index, buffer, got, length - got, at + got)
      if (bytesRead === 0) break
      got += bytesRead
    }
    return buffer
  }

  async writeRecords(from: number, records: Buffer): Promise<void> {
    await writeFully(this.index, records, this.geometry.recordsAt + from * RECORD)
  }

  /** Marks what is there among pieces `[from, to)` as checked as a whole. */
  async markWhole(from: number, to: number): Promise<void> {
    const records = await this.records(from, to)
    for (let index = from; index < to; index++) {
      const at = (index - from) * RECORD
      const record = decodeRecord(this.geometry, index, records, at)
      if (record !== undefined) encodeRecord(this.geometry, index, { ...record, assurance: 'whole' }, records, at)
    }
    await this.writeRecords(from, records)
  }

  async writeTimes(from: number, times: Buffer): Promise<void> {
    await writeFully(this.index, times, this.geometry.timesAt + from * TIME)
  }

  /** Gives back the disk room of pieces `[from, to)`, whose records are cleared, and of what the index has for them. */
  async trim(from: number, to: number): Promise<void> {
    const { geometry } = this
    await native.trim(this.data, from * geometry.stride, (to - from) * geometry.stride)
    const sums = geometry.blocks * 4
    await trimPages(this.index, geometry.sumsAt + from * sums, geometry.sumsAt + to * sums)
    await trimPages(this.index, geometry.timesAt + from * TIME, geometry.timesAt + to * TIME)
    await trimPages(this.index, geometry.recordsAt + from * RECORD, geometry.recordsAt + to * RECORD)
  }

  /** Forgets everything at once. */
  empty(): void {
    ftruncateSync(this.index, this.geometry.recordsAt)
    ftruncateSync(this.data, 0)
  }

  /** Bytes on disk of both files. */
  allocated(): { readonly index: Bytes; readonly data: Bytes } {
    return { index: fstatSync(this.index).blocks * 512, data: fstatSync(this.data).blocks * 512 }
  }

  /** False when somebody removed the files under us. */
  isThere(): boolean {
    return isLinked(this.index) && isLinked(this.data)
  }

  /** Becomes the only one that has these files open; false when another has them open too. */
  lockAlone(): boolean {
    return native.tryLock(this.index)
  }

  /** Never throws: an error of closing says that something was not written, which its checksum will show. */
  async close(): Promise<void> {
    await Promise.allSettled([closeAsync(this.index), closeAsync(this.data)])
  }

  /** As {@link close}. */
  closeSync(): void {
    for (const fd of [this.index, this.data]) {
      try {
        closeSync(fd)
      } catch (error) {
        if (systemCode(error) === undefined || systemCode(error) === 'EBADF') throw error
      }
    }
  }
}

/** Only the whole pages inside the range, which are nobody else's. */
async function trimPages(fd: number, start: number, end: number): Promise<void> {
  const first = Math.ceil(start / PAGE) * PAGE
  const last = Math.floor(end / PAGE) * PAGE
  if (last > first) await native.trim(fd, first, last - first)
}

/** Opens an index and locks it (shared), making sure that it was not removed in between. */
function openLocked(path: string, mode: 'read' | 'write' | 'create'): number {
  for (let attempt = 0; attempt < 5; attempt++) {
    const fd = openFile(path, mode)
    if (native.tryLock(fd, { shared: true }) && isLinked(fd)) return fd
    closeSync(fd)
  }
  throw new AnnexfsError('SYSTEM', `${path} is being removed by another process`)
}

async function writeFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesWritten } = await writeAsync(fd, bytes, done, bytes.byteLength - done, position + done)
    done += bytesWritten
  }
}

/** Pieces as runs of neighbours whose bytes lie without gaps on disk. */
function runsOf(pieces: PieceToWrite[]): PieceToWrite[][] {
  const runs: PieceToWrite[][] = []
  let room = 0
  for (const piece of pieces.sort((a, b) => a.index - b.index)) {
    const run = runs.at(-1)
    const before = run?.at(-1)
    const size = piece.bytes.byteLength
    if (before?.index === piece.index - 1 && before.bytes.byteLength % PAGE === 0 && size <= room) {
      run?.push(piece)
      room -= size
    } else {
      runs.push([piece])
      room = LONGEST_RUN - size
    }
  }
  return runs
}

/** What is left of `parts` after the first `count` bytes. */
function without(parts: readonly Uint8Array[], count: Bytes): Uint8Array[] {
  const left: Uint8Array[] = []
  let gone = count
  for (const part of parts) {
    if (part.byteLength > gone) left.push(part.subarray(gone))
    gone = Math.max(0, gone - part.byteLength)
  }
  return left
}
