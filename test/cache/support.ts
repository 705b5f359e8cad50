import { createCipheriv, createHash } from 'node:crypto'
import { lstatSync, readdirSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openPieceStore, type PieceStoreOptions } from '../../lib/cache/open.js'
import type { CachedSpace, PieceStore } from '../../lib/cache/store.js'
import { systemCode } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { pieceCount, pieceSize, type PieceSpace, type SpaceId } from '../../lib/space/space.js'
import { checkPiece } from '../../lib/verify/piece.js'

export const KIB = 1024
export const MIB = 1024 * KIB

/** A space whose bytes follow from its name alone. */
export function sampleSpace(name: string, length: number, pieceLength: number): PieceSpace {
  return { id: `key:${name}` as SpaceId, length, pieceLength }
}

/** The bytes of a piece of a sample space: a cipher's key stream, so that no two are alike. */
export function bytesOf(space: PieceSpace, index: number, variant = 0): Buffer {
  const key = createHash('sha256').update(space.id).digest()
  const iv = Buffer.alloc(16)
  iv.writeUInt32BE(index, 0)
  iv.writeUInt32BE(variant, 4)
  return createCipheriv('aes-256-ctr', key, iv).update(Buffer.alloc(pieceSize(space, index)))
}

/** All bytes of a sample space. */
export function allBytesOf(space: PieceSpace): Buffer {
  return Buffer.concat(Array.from({ length: pieceCount(space) }, (_, index) => bytesOf(space, index)))
}

export async function put(cached: CachedSpace, index: number, variant = 0): Promise<boolean> {
  const { space } = cached
  return cached.put(await checkPiece(space, index, bytesOf(space, index, variant)))
}

export async function putAll(cached: CachedSpace): Promise<number> {
  let stored = 0
  for (let index = 0; index < pieceCount(cached.space); index++) if (await put(cached, index)) stored++
  return stored
}

export type Outcome = 'right' | 'wrong' | 'miss'

/** Reads a whole piece, in one of the two ways, and compares. */
export async function look(cached: CachedSpace, index: number, how: 'sync' | 'async' = 'async'): Promise<Outcome> {
  const { space } = cached
  const size = pieceSize(space, index)
  let bytes: Uint8Array | undefined
  if (how === 'sync') {
    const into = Buffer.alloc(size)
    const outcome = cached.readSync(index, 0, size, into)
    if (outcome === 'later') return look(cached, index, 'async')
    bytes = outcome === 'hit' ? into : undefined
  } else {
    bytes = await cached.read(index, 0, size)
  }
  if (bytes === undefined) return 'miss'
  return Buffer.compare(bytes, bytesOf(space, index)) === 0 ? 'right' : 'wrong'
}

/** How many pieces of a space read right, wrong and not at all. */
export async function tally(cached: CachedSpace, how: 'sync' | 'async' = 'async'): Promise<Record<Outcome, number>> {
  const counts = { right: 0, wrong: 0, miss: 0 }
  for (let index = 0; index < pieceCount(cached.space); index++) counts[await look(cached, index, how)]++
  return counts
}

interface Test {
  after(done: () => Promise<void>): void
}

const stores = new WeakMap<Test, PieceStore[]>()

/** A new folder; when the test ends its stores are closed, and then it is removed. */
export async function cacheFolder(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'annexfs-cache-'))
  t.after(async () => {
    await closeStores(t)
    await rm(folder, { recursive: true, force: true })
  })
  return folder
}

/** Closes every store that the test has opened; for tests that unmount what lies under them. */
export async function closeStores(t: Test): Promise<void> {
  await Promise.all((stores.get(t) ?? []).map((store) => store.close()))
}

/** A store that keeps nothing in memory unless told, so that every read is one of the disk. */
export async function openStore(
  t: Test,
  folder: string,
  options: Partial<PieceStoreOptions> = {},
): Promise<PieceStore> {
  const store = await openPieceStore({
    folder,
    limitBytes: 1024 * MIB,
    minFreeBytes: 0,
    log: silentLog,
    memoryBytes: 0,
    ...options,
  })
  stores.set(t, [...(stores.get(t) ?? []), store])
  return store
}

/** Paths of all files in a folder, at any depth; what vanishes while it is looked at is left out. */
export function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name)
      return entry.isDirectory() ? filesIn(path) : [path]
    })
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return []
  }
}

/** Bytes on disk of all files in a folder. */
export function blocksIn(folder: string): number {
  let total = 0
  for (const path of filesIn(folder)) total += (lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0) * 512
  return total
}

/** A small seeded generator of numbers in [0, 1) (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000
  }
}

/** A whole number in `[0, below)`. */
export function pick(random: () => number, below: number): number {
  return Math.floor(random() * below)
}

/** A seed for this run, printed; set SEED to repeat one. */
export function seedFor(t: { diagnostic(message: string): void }): number {
  const seed = process.env['SEED'] === undefined ? Date.now() >>> 0 : Number(process.env['SEED'])
  t.diagnostic(`seed ${seed} (repeat with SEED=${seed})`)
  return seed
}

export async function until(what: string, holds: () => boolean | Promise<boolean>, within = 60_000): Promise<void> {
  const deadline = performance.now() + within
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited ${within} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
