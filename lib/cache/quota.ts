import { closeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { ClientFile, readNumber, writeNumber } from './clients.js'
import { evict, evictRange, type Evicted, type Resident } from './evict.js'
import { freeSpace, type LowDisk } from './free-space.js'
import { EVICT_LOCK, isLinked, openFile } from './folder.js'
import { native } from './native.js'
import { pinnedIn } from './pins.js'
import { allocatedBytes, isGone } from './walk.js'

const MIB = 1_048_576
/** Room is taken from the shared bound in slabs, so that most writes need no lock. */
const LARGEST_SLAB = 16 * MIB
const SLABS_AT_LEAST = 32
/** Evicting makes this share of the bound free at once, so that it is rare. */
const AHEAD_SHARE = 20
const LOCK_DEADLINE: Milliseconds = 10_000
/** While waiting for the lock it is tried at least this often… */
const LONGEST_PAUSE: Milliseconds = 2
/** …and who had it leaves it alone for this long, where there are other processes, so that they get their turn. */
const POLITE_FOR: Milliseconds = 5
/** When there is no room to be had, this long passes before the disk is searched for some again. */
const REFUSE_FOR: Milliseconds = 250
const MOST_ROUNDS = 32

export interface QuotaOptions {
  readonly root: string
  readonly limitBytes: Bytes
  readonly minFreeBytes: Bytes
  readonly log: Log
  readonly resident: (name: string) => Resident | undefined
  /** Told of what was refused because of the disk's floor. */
  readonly onLowDisk: (low: LowDisk) => void
}

/**
 * The bound that all processes on one cache folder share. `evict.lock` guards a counter: bytes on disk plus bytes that
 * were granted. When it would pass the bound, its holder measures what is truly there and evicts.
 *
 * Lock order: the evict lock first, then a space's gate. So reserve before entering a gate.
 */
export class Quota {
  readonly #options: QuotaOptions
  readonly #slab: Bytes
  #client: ClientFile
  #lockFile: number | undefined
  #outstanding: Bytes = 0
  /** Reserved by those who are writing just now; part of it may be on disk already. */
  #inFlight: Bytes = 0
  /** What those who are in {@link reserve} now want together. */
  #wanted: Bytes = 0
  #refill: Promise<boolean> | undefined
  #refusedUntil: Milliseconds = -Infinity
  #unlockedAt: Milliseconds = -Infinity
  /** By this process, since it was started. */
  evicted: Evicted = { pieces: 0, bytes: 0 }
  #closed = false
  #replaced = false
  /** A counter that was written before a crash may not be believed. */
  #measured = false
  /** What was refused last because of the disk's floor, while nothing was granted since. */
  #lacked: Bytes | undefined

  constructor(options: QuotaOptions) {
    this.#options = options
    this.#client = new ClientFile(options.root)
    this.#slab = Math.min(LARGEST_SLAB, Math.floor(options.limitBytes / SLABS_AT_LEAST))
  }

  /**
   * Takes `bytes` of the bound, evicting for them when needed; false when they cannot be had.
   * @throws system errors of the disk.
   */
  async reserve(bytes: Bytes): Promise<boolean> {
    if (bytes > this.#options.limitBytes) return false
    this.#wanted += bytes
    try {
      while (this.#outstanding < bytes) {
        if (this.#closed || performance.now() < this.#refusedUntil) return false
        if (!(await this.#refilled(bytes))) return false
      }
      this.#outstanding -= bytes
      this.#inFlight += bytes
      return true
    } finally {
      this.#wanted -= bytes
    }
  }

  /** Waits for the grant that is being taken, or takes one. */
  async #refilled(bytes: Bytes): Promise<boolean> {
    const waiting = this.#refill
    if (waiting !== undefined) {
      await waiting
      return true
    }
    this.#refill = this.#take(bytes)
    try {
      const granted = await this.#refill
      if (!granted) this.#refusedUntil = performance.now() + REFUSE_FOR
      return granted
    } finally {
      this.#refill = undefined
    }
  }

  /** What was reserved has been written, or has failed half-way: from now on the disk tells what it takes. */
  written(bytes: Bytes): void {
    this.#inFlight -= bytes
  }

  /** Gives back what was reserved and not used. */
  giveBack(bytes: Bytes): void {
    this.#inFlight -= bytes
    this.#outstanding += bytes
  }

  /** The disk turned out to be full, whatever the counter says: evicts for `bytes`. False when nothing could go. */
  async makeRoom(bytes: Bytes): Promise<boolean> {
    const waiting = this.#refill
    if (waiting !== undefined) return waiting
    this.#refill = this.#locked(async () => this.#freeOnDisk(bytes))
    try {
      return await this.#refill
    } finally {
      this.#refill = undefined
    }
  }

  async #freeOnDisk(bytes: Bytes): Promise<boolean> {
    const { root } = this.#options
    const others = await this.#client.others()
    // What the failed write left behind is freed too, and must not be taken for room that was made.
    const need = Math.max(bytes, this.#slab) + bytes
    const before = await allocatedBytes(root)
    for (let round = 0, freed = 0; round < MOST_ROUNDS && freed < need; round++) {
      if (!(await this.#evict(need - freed, others))) return freed > bytes
      freed = before - (await allocatedBytes(root))
    }
    return true
  }

  /** The folder was replaced: nothing of what was granted counts any more. */
  reset(): void {
    this.#outstanding = 0
    this.#replaced = true
    if (this.#refill === undefined) this.#leaveReplaced()
  }

  /** Lets go of the files in the folder that was replaced. */
  #leaveReplaced(): void {
    if (!this.#replaced) return
    this.#replaced = false
    this.#measured = false
    this.#client.close()
    this.#client = new ClientFile(this.#options.root)
    this.#dropLock()
  }

  /** Writes down what is left of the grant; cheap, and nothing when unchanged. */
  settle(): void {
    this.#client.lower(this.#outstanding + this.#inFlight)
  }

  /** From now on nothing new is granted, and nobody waits for the lock any longer. */
  refuse(): void {
    this.#closed = true
  }

  async close(): Promise<void> {
    this.#closed = true
    try {
      await this.#refill
    } catch {
      // Its own caller was told.
    }
    this.#client.close()
    this.#dropLock()
  }

  async #take(need: Bytes): Promise<boolean> {
    return this.#locked(async (lock) => {
      const { limitBytes } = this.#options
      // For all who wait, as far as that is not too much of the bound.
      let slab = Math.max(need, this.#slab, Math.min(this.#wanted, Math.floor(limitBytes / 4)))
      let used = readNumber(lock)
      if (used === undefined || !this.#measured || used + slab > limitBytes || (await this.#floorLack(slab)) > 0) {
        const others = await this.#client.others()
        used = await this.#measure(others)
        this.#measured = true
        for (let round = 0; round < MOST_ROUNDS; round++) {
          const lack = Math.max(used + slab - limitBytes, await this.#floorLack(slab))
          if (lack <= 0) break
          const ahead = Math.floor(limitBytes / AHEAD_SHARE)
          if (!(await this.#evict(lack + ahead, others))) break
          used = await this.#measure(others)
        }
        if (used + slab > limitBytes || (await this.#floorLack(slab)) > 0) slab = need
        if (used + slab > limitBytes || (await this.#floorLack(slab)) > 0) {
          writeNumber(lock, used)
          await this.#noteRefusal(need)
          return false
        }
      }
      this.#client.write(this.#outstanding + this.#inFlight + slab)
      writeNumber(lock, used + slab)
      this.#outstanding += slab
      this.#lacked = undefined
      return true
    })
  }

  async #noteRefusal(need: Bytes): Promise<void> {
    const low = await this.#lowFor(need)
    this.#lacked = low === undefined ? undefined : need
    if (low !== undefined) this.#options.onLowDisk(low)
  }

  /** Whether the disk's floor keeps everything from being cached now, `used` being what could be evicted. */
  async lowDisk(used: Bytes): Promise<LowDisk | undefined> {
    return (await this.#lowFor(-used)) ?? (this.#lacked === undefined ? undefined : this.#lowFor(this.#lacked))
  }

  async #lowFor(bytes: Bytes): Promise<LowDisk | undefined> {
    const { root, minFreeBytes: minFree } = this.#options
    if (minFree <= 0) return undefined
    const free = await freeSpace(root)
    return free < minFree + bytes ? { free, minFree } : undefined
  }

  async #measure(others: Bytes): Promise<Bytes> {
    return (await allocatedBytes(this.#options.root)) + others + this.#outstanding + this.#inFlight
  }

  async #evict(need: Bytes, inFlight: Bytes): Promise<boolean> {
    const { root, log, resident } = this.#options
    const evicted = (pieces: number, bytes: Bytes): void => {
      this.#count({ pieces, bytes })
    }
    return evict({ root, need, inFlight, log, resident, evicted, pinned: pinnedIn(root, this.#options.limitBytes) })
  }

  #count({ pieces, bytes }: Evicted): void {
    this.evicted = { pieces: this.evicted.pieces + pieces, bytes: this.evicted.bytes + bytes }
  }

  /** How many bytes must become free before `bytes` may be written, to keep the disk's floor. */
  async #floorLack(bytes: Bytes): Promise<Bytes> {
    const { root, minFreeBytes } = this.#options
    if (minFreeBytes <= 0) return 0
    return minFreeBytes + bytes - (await freeSpace(root))
  }

  /** Runs `work` while no other process evicts. */
  async alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#locked(work)
  }

  /** Evicts what is there of the pieces `[from, to)` of a space, but for pinned ones. */
  async evictRange(name: string, from: number, to: number): Promise<Evicted> {
    return this.#locked(async () => {
      const { root, log, resident, limitBytes } = this.#options
      const options = { root, need: 0, inFlight: 0, log, resident, pinned: pinnedIn(root, limitBytes) }
      try {
        const evicted = await evictRange(options, name, from, to)
        this.#count(evicted)
        return evicted
      } catch (error) {
        if (isGone(error)) return { pieces: 0, bytes: 0 }
        throw error
      }
    })
  }

  async #locked<T>(work: (lock: number) => Promise<T>): Promise<T> {
    if (this.#client.hasOthers && performance.now() - this.#unlockedAt < POLITE_FOR) await sleep(POLITE_FOR)
    const lock = await this.#lock()
    try {
      return await work(lock)
    } finally {
      native.unlock(lock)
      this.#unlockedAt = performance.now()
    }
  }

  /** Polls rather than blocks: a thread that waits in the kernel could not be called back. */
  async #lock(): Promise<number> {
    this.#leaveReplaced()
    const deadline = performance.now() + LOCK_DEADLINE
    for (let pause = 1; ; pause = Math.min(pause * 2, LONGEST_PAUSE)) {
      if (this.#lockFile !== undefined && !isLinked(this.#lockFile)) this.#dropLock()
      this.#lockFile ??= openFile(join(this.#options.root, EVICT_LOCK), 'create')
      const lock = this.#lockFile
      if (native.tryLock(lock)) {
        if (isLinked(lock)) return lock
        native.unlock(lock)
      } else if (performance.now() > deadline || this.#closed) {
        throw new AnnexfsError('TIMED_OUT', `another process has held ${EVICT_LOCK} of the cache for too long`)
      } else {
        await sleep(pause)
      }
    }
  }

  #dropLock(): void {
    if (this.#lockFile !== undefined) closeSync(this.#lockFile)
    this.#lockFile = undefined
  }
}
