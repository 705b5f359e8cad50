import { isAnnexfsError, systemCode } from '../errors.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Assurance, Piece } from '../verify/piece.js'
import type { Resident } from './evict.js'
import { decodeRecord, PAGE, RECORD, roomOf, sizeOf, stateOf, STATES, TIME, type Geometry } from './format.js'
import { Gate } from './gate.js'
import type { MemoryTier } from './memory.js'
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
/** Times of use that could not be written are not kept for ever. */
const MOST_TIMES = 65_536
/** Reading all records again costs so much that it is done at most once per this many milliseconds per piece. */
const REFRESH_PER_PIECE = 1 / 64

/** One space as this process has it open, shared by all who opened it. */
export class ResidentSpace implements Resident {
  readonly #gate = new Gate()
  readonly #puts = new Map<number, Promise<boolean>>()
  #used = new Map<number, Milliseconds>()
  #states: Uint8Array | undefined
  #statesAt: Milliseconds = -Infinity
  readonly #counts = [0, 0, 0, 0]
  #bytes: Bytes = 0
  /** Counts drops, so that a read that began before one is not answered after it. */
  #drops = 0
  /** A drop is under way, or the disk refused it: what is on disk must not be served. */
  #condemned = false
  /** The pages of the index, of records and of sums, that the last put wrote to. */
  #indexPages: readonly [records: number, sums: number] = [-1, -1]
  /** The file system has no files of this length. */
  #tooLarge = false
  /** How many have it open. */
  users = 0
  usedUntil: Milliseconds = 0

  constructor(
    readonly geometry: Geometry,
    readonly serial: number,
    readonly host: Host,
  ) {}

  get idle(): boolean {
    return this.users === 0 && this.#puts.size === 0
  }

  /** True when times of use wait to be written. */
  get hasTimes(): boolean {
    return this.#used.size > 0
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
      this.#touch(index)
      return 'hit'
    }
    if (this.#condemned) return 'miss'
    if (this.host.diskIsSlow) return 'later'
    const began = performance.now()
    try {
      const outcome = this.host.files(this, 'read')?.readSync(index, start, end, into)
      this.host.tookLong(performance.now() - began)
      if (outcome === 'hit') this.#touch(index)
      else this.#missed(index, outcome)
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
      this.#touch(index)
      return Uint8Array.prototype.slice.call(held, start, end)
    }
    if (this.#condemned) return undefined
    const drops = this.#drops
    const unpin = this.host.pin(this)
    try {
      const outcome = await this.host.files(this, 'read')?.read(index, start, end)
      if (drops !== this.#drops) return undefined
      if (outcome instanceof Uint8Array) {
        this.#touch(index)
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
    this.host.memory.set(this.serial, index, bytes)
    const before = this.#puts.get(index) ?? Promise.resolve(false)
    const own = before.then(() => this.#store(piece))
    this.#puts.set(index, own)
    try {
      return await own
    } finally {
      if (this.#puts.get(index) === own) this.#puts.delete(index)
    }
  }

  async #store({ index, bytes, assurance }: Piece): Promise<boolean> {
    const { quota, trouble } = this.host
    if (trouble.pausesWrites || this.host.closed || this.#tooLarge) return false
    if (this.#condemned) await this.#dropNow()
    if (this.#condemned) return false
    const room = roomOf(this.geometry, index) + this.#indexRoom(index)
    let reserved = 0
    try {
      if (await this.#keeps(index, bytes, assurance)) return true
      const isNew = this.host.files(this, 'read') === undefined
      const need = room + (isNew ? NEW_SPACE_ROOM : 0)
      if (!(await quota.reserve(need))) return false
      reserved = need
      await this.#gate.shared(async () => {
        const unpin = this.host.pin(this)
        try {
          const files = this.host.files(this, 'create')
          if (files === undefined) return
          const old = files.recordOf(index)
          if (old !== undefined) files.forget(index, old.stamp)
          reserved = 0
          await files.write(index, bytes, assurance, Date.now())
        } finally {
          unpin()
        }
      })
      this.#setState(index, stateOf(assurance))
      return reserved === 0
    } catch (error) {
      await this.#storeFailed(error, room)
      return false
    } finally {
      if (reserved > 0) quota.giveBack(reserved)
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

  /** True when the same piece, as sure or surer, is there already. */
  async #keeps(index: number, bytes: Uint8Array, assurance: Assurance): Promise<boolean> {
    const files = this.host.files(this, 'read')
    const record = files?.recordOf(index)
    if (files === undefined || record === undefined) return false
    const order = STATES as readonly (Assurance | undefined)[]
    if (order.indexOf(record.assurance) < order.indexOf(assurance)) return false
    const unpin = this.host.pin(this)
    try {
      const there = await files.read(index, 0, bytes.byteLength)
      if (!(there instanceof Uint8Array)) return false
      const surer = order.indexOf(record.assurance) > order.indexOf(assurance)
      return surer || Buffer.compare(there, bytes) === 0
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
    this.#refresh()
    const [, pending = 0, piece = 0, whole = 0] = this.#counts
    const complete = pending + piece + whole === this.geometry.pieces
    const assurance = pending > 0 ? 'pending' : piece > 0 ? 'piece' : whole > 0 ? 'whole' : 'none'
    return { cachedBytes: this.#bytes, complete, assurance }
  }

  cachedIn(start: Bytes, end: Bytes): Bytes {
    this.#refresh()
    const { pieceLength, length, pieces } = this.geometry
    if (this.#bytes === 0) return 0
    const from = Math.max(0, start)
    const to = Math.min(length, end)
    if (from === 0 && to === length) return this.#bytes
    let total = 0
    const last = Math.min(pieces, Math.ceil(to / pieceLength))
    for (let index = Math.floor(from / pieceLength); index < last; index++) {
      if (this.#states?.[index] === 0) continue
      total += Math.min(to, (index + 1) * pieceLength) - Math.max(from, index * pieceLength)
    }
    return total
  }

  /** Reads which pieces there are, when that is not known or old: others may have written or evicted. */
  #refresh(): void {
    const { geometry } = this
    const { pieces } = geometry
    if (performance.now() - this.#statesAt < pieces * REFRESH_PER_PIECE) return
    const states = new Uint8Array(pieces)
    try {
      const files = this.#condemned ? undefined : this.host.files(this, 'read')
      for (let from = 0; from < pieces; from += 16 * STEP) {
        const to = Math.min(pieces, from + 16 * STEP)
        const records = files?.recordsSync(from, to) ?? Buffer.alloc(0)
        for (let at = 11; at < records.length; at += RECORD) states[from + (at - 11) / RECORD] = records[at] ?? 0
      }
    } catch (error) {
      this.#readFailed(error)
    }
    this.#states = undefined
    this.#counts.fill(0)
    this.#bytes = 0
    for (let index = 0; index < pieces; index++) {
      const state = states[index] ?? 0
      if (state === 0) continue
      if (state >= STATES.length) states[index] = 0
      else {
        this.#counts[state] = (this.#counts[state] ?? 0) + 1
        this.#bytes += sizeOf(geometry, index)
      }
    }
    this.#states = states
    this.#statesAt = performance.now()
  }

  #setState(index: number, state: number): void {
    const old = this.#states?.[index]
    if (this.#states === undefined || old === undefined || old === state) return
    this.#states[index] = state
    const size = sizeOf(this.geometry, index)
    this.#counts[old] = (this.#counts[old] ?? 0) - 1
    this.#counts[state] = (this.#counts[state] ?? 0) + 1
    if (old === 0) this.#bytes += size
    if (state === 0) this.#bytes -= size
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

  async drop(): Promise<void> {
    this.#condemned = true
    this.#drops++
    this.host.memory.drop(this.serial)
    this.#used.clear()
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
        this.#statesAt = -Infinity
      }
    })
  }

  // Resident: what the evictor asks.

  async exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#gate.exclusive(work)
  }

  usedAt(piece: number): Milliseconds | undefined {
    return this.#used.get(piece)
  }

  evicted(): void {
    this.#indexPages = [-1, -1]
    this.#statesAt = -Infinity
  }

  #touch(index: number): void {
    this.#used.set(index, Date.now())
    if (this.#used.size > MOST_TIMES) this.#used.clear()
  }

  /** Writes the times of use since the last flush, a page of them at a time. */
  async flushTimes(): Promise<void> {
    if (this.#used.size === 0 || this.host.trouble.pausesWrites) return
    const used = this.#used
    this.#used = new Map()
    const unpin = this.host.pin(this)
    try {
      const files = this.host.files(this, 'read')
      if (files?.writable !== true) return
      const perPage = PAGE / TIME
      const pages = new Set([...used.keys()].map((index) => Math.floor(index / perPage)))
      for (const page of pages) {
        const from = page * perPage
        const to = Math.min(this.geometry.pieces, from + perPage)
        const times = await files.times(from, to)
        const records = await files.records(from, to)
        for (let index = from; index < to; index++) {
          const time = used.get(index)
          const there = decodeRecord(this.geometry, index, records, (index - from) * RECORD) !== undefined
          if (time !== undefined && there) times.writeDoubleLE(time, (index - from) * TIME)
        }
        await files.writeTimes(from, times)
      }
    } catch (error) {
      this.host.trouble.writing('write times of use', error)
      this.host.distrust(this)
    } finally {
      unpin()
    }
  }

  #missed(index: number, outcome: 'absent' | 'damaged' | undefined): void {
    if (outcome === 'damaged') this.host.forgot(this, index)
    this.#setState(index, 0)
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
