import { setMaxListeners } from 'node:events'
import { afterTurn } from '../after-turn.js'
import { isAnnexfsError, systemCode } from '../errors.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import type { Resident } from './evict.js'
import { PAGE, RECORD, roomOf, sizeOf, stateOf, type Geometry, type StoredAssurance } from './format.js'
import { Gate } from './gate.js'
import type { MemoryTier } from './memory.js'
import { Presence } from './presence.js'
import { Recency } from './recency.js'
import type { Quota } from './quota.js'
import type { SpaceFiles } from './space-files.js'
import type { CachedSummary } from './store.js'
import { isFull, type Trouble } from './trouble.js'

/** What a space needs of the store that it lives in. */
export interface Host {
  readonly memory: MemoryTier
  readonly quota: Quota
  readonly trouble: Trouble
  /** The files to read from, if the space has any. Throws system errors. */
  files(space: ResidentSpace, mode: 'read' | 'create'): SpaceFiles | undefined
  /** Closes the files after an error, and looks whether the cache folder itself was replaced. */
  distrust(space: ResidentSpace): void
  /** Keeps the files from being closed until called. */
  pin(space: ResidentSpace): () => void
  /** True while reads must not block. */
  readonly diskIsSlow: boolean
  tookLong(duration: Milliseconds): void
  readonly closed: boolean
  forgot(space: ResidentSpace, index: number): void
}

const NEW_SPACE_ROOM = 6 * PAGE
const STEP = 4096
/** So many reads of the disk in a row show that a space is not being filled. */
const OF_DISK = 2

/** One space as this process has it open, shared by all who opened it. */
export class ResidentSpace implements Resident {
  readonly #gate = new Gate()
  readonly #puts = new Map<number, Promise<boolean>>()
  /** Counts drops, so that a read that began before one is not answered after it. */
  #drops = 0
  /** A drop is under way, or the disk refused it: what is on disk must not be served. */
  #condemned = false
  /** The pages of the index, of records and of sums, that the last put wrote to. */
  #indexPages: readonly [records: number, sums: number] = [-1, -1]
  /** The file system has no files of this length. */
  #tooLarge = false
  /** Synchronous reads in a row that were of the disk. */
  #ofDisk = 0
  /** Fires when what is on disk may not be read without asking any more. */
  #direct = new AbortController()
  /** How many have it open. */
  users = 0
  usedUntil: Milliseconds = 0

  readonly #presence: Presence
  readonly #recency: Recency

  constructor(
    readonly geometry: Geometry,
    readonly serial: number,
    readonly host: Host,
  ) {
    this.#presence = new Presence(geometry)
    this.#recency = new Recency(geometry)
  }

  get idle(): boolean {
    return this.users === 0 && this.#puts.size === 0 && !this.#condemned
  }

  /** True when times of use wait to be written. */
  get hasTimes(): boolean {
    return !this.#recency.isEmpty
  }

  /** One who had it open is done with it. */
  left(): void {
    this.users--
    this.usedUntil = performance.now()
  }

  /** When every put that is under way has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#puts.values())
    await this.#gate.exclusive(() => Promise.resolve())
  }

  has(index: number): boolean {
    if (!this.#isPiece(index)) return false
    if (this.host.memory.has(this.serial, index)) return true
    if (this.#condemned) return false
    try {
      return this.host.files(this, 'read')?.recordOf(index) !== undefined
    } catch (error) {
      this.#readFailed(error)
      return false
    }
  }

  readSync(index: number, start: Bytes, end: Bytes, into: Uint8Array): 'hit' | 'miss' | 'later' {
    if (!this.#isRange(index, start, end)) return 'miss'
    const held = this.host.memory.get(this.serial, index)
    if (held !== undefined) {
      into.set(start === 0 && end === held.byteLength ? held : held.subarray(start, end))
      this.#ofDisk = 0
      this.#recency.touch(index)
      return 'hit'
    }
    if (this.#condemned) return 'miss'
    if (this.host.diskIsSlow) return 'later'
    const began = performance.now()
    try {
      const outcome = this.host.files(this, 'read')?.readSync(index, start, end, into)
      this.host.tookLong(performance.now() - began)
      if (outcome === 'hit') {
        this.#ofDisk += 1
        this.#recency.touch(index)
      } else this.#missed(index, outcome)
      return outcome === 'hit' ? 'hit' : 'miss'
    } catch (error) {
      this.#readFailed(error)
      return 'miss'
    }
  }

  async read(index: number, start: Bytes, end: Bytes): Promise<Uint8Array | undefined> {
    if (!this.#isRange(index, start, end)) return undefined
    const held = this.host.memory.get(this.serial, index)
    if (held !== undefined) {
      this.#recency.touch(index)
      return Uint8Array.prototype.slice.call(held, start, end)
    }
    if (this.#condemned) return undefined
    const drops = this.#drops
    const unpin = this.host.pin(this)
    try {
      const outcome = await this.host.files(this, 'read')?.read(index, start, end)
      if (drops !== this.#drops) return undefined
      if (outcome instanceof Uint8Array) {
        this.#recency.touch(index)
        return outcome
      }
      this.#missed(index, outcome)
    } catch (error) {
      this.#readFailed(error)
    } finally {
      unpin()
    }
    return undefined
  }

  /** Puts of one piece come one after the other, so that none overwrites what another is writing. */
  async put(piece: Piece): Promise<boolean> {
    const { index, bytes } = piece
    if (this.host.closed || !this.#isPiece(index) || bytes.byteLength !== sizeOf(this.geometry, index)) return false
    const there = this.#assuranceOf(index)
    // What is on disk and surer is not to be hidden by memory.
    if (!isSurer(there, piece.assurance)) this.host.memory.set(this.serial, index, bytes)
    const drops = this.#drops
    const before = this.#puts.get(index)
    // Whoever waits for it has it from memory, and need not wait for what the disk takes.
    const own = (before ?? afterTurn()).then(() => {
      return this.#store(piece, drops, there !== undefined || before !== undefined)
    })
    this.#puts.set(index, own)
    try {
      return await own
    } finally {
      if (this.#puts.get(index) === own) this.#puts.delete(index)
    }
  }

  /** @param there it may be there already. */
  async #store({ index, bytes, assurance }: Piece, drops: number, there: boolean): Promise<boolean> {
    const { quota, trouble } = this.host
    if (trouble.pausesWrites || this.host.closed || this.#tooLarge) return false
    if (this.#condemned) await this.#dropNow()
    if (this.#condemned) return false
    const room = roomOf(this.geometry, index) + this.#indexRoom(index)
    let reserved = 0
    let begun = false
    try {
      if (there && (await this.#keeps(index, bytes, assurance))) return true
      const isNew = this.host.files(this, 'read') === undefined
      const need = room + (isNew ? NEW_SPACE_ROOM : 0)
      if (!(await quota.reserve(need))) return false
      reserved = need
      await this.#gate.shared(async () => {
        // What was fetched before a drop may be just what the drop was for.
        if (drops !== this.#drops) return
        const unpin = this.host.pin(this)
        try {
          const files = this.host.files(this, 'create')
          if (files === undefined) return
          const old = files.recordOf(index)
          // Another process may have put it meanwhile.
          if (isSurer(old?.assurance, assurance)) return
          if (old !== undefined) files.forget(index, old.stamp)
          begun = true
          await files.write(index, bytes, assurance, Date.now())
        } finally {
          unpin()
        }
      })
      if (!begun) return false
      this.#presence.set(index, stateOf(assurance))
      return true
    } catch (error) {
      await this.#storeFailed(error, room)
      return false
    } finally {
      if (begun) quota.written(reserved)
      else if (reserved > 0) quota.giveBack(reserved)
    }
  }

  /** What a put may add to the index: nothing where the put before it has just been. */
  #indexRoom(index: number): Bytes {
    const sums = this.geometry.blocks * 4
    const records = Math.floor((index * RECORD) / PAGE)
    const first = Math.floor((index * sums) / PAGE)
    const last = Math.floor(((index + 1) * sums - 1) / PAGE)
    const [recordsBefore, lastBefore] = this.#indexPages
    this.#indexPages = [records, last]
    return ((records === recordsBefore ? 0 : 1) + (first === lastBefore ? last - first : last - first + 1)) * PAGE
  }

  async #storeFailed(error: unknown, room: Bytes): Promise<void> {
    const { trouble } = this.host
    if (isFull(error)) {
      if (!(await this.#makeRoom(room))) trouble.writing('store a piece', error)
      return
    }
    this.#tooLarge ||= systemCode(error) === 'EFBIG'
    // What is wrong with this space alone must not keep others from being cached.
    if (this.#tooLarge || isAnnexfsError(error, 'FORBIDDEN')) trouble.reading('store a piece', error)
    else trouble.writing('store a piece', error)
    this.host.distrust(this)
  }

  /** That of the piece on disk; undefined when there is none that counts. */
  #assuranceOf(index: number): StoredAssurance | undefined {
    if (this.#condemned) return undefined
    try {
      return this.host.files(this, 'read')?.recordOf(index)?.assurance
    } catch (error) {
      this.#readFailed(error)
      return undefined
    }
  }

  /** True when the same piece, as sure, or a surer one is there already, undamaged. */
  async #keeps(index: number, bytes: Uint8Array, assurance: StoredAssurance): Promise<boolean> {
    const unpin = this.host.pin(this)
    try {
      const files = this.host.files(this, 'read')
      const record = files?.recordOf(index)
      if (files === undefined || record === undefined) return false
      if (isSurer(assurance, record.assurance)) return false
      const there = await files.read(index, 0, bytes.byteLength)
      if (!(there instanceof Uint8Array)) return false
      return isSurer(record.assurance, assurance) || Buffer.compare(there, bytes) === 0
    } finally {
      unpin()
    }
  }

  /** The disk is fuller than the bound lets us think: older pieces go. False when there are none. */
  async #makeRoom(bytes: Bytes): Promise<boolean> {
    try {
      return await this.host.quota.makeRoom(bytes)
    } catch (error) {
      this.host.trouble.writing('make room on a full disk', error)
      return false
    }
  }

  summary(): CachedSummary {
    return this.#present().summary()
  }

  cachedIn(start: Bytes, end: Bytes): Bytes {
    return this.#present().bytesIn(start, end)
  }

  states(from: number, to: number): Uint8Array {
    return this.#present().states(from, to)
  }

  #present(): Presence {
    if (!this.#presence.isOld) return this.#presence
    let files: SpaceFiles | undefined
    try {
      files = this.#condemned ? undefined : this.host.files(this, 'read')
      this.#presence.read(files)
    } catch (error) {
      this.#readFailed(error)
      this.#presence.read(undefined)
    }
    return this.#presence
  }

  async markWhole(): Promise<void> {
    await this.#alone('mark a space as checked', async (files) => {
      const { geometry } = this
      for (let from = 0; from < geometry.pieces; from += STEP) {
        const to = Math.min(geometry.pieces, from + STEP)
        await files.markWhole(from, to)
      }
    })
  }

  direct(): Omit<DirectRead, 'start'> | undefined {
    // What has just come is in memory, from where it is copied with less work.
    if (this.#condemned || this.host.closed || this.#ofDisk < OF_DISK) return undefined
    try {
      const files = this.host.files(this, 'read')
      if (files === undefined) return undefined
      const { index, data, geometry } = files
      const { length, pieceLength, stride, recordsAt, sumsAt, blocks, seed } = geometry
      setMaxListeners(0, this.#direct.signal)
      const from = {
        kind: 'pieces',
        data,
        index,
        length,
        pieceLength,
        stride,
        recordsAt,
        sumsAt,
        blocks,
        seed,
      } as const
      return { from, ended: this.#direct.signal }
    } catch (error) {
      this.#readFailed(error)
      return undefined
    }
  }

  endDirect(): void {
    this.#direct.abort()
    this.#direct = new AbortController()
  }

  used(index: number): void {
    if (this.#isPiece(index)) this.#recency.touch(index)
  }

  async drop(): Promise<void> {
    this.#condemned = true
    this.endDirect()
    this.#drops++
    this.host.memory.drop(this.serial)
    this.#recency.clear()
    await this.#dropNow()
  }

  async #dropNow(): Promise<void> {
    const drops = this.#drops
    const done = await this.#alone('drop a space', async (files) => {
      files.empty()
      return Promise.resolve()
    })
    if (done && drops === this.#drops) this.#condemned = false
  }

  /** Runs `work` while no put is under way; false when the disk refused. Nothing to do without files. */
  async #alone(what: string, work: (files: SpaceFiles) => Promise<void>): Promise<boolean> {
    return this.#gate.exclusive(async () => {
      const unpin = this.host.pin(this)
      try {
        const files = this.host.files(this, 'read')
        if (files !== undefined) await work(files)
        return true
      } catch (error) {
        this.host.trouble.writing(what, error)
        this.host.distrust(this)
        return false
      } finally {
        unpin()
        this.#presence.forget()
      }
    })
  }

  // Resident: what the evictor asks.

  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#gate.exclusive(work)
  }

  usedAt(piece: number): Milliseconds | undefined {
    return this.#recency.usedAt(piece)
  }

  evicted(): void {
    this.#indexPages = [-1, -1]
    this.#presence.forget()
  }

  /** Writes the times of use since the last flush. */
  async flushTimes(): Promise<void> {
    if (this.#recency.isEmpty || this.host.trouble.pausesWrites) return
    const unpin = this.host.pin(this)
    try {
      const files = this.host.files(this, 'read')
      if (files?.writable === true) await this.#recency.flush(files)
      else this.#recency.clear()
    } catch (error) {
      // On a full disk that is no reason not to make room for pieces.
      if (isFull(error)) {
        this.host.trouble.reading('write times of use', error)
        return
      }
      this.host.trouble.writing('write times of use', error)
      this.host.distrust(this)
    } finally {
      unpin()
    }
  }

  #missed(index: number, outcome: 'absent' | 'damaged' | undefined): void {
    if (outcome === 'damaged') this.host.forgot(this, index)
    this.#presence.set(index, 0)
  }

  #readFailed(error: unknown): void {
    this.host.trouble.reading('read a piece', error)
    this.host.distrust(this)
  }

  #isPiece(index: number): boolean {
    return Number.isInteger(index) && index >= 0 && index < this.geometry.pieces
  }

  #isRange(index: number, start: Bytes, end: Bytes): boolean {
    return (
      this.#isPiece(index) &&
      start >= 0 &&
      start < end &&
      end <= sizeOf(this.geometry, index) &&
      Number.isInteger(start)
    )
  }
}

function isSurer(one: StoredAssurance | undefined, than: StoredAssurance): boolean {
  return one !== undefined && stateOf(one) > stateOf(than)
}
