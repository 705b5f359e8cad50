import { dirname } from 'node:path'
import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { keyFile } from '../annex/key.js'
import { AnnexfsError, reasonOf, systemCode, throwIfAborted } from '../errors.js'
import { printable } from '../log/log.js'
import type { Disk, DiskFile } from '../sources/disk.js'
import { patiently } from '../sources/patience.js'
import { checkInside } from '../sources/range.js'
import type { Demand } from '../sources/source.js'
import type { ByteRange, Bytes } from '../space/space.js'
import type { ObjectName, StoredObject } from './store.js'

const BLOCK: Bytes = 1024 * 1024

/** The folder that `path` is, with links resolved; undefined when there is none. */
export async function realFolder(path: string, disk: Disk): Promise<string | undefined> {
  try {
    return (await disk.realpath(Buffer.from(path))).toString()
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw new AnnexfsError('SYSTEM', `cannot look at ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

/**
 * Where a store in `folder` may keep an object by its key: both forms of hash directory, of two levels and (tuned
 * repositories) of one. Which is in use depends on the age and the kind of store.
 */
export function objectPaths(folder: string, name: ObjectName): readonly Buffer[] {
  const file = keyFile(name.key)
  const both = [hashDirLower(name.key), hashDirMixed(name.key)]
  const oneLevel = both.map((path) => path.slice(0, path.indexOf('/') + 1))
  return [...both, ...oneLevel].map((path) => below(folder, `${path}${file}/${file}${name.suffix ?? ''}`))
}

/**
 * The place of a path of a tree below `folder`.
 * @throws AnnexfsError INVALID for one that would leave it.
 */
export function treePath(folder: string, path: Buffer): Buffer {
  const text = path.toString('latin1')
  const parts = text.split('/')
  if (text.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw new AnnexfsError('INVALID', `the exported path ${printable(path.toString())} is not a path below a folder`)
  }
  return below(folder, text)
}

function below(folder: string, latin1: string): Buffer {
  return Buffer.concat([Buffer.from(folder.endsWith('/') ? folder : `${folder}/`), Buffer.from(latin1, 'latin1')])
}

export interface FileSearch {
  readonly disk: Disk
  /** The folder that the files are in; no link leads out of it. */
  readonly folder: string
  readonly candidates: readonly Buffer[]
  readonly size: Bytes | undefined
  readonly forbid: (path: string) => boolean
}

/**
 * Opens the first candidate that is a regular file.
 * @throws AnnexfsError CORRUPT when it has another size, SYSTEM when it cannot be opened.
 */
export async function firstFile(search: FileSearch): Promise<DiskFile | undefined> {
  let other: AnnexfsError | undefined
  for (const path of search.candidates) {
    if (!(await isWithin(path, search))) continue
    const file = await search.disk.open(path, undefined)
    if (file === undefined) continue
    if (search.size === undefined || file.size === search.size) return file
    file.close()
    const where = printable(path.toString())
    other ??= new AnnexfsError('CORRUPT', `${where} has ${file.size} bytes instead of ${search.size}`)
  }
  if (other !== undefined) throw other
  return undefined
}

/** Whether the folder of `path` is, with links resolved, in the store, and none that must not be read. */
async function isWithin(path: Buffer, { disk, folder, forbid }: FileSearch): Promise<boolean> {
  const parent = dirname(path.toString('latin1'))
  let real: string
  try {
    real = (await disk.realpath(Buffer.from(parent, 'latin1'))).toString('latin1')
  } catch (error) {
    if (isAbsent(error)) return false
    throw new AnnexfsError('SYSTEM', `cannot look at ${printable(parent)}: ${reasonOf(error)}`, { cause: error })
  }
  const base = Buffer.from(folder).toString('latin1')
  if (real !== base && !real.startsWith(base.endsWith('/') ? base : `${base}/`)) return false
  return !forbid(Buffer.from(real, 'latin1').toString())
}

function isAbsent(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error) ?? '')
}

/** An open file as an object; `place`: what may hang as a whole. */
export function fileObject(file: DiskFile, place: string): StoredObject {
  async function* read(range: ByteRange, demand: Demand): AsyncGenerator<Uint8Array, void, undefined> {
    throwIfAborted(demand.signal)
    checkInside(range, file.size, place)
    for (let at = range.start; at < range.end; at += BLOCK) {
      const start = at
      yield await patiently(place, demand.signal, () => file.read(start, Math.min(BLOCK, range.end - start)))
    }
  }
  return {
    unit: 4096,
    longest: 16 * BLOCK,
    parallel: 2,
    size: file.size,
    version: file.version,
    read,
    all: async function* (most, demand) {
      if (file.size > most) {
        throw new AnnexfsError('CORRUPT', `a file of ${place} has ${file.size} bytes, at most ${most} were expected`)
      }
      yield* read({ start: 0, end: file.size }, demand)
    },
    close: () => file.close(),
  }
}
