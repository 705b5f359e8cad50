import { reasonOf } from '../errors.js'
import { rateLimited, type Log } from '../log/log.js'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds, PieceSpace, Slice } from '../space/space.js'
import type { Evicted } from './evict.js'
import type { Piece } from '../verify/piece.js'
import type { LowDisk } from './free-space.js'
import { prepareFolder } from './folder.js'
import { Pins } from './pins.js'
import { geometryOf } from './format.js'
import { countCache } from './inspect.js'
import { MemoryTier } from './memory.js'
import { Quota } from './quota.js'
import { ResidentFiles } from './resident-files.js'
import { ResidentSpace, type Host } from './resident-space.js'
import { removeDeadTransfers, Scratch } from './scratch.js'
import type { SpaceFiles } from './space-files.js'
import type { CacheRoom, CachedSpace, CachedSummary, CacheUsage, PieceStore } from './store.js'
import { Trouble } from './trouble.js'
import { UsedRoom } from './used-room.js'

export interface PieceStoreOptions {
  readonly folder: string
  /** The bound for pieces and their indexes on disk; shared by all processes that use the folder. */
  readonly limitBytes: Bytes
  /** The disk keeps at least so many bytes free, as far as it is for us. */
  readonly minFreeBytes: Bytes
  readonly log: Log
  /** The bound of the memory tier, 24 MiB unless told; 0 for none. */
  readonly memoryBytes?: Bytes
}

/** What one sequential reader has fetched ahead of it, and half as much again; more only makes the process larger. */
const DEFAULT_MEMORY: Bytes = 24 * 1_048_576
const TICK: Milliseconds = 1000
/** Spaces that nobody has open are remembered, up to so many, as they are likely to be opened again. */
const MOST_RESIDENT = 1024
/** A synchronous read that took longer than this was slow; than that, very slow. */
const SLOW: Milliseconds = 2
const VERY_SLOW: Milliseconds = 20
/** Single slow reads are a busy processor's doing. When so many more than a tenth are slow, it is the disk… */
const SLOW_TOO_OFTEN = 3
/** …and reads are then asynchronous for so long, longer each time that it turns out to be still so. */
const SLOW_FOR: Milliseconds = 250
const SLOW_FOR_MOST: Milliseconds = 2000

/**
 * Opens (or makes) the cache in `folder`.
 * @throws AnnexfsError INVALID when the folder is not empty and not a cache, or another user's; SYSTEM when it cannot be
 * made or looked at. After that nothing throws: disk trouble only means that pieces are not cached.
 */
export async function openPieceStore(options: PieceStoreOptions): Promise<PieceStore> {
  prepareFolder(options.folder)
  await removeDeadTransfers(options.folder, options.log)
  return new DiskPieceStore(options)
}

class DiskPieceStore implements PieceStore, Host {
  readonly memory: MemoryTier
  readonly quota: Quota
  readonly scratch: Scratch
  readonly pins: Pins
  readonly trouble: Trouble
  readonly #files: ResidentFiles
  readonly #used: UsedRoom
  readonly #options: PieceStoreOptions
  readonly #damageLog: Log
  readonly #spaces = new Map<string, ResidentSpace>()
  readonly #ticker: NodeJS.Timeout
  #ticking: Promise<void> = Promise.resolve()
  #serials = 0
  #slowUntil: Milliseconds = -Infinity
  #slowness = 0
  #slowFor: Milliseconds = SLOW_FOR
  #active = false
  closed = false

  constructor(options: PieceStoreOptions) {
    const { folder: root, log, limitBytes, minFreeBytes } = options
    this.#options = options
    this.#damageLog = rateLimited(log, TICK)
    this.memory = new MemoryTier(options.memoryBytes ?? DEFAULT_MEMORY)
    this.trouble = new Trouble(log)
    this.#used = new UsedRoom(root, log)
    this.quota = new Quota({
      root,
      limitBytes,
      minFreeBytes,
      log,
      resident: (name) => this.#spaces.get(name),
      onLowDisk: (low) => this.trouble.lowDisk(root, low),
    })
    this.pins = new Pins({ root, limitBytes, alone: (work) => this.quota.alone(work) })
    const written = (bytes: Bytes): void => {
      this.#active = true
      this.quota.written(bytes)
    }
    const room = { limitBytes, reserve: (bytes: Bytes) => this.quota.reserve(bytes), written, unused: written }
    // What is removed shows when the disk is measured next.
    this.scratch = new Scratch(root, { ...room, removed: () => undefined }, log)
    this.#files = new ResidentFiles(root, log, () => {
      this.quota.reset()
    })
    this.#ticker = setInterval(() => {
      if (this.#active) this.#ticking = this.#tick()
    }, TICK)
    this.#ticker.unref()
  }

  open(space: PieceSpace): CachedSpace {
    const geometry = geometryOf(space)
    if (geometry === undefined || this.closed) return new UncachedSpace(space)
    // Spaces of one id are equal, but for what a hostile or mistaken caller says of them.
    let resident = this.#spaces.get(geometry.name)
    if (resident !== undefined && resident.geometry.seed !== geometry.seed) return new UncachedSpace(space)
    resident ??= new ResidentSpace(geometry, this.#serials++, this)
    this.#spaces.delete(geometry.name)
    this.#spaces.set(geometry.name, resident)
    resident.users++
    if (this.#spaces.size > MOST_RESIDENT) this.#leaveIdle()
    return new OpenSpace(space, resident)
  }

  #leaveIdle(): void {
    let excess = this.#spaces.size - MOST_RESIDENT
    for (const [name, space] of this.#spaces) {
      if (excess <= 0) return
      if (!space.idle || space.hasTimes) continue
      this.#files.drop(space)
      this.memory.drop(space.serial)
      this.#spaces.delete(name)
      excess--
    }
  }

  async evict({ space, offset, length }: Slice): Promise<Evicted> {
    const geometry = geometryOf(space)
    if (geometry === undefined || length <= 0) return { pieces: 0, bytes: 0 }
    const { name, pieceLength } = geometry
    const resident = this.#spaces.get(name)
    const first = Math.floor(offset / pieceLength)
    const evicted = await this.quota.evictRange(name, first, Math.ceil((offset + length) / pieceLength))
    if (resident !== undefined) this.memory.drop(resident.serial)
    return evicted
  }

  async usage(): Promise<CacheUsage> {
    return { ...(await countCache(this.#options.folder)), limitBytes: this.#options.limitBytes }
  }

  async room(): Promise<CacheRoom> {
    const usedBytes = await this.#used.bytes()
    const lowDisk = await this.#lowDisk(usedBytes)
    return { usedBytes, limitBytes: this.#options.limitBytes, ...(lowDisk !== undefined && { lowDisk }) }
  }

  async #lowDisk(usedBytes: Bytes): Promise<LowDisk | undefined> {
    try {
      return await this.quota.lowDisk(usedBytes)
    } catch (error) {
      // It is only shown to people; writing will tell what is wrong.
      this.#options.log.debug('the free space of the cache cannot be seen', { reason: reasonOf(error) })
      return undefined
    }
  }

  get evicted(): Evicted {
    return this.quota.evicted
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    clearInterval(this.#ticker)
    await this.scratch.close()
    this.quota.refuse()
    await this.#ticking
    for (const space of this.#spaces.values()) space.endDirect()
    await Promise.all([...this.#spaces.values()].map((space) => space.settled()))
    await this.quota.close()
    for (const space of this.#spaces.values()) await space.flushTimes()
    this.#files.dropAll()
    this.memory.clear()
  }

  async #tick(): Promise<void> {
    this.#active = false
    await this.#ticking
    if (this.closed) return
    try {
      this.#files.checkRoot('leave')
      this.quota.settle()
    } catch (error) {
      this.trouble.writing('look at the cache folder', error)
    }
    for (const space of this.#spaces.values()) await space.flushTimes()
    this.#sweep()
  }

  #sweep(): void {
    try {
      this.#files.sweep()
    } catch (error) {
      this.trouble.reading('look at open files', error)
      this.#files.dropAll()
    }
  }

  // Host: what the spaces ask.

  files(space: ResidentSpace, mode: 'read' | 'create'): SpaceFiles | undefined {
    this.#active = true
    return this.#files.of(space, mode)
  }

  pin(space: ResidentSpace): () => void {
    return this.#files.pin(space)
  }

  distrust(space: ResidentSpace): void {
    this.#files.drop(space)
    try {
      this.#files.checkRoot()
    } catch (error) {
      this.trouble.writing('look at the cache folder', error)
    }
  }

  get diskIsSlow(): boolean {
    return performance.now() < this.#slowUntil
  }

  tookLong(duration: Milliseconds): void {
    if (duration <= SLOW) {
      if (this.#slowness > 0) this.#slowness -= 0.1
      return
    }
    this.#slowness += duration > VERY_SLOW ? 2 : 1
    if (this.#slowness < SLOW_TOO_OFTEN) return
    this.#slowness = SLOW_TOO_OFTEN - 1
    const now = performance.now()
    const again = now - this.#slowUntil < 1000
    this.#slowFor = again ? Math.min(this.#slowFor * 2, SLOW_FOR_MOST) : SLOW_FOR
    this.#slowUntil = now + this.#slowFor
  }

  forgot(space: ResidentSpace, index: number): void {
    this.#damageLog.debug('a cached piece was damaged and is forgotten', { space: space.geometry.id, piece: index })
  }
}

/** One caller's view of a space. */
class OpenSpace implements CachedSpace {
  #open = true

  constructor(
    readonly space: PieceSpace,
    readonly resident: ResidentSpace,
  ) {}

  has(index: number): boolean {
    return this.#usable && this.resident.has(index)
  }

  readSync(index: number, start: Bytes, end: Bytes, into: Uint8Array): 'hit' | 'miss' | 'later' {
    return this.#usable ? this.resident.readSync(index, start, end, into) : 'miss'
  }

  async read(index: number, start: Bytes, end: Bytes): Promise<Uint8Array | undefined> {
    return this.#usable ? this.resident.read(index, start, end) : undefined
  }

  direct(): Omit<DirectRead, 'start'> | undefined {
    return this.#usable ? this.resident.direct() : undefined
  }

  endDirect(): void {
    this.resident.endDirect()
  }

  used(index: number): void {
    if (this.#usable) this.resident.used(index)
  }

  async put(piece: Piece): Promise<boolean> {
    return this.#usable && piece.space.id === this.space.id && this.resident.put(piece)
  }

  summary(): CachedSummary {
    return this.#usable ? this.resident.summary() : NOTHING
  }

  cachedIn(start: Bytes, end: Bytes): Bytes {
    return this.#usable ? this.resident.cachedIn(start, end) : 0
  }

  states(from: number, to: number): Uint8Array {
    return this.#usable ? this.resident.states(from, to) : new Uint8Array(Math.max(0, to - from))
  }

  async markWhole(): Promise<void> {
    if (this.#usable) await this.resident.markWhole()
  }

  async drop(): Promise<void> {
    if (this.#usable) await this.resident.drop()
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.resident.left()
  }

  get #usable(): boolean {
    return this.#open && !this.resident.host.closed
  }
}

const NOTHING: CachedSummary = { cachedBytes: 0, complete: false, assurance: 'none' }

/** A space that cannot be cached (empty, absurdly many pieces): everything is a miss. */
class UncachedSpace implements CachedSpace {
  constructor(readonly space: PieceSpace) {}

  has(): boolean {
    return false
  }

  readSync(): 'miss' {
    return 'miss'
  }

  async read(): Promise<undefined> {
    return Promise.resolve(undefined)
  }

  async put(): Promise<boolean> {
    return Promise.resolve(false)
  }

  summary(): CachedSummary {
    return NOTHING
  }

  cachedIn(): Bytes {
    return 0
  }

  states(from: number, to: number): Uint8Array {
    return new Uint8Array(Math.max(0, to - from))
  }

  async markWhole(): Promise<void> {
    return Promise.resolve()
  }

  async drop(): Promise<void> {
    return Promise.resolve()
  }

  close(): void {
    // It holds nothing.
  }
}
