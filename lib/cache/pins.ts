import { closeSync, readdirSync, unlinkSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { AnnexfsError, systemCode } from '../errors.js'
import type { Bytes, Milliseconds, Slice } from '../space/space.js'
import { checkFolder, ensureFolder, openFile, PINS } from './folder.js'
import { geometryOf, roomOf, type Geometry } from './format.js'

/*
 * A pin is a file in `pins/` whose name says all: space, first piece, end, bytes, when it was made. So that it is there
 * or not, whatever dies when, and the evictor of any process needs no more than to list the folder. Pins are made under
 * the evict lock: two processes cannot pass the bound together.
 */

/** Pinned pieces may take this share of the cache's bound: what is read beside them needs room, too. */
export const PINNED_SHARE = 0.75
/** The evictor reads all names each time. */
const MOST_PINS = 20_000
const LONGEST_NOTE = 4096

/** Pieces `[first, end)` of a space that are kept. */
interface Pin {
  readonly file: string
  readonly space: string
  readonly first: number
  readonly end: number
  readonly bytes: Bytes
  readonly at: Milliseconds
}

/** Which pieces the evictor must leave alone. */
export type Pinned = ReadonlyMap<string, readonly Pick<Pin, 'first' | 'end'>[]>

export interface PinsOptions {
  readonly root: string
  readonly limitBytes: Bytes
  /** Runs `work` while no other process evicts or pins. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>
}

/** Content that is not evicted, once it is in the cache; shared by all processes and kept for good. */
export class Pins {
  readonly #options: PinsOptions

  constructor(options: PinsOptions) {
    this.#options = options
  }

  /** What pinned pieces take when all of them are there. */
  async bytes(): Promise<Bytes> {
    return Promise.resolve(sum(listPins(this.#options.root)))
  }

  /** Whether just this slice was pinned. */
  has(slice: Slice): boolean {
    const wanted = pinOf(slice)
    return wanted !== undefined && listPins(this.#options.root).some((pin) => isSame(pin, wanted))
  }

  /**
   * Pins a slice; nothing when it was before.
   * @param note what people know it by.
   * @throws AnnexfsError FORBIDDEN when the pinned content would take too much of the cache, UNSUPPORTED for content that
   * cannot be cached, SYSTEM when the disk refuses.
   */
  async add(slice: Slice, note: string): Promise<void> {
    const wanted = pinOf(slice)
    if (wanted === undefined) throw new AnnexfsError('UNSUPPORTED', `${note} is empty, or too large for the cache`)
    await this.#alone('pin', async () => {
      const pins = listPins(this.#options.root)
      if (pins.some((pin) => isSame(pin, wanted))) return Promise.resolve()
      this.#refuseTooMuch(pins, wanted.bytes, note)
      const folder = join(this.#options.root, PINS)
      ensureFolder(folder)
      const { space, first, end, bytes } = wanted
      const fd = openFile(join(folder, [space, first, end, bytes, Date.now()].join('-')), 'exclusive')
      try {
        writeSync(fd, Buffer.from(`${note}\n`).subarray(0, LONGEST_NOTE))
      } finally {
        closeSync(fd)
      }
      return Promise.resolve()
    })
  }

  /** Takes the pin of a slice away. False when there was none. */
  async remove(slice: Slice): Promise<boolean> {
    const wanted = pinOf(slice)
    if (wanted === undefined) return false
    return this.#alone('unpin', async () => {
      const same = listPins(this.#options.root).filter((pin) => isSame(pin, wanted))
      for (const { file } of same) unlinkSync(join(this.#options.root, PINS, file))
      return Promise.resolve(same.length > 0)
    })
  }

  async #alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.#options.alone(work)
    } catch (error) {
      if (error instanceof AnnexfsError || systemCode(error) === undefined) throw error
      const reason = systemCode(error) ?? ''
      throw new AnnexfsError('SYSTEM', `cannot ${what} in the cache ${this.#options.root}: ${reason}`, { cause: error })
    }
  }

  #refuseTooMuch(pins: readonly Pin[], bytes: Bytes, note: string): void {
    if (pins.length >= MOST_PINS) {
      throw new AnnexfsError('FORBIDDEN', `${MOST_PINS} files are pinned, which is the most: unpin some first`)
    }
    const most = Math.floor(this.#options.limitBytes * PINNED_SHARE)
    const before = sum(pins)
    if (before + bytes <= most) return
    throw new AnnexfsError(
      'FORBIDDEN',
      `${note} is not pinned: its ${bytes} bytes and the ${before} that are pinned already are more than the ${most} ` +
        `that may be (three quarters of the cache); unpin something, or give a larger --cache-size`,
    )
  }
}

/** The pins in `root`, for an evictor whose bound is `limitBytes`: of more than their share the oldest count. */
export function pinnedIn(root: string, limitBytes: Bytes): Pinned {
  const pinned = new Map<string, Pick<Pin, 'first' | 'end'>[]>()
  let left = limitBytes * PINNED_SHARE
  for (const pin of listPins(root).sort((a, b) => a.at - b.at)) {
    left -= pin.bytes
    if (left < 0) break
    const ranges = pinned.get(pin.space)
    if (ranges === undefined) pinned.set(pin.space, [pin])
    else ranges.push(pin)
  }
  return pinned
}

/** True for piece `index` of a space that a pin covers. */
export function isPinned(ranges: readonly Pick<Pin, 'first' | 'end'>[] | undefined, index: number): boolean {
  return ranges?.some(({ first, end }) => index >= first && index < end) ?? false
}

const NAME = /^([0-9a-f]{64})-(\d{1,15})-(\d{1,15})-(\d{1,16})-(\d{1,15})$/

/** True for what may lie in `pins/`. */
export function isPinName(name: string): boolean {
  return NAME.test(name)
}

function listPins(root: string): Pin[] {
  let names: string[]
  try {
    checkFolder(join(root, PINS))
    names = readdirSync(join(root, PINS))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
  return names.flatMap((file) => {
    const [, space, first, end, bytes, at] = NAME.exec(file) ?? []
    if (space === undefined) return []
    return [{ file, space, first: Number(first), end: Number(end), bytes: Number(bytes), at: Number(at) }]
  })
}

function pinOf({ space, offset, length }: Slice): Omit<Pin, 'file' | 'at'> | undefined {
  const geometry = geometryOf(space)
  if (geometry === undefined || length <= 0) return undefined
  const first = Math.floor(offset / space.pieceLength)
  const end = Math.min(geometry.pieces, Math.ceil((offset + length) / space.pieceLength))
  return { space: geometry.name, first, end, bytes: roomBetween(geometry, first, end) }
}

function roomBetween(geometry: Geometry, first: number, end: number): Bytes {
  return (end - first - 1) * roomOf(geometry, first) + roomOf(geometry, end - 1)
}

function isSame(pin: Pin, wanted: Omit<Pin, 'file' | 'at'>): boolean {
  return pin.space === wanted.space && pin.first === wanted.first && pin.end === wanted.end
}

function sum(pins: readonly Pin[]): Bytes {
  return pins.reduce((total, { bytes }) => total + bytes, 0)
}
