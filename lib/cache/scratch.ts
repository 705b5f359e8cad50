import { randomBytes } from 'node:crypto'
import { closeSync, rmSync } from 'node:fs'
import { chmod, lstat, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { AnnexfsError, isAnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { checkFolder, ensureFolder, isLinked, openFile, TRANSFERS } from './folder.js'
import { native } from './native.js'
import { isGone } from './walk.js'

/** How the files of transfers take their room; the cache's quota does it so. */
export interface Room {
  /** The bound of all of it, in bytes. */
  readonly limitBytes: Bytes
  /** False when they cannot be had now. */
  reserve(bytes: Bytes): Promise<boolean>
  /** So much of what was reserved is on the disk now, … */
  written(bytes: Bytes): void
  /** …is not needed any more, … */
  unused(bytes: Bytes): void
  /** …or was on the disk and is removed. */
  removed(bytes: Bytes): void
}

/**
 * Room for files that something else writes (whole transfers of content), under the bound that all processes share with
 * the pieces: `transfers/<16 hex>/` in the cache, one folder a process, which holds a lock in it. What a dead process has
 * left there is removed at the next start. State is owned here: who has a file says when it may go.
 */
export class Scratch {
  readonly #root: string
  readonly #room: Room
  readonly #log: Log
  readonly #files = new Set<ScratchFile>()
  #folder: Promise<string> | undefined
  #lock: number | undefined
  #serial = 0
  #closed = false

  constructor(root: string, room: Room, log: Log) {
    this.#root = root
    this.#room = room
    this.#log = log
  }

  /** The largest file that can ever fit: the rest of the bound is left to pieces. */
  get most(): Bytes {
    return Math.floor(this.#room.limitBytes * SHARE)
  }

  /**
   * This process' folder (0700), made at the first call. What lies in it counts against the bound.
   * @throws AnnexfsError SYSTEM when it cannot be made.
   */
  async folder(): Promise<string> {
    if (this.#closed) throw new AnnexfsError('ABORTED', 'the cache was closed')
    // The cache folder was emptied or replaced under us.
    if (this.#lock !== undefined && !isLinked(this.#lock)) this.#unlock()
    this.#folder ??= this.#makeFolder()
    try {
      return await this.#folder
    } catch (error) {
      this.#folder = undefined
      throw new AnnexfsError(
        'SYSTEM',
        `no room can be made for transfers in the cache folder ${this.#root}: ${reasonOf(error)}`,
        {
          cause: error,
        },
      )
    }
  }

  /**
   * A name for a new file of about `bytes` (0 when that is unknown), with room for them; undefined when there is none
   * now. Files that are marked as idle are given up for it.
   * @throws AnnexfsError SYSTEM as {@link folder}.
   */
  async take(bytes: Bytes): Promise<ScratchFile | undefined> {
    const folder = await this.folder()
    const path = join(folder, `${this.#serial++}`)
    const file = new ScratchFile(
      path,
      Math.min(STEP, this.most / STEPS_AT_LEAST),
      (more) => this.#reserve(more),
      this.#room,
    )
    this.#files.add(file)
    file.gone = () => this.#files.delete(file)
    // File systems give whole blocks.
    if (await file.hold(Math.ceil(bytes / BLOCK) * BLOCK)) return file
    await file.remove()
    return undefined
  }

  /** Removes everything; whoever still writes there must have ended. */
  async close(): Promise<void> {
    this.#closed = true
    const folder = await this.#folder?.catch(() => undefined)
    for (const file of this.#files) await file.remove()
    if (folder !== undefined) await removeFolder(folder, this.#log)
    this.#unlock()
  }

  #unlock(): void {
    if (this.#lock !== undefined) closeSync(this.#lock)
    this.#lock = undefined
    this.#folder = undefined
  }

  async #reserve(bytes: Bytes): Promise<boolean> {
    for (;;) {
      if (this.#closed || bytes > this.most) return false
      if (await this.#room.reserve(bytes)) return true
      const idle = [...this.#files].find((file) => file.giveUp !== undefined)
      const giveUp = idle?.giveUp
      if (idle === undefined || giveUp === undefined) return false
      idle.giveUp = undefined
      await giveUp()
      // The quota says no for a moment once it has said no.
      await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER))
    }
  }

  async #makeFolder(): Promise<string> {
    const transfers = join(this.#root, TRANSFERS)
    ensureFolder(transfers)
    await removeDeadTransfers(this.#root, this.#log)
    for (;;) {
      const folder = join(transfers, randomBytes(8).toString('hex'))
      ensureFolder(folder)
      const lock = openFile(join(folder, LOCK), 'create')
      // Another process may have taken it for a dead one's before it was locked.
      if (native.tryLock(lock) && isLinked(lock)) {
        this.#lock = lock
        return folder
      }
      closeSync(lock)
    }
  }
}

const SHARE = 7 / 8
const LOCK = 'lock'
/** Longer than the quota refuses after it has found no room. */
const AGAIN_AFTER: Milliseconds = 300
/** A folder without a lock is one that is being made, unless it is older than this. */
const YOUNG: Milliseconds = 60_000
/** Reserved ahead for files whose size is not known. */
const STEP: Bytes = 16 * 1_048_576
/** But not more of a small bound than a part of this many. */
const STEPS_AT_LEAST = 32
const BLOCK: Bytes = 4096

/** A file that a transfer writes to. */
export class ScratchFile {
  readonly path: string
  /** Set while nobody needs the file: gives it up (and removes it) when there is no other room. */
  giveUp: (() => Promise<void>) | undefined
  /** Told once when the file is removed. */
  gone: () => void = () => undefined
  readonly #step: Bytes
  readonly #reserve: (bytes: Bytes) => Promise<boolean>
  readonly #room: Room
  /** All that was reserved for it… */
  #reserved: Bytes = 0
  /** …and what of that is on the disk, and so counted there. */
  #onDisk: Bytes = 0
  #removed = false

  /** @param step reserved at once when it outgrows what was reserved. */
  constructor(path: string, step: Bytes, reserve: (bytes: Bytes) => Promise<boolean>, room: Room) {
    this.path = path
    this.#step = Math.ceil(step)
    this.#reserve = reserve
    this.#room = room
  }

  /** Makes sure of room for `bytes` in all; false when there is none. */
  async hold(bytes: Bytes): Promise<boolean> {
    if (this.#removed) return false
    if (bytes <= this.#reserved) return true
    const more = this.#reserved === 0 ? bytes : Math.max(bytes - this.#reserved, this.#step)
    if (await this.#took(more)) return true
    return more > bytes - this.#reserved && this.#took(bytes - this.#reserved)
  }

  /** Tells how many bytes the file takes on the disk now. False when that is more than there is room for. */
  async grown(bytes: Bytes): Promise<boolean> {
    if (bytes < this.#onDisk) {
      // One that was truncated takes its room again as it grows.
      const less = this.#onDisk - bytes
      this.#room.removed(less)
      this.#reserved -= less
      this.#onDisk = bytes
    }
    const fits = await this.hold(bytes)
    if (this.#removed) return false
    const onDisk = Math.min(bytes, this.#reserved)
    this.#room.written(onDisk - this.#onDisk)
    this.#onDisk = onDisk
    return fits
  }

  /** It grows no more: gives back what was reserved for that. */
  complete(): void {
    if (this.#removed) return
    this.#room.unused(this.#reserved - this.#onDisk)
    this.#reserved = this.#onDisk
  }

  /** Removes the file, if it was made, and gives its room back. */
  async remove(): Promise<void> {
    if (this.#removed) return
    this.#removed = true
    this.giveUp = undefined
    this.gone()
    this.#room.unused(this.#reserved - this.#onDisk)
    try {
      await rm(this.path, { recursive: true, force: true })
    } finally {
      this.#room.removed(this.#onDisk)
    }
  }

  async #took(bytes: Bytes): Promise<boolean> {
    if (!(await this.#reserve(bytes))) return false
    if (this.#removed) this.#room.unused(bytes)
    else this.#reserved += bytes
    return !this.#removed
  }
}

/** Room with a bound of its own, for where there is no cache to share one with. */
export function privateRoom(limitBytes: Bytes): Room {
  let left = limitBytes
  const free = (bytes: Bytes): void => {
    left += bytes
  }
  return {
    limitBytes,
    reserve: async (bytes) => {
      if (bytes > left) return Promise.resolve(false)
      left -= bytes
      return Promise.resolve(true)
    },
    written: () => undefined,
    unused: free,
    removed: free,
  }
}

/** Removes what processes that live no more have left of their transfers in the cache folder `root`; never throws. */
export async function removeDeadTransfers(root: string, log: Log): Promise<void> {
  const transfers = join(root, TRANSFERS)
  let names: string[]
  try {
    names = await readdir(transfers)
  } catch (error) {
    if (!isGone(error)) log.warn('old transfers cannot be removed', { folder: transfers, reason: reasonOf(error) })
    return
  }
  for (const name of names) {
    const folder = join(transfers, name)
    let lock: number | undefined
    try {
      checkFolder(folder)
      lock = openFile(join(folder, LOCK), 'write')
      if (native.tryLock(lock)) await removeFolder(folder, log)
    } catch (error) {
      // What is forbidden was planted there.
      if (isGone(error) ? await isOld(folder) : isAnnexfsError(error, 'FORBIDDEN')) await removeFolder(folder, log)
      else log.debug('a folder of transfers is left alone', { folder, reason: reasonOf(error) })
    } finally {
      if (lock !== undefined) closeSync(lock)
    }
  }
}

async function isOld(folder: string): Promise<boolean> {
  try {
    return Date.now() - (await lstat(folder)).mtimeMs > YOUNG
  } catch (error) {
    if (isGone(error)) return false
    throw error
  }
}

async function removeFolder(folder: string, log: Log): Promise<void> {
  try {
    await removeTree(folder)
  } catch (error) {
    log.warn('files of transfers cannot be removed', { folder, reason: reasonOf(error) })
    rmSync(join(folder, LOCK), { force: true })
  }
}

/** Removes a folder with all that is in it, also where folders are protected from writing; follows no link. */
export async function removeTree(folder: string): Promise<void> {
  try {
    await rm(folder, { recursive: true, force: true })
  } catch (error) {
    if (systemCode(error) !== 'EACCES') throw error
    await loosen(folder)
    await rm(folder, { recursive: true, force: true })
  }
}

async function loosen(folder: string): Promise<void> {
  await chmod(folder, 0o700)
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await loosen(join(folder, entry.name))
  }
}
