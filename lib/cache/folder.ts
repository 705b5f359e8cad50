import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
  chmodSync,
  type Stats,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'

/**
 * The cache folder and how anything inside it is opened. Everything in it is ours alone: folders 0700, files 0600,
 * whatever the umask. The folder itself may be reached through a symbolic link, but nothing inside may be one, belong to
 * somebody else or have a second name: otherwise whoever planted it could have us write elsewhere.
 */
export const MARKER = 'annexfs-cache'
export const MARKER_TEXT = 'annexfs cache 1\n'
export const SPACES = 'spaces'
export const CLIENTS = 'clients'
export const FACTS = 'facts'
export const PINS = 'pins'
export const TRANSFERS = 'transfers'
/** Clones of repositories that were given by URL, or entered as sub-datasets. */
export const CLONES = 'clones'
export const EVICT_LOCK = 'evict.lock'
const OURS: readonly string[] = [SPACES, CLIENTS, FACTS, PINS, TRANSFERS, CLONES, EVICT_LOCK, MARKER]
/** What mkfs puts into the root of a new ext4. */
const IGNORED = 'lost+found'

const FOLDER_MODE = 0o700
const FILE_MODE = 0o600

function isOurs(stats: Stats): boolean {
  return process.geteuid === undefined || stats.uid === process.geteuid()
}

function refuse(path: string, why: string): AnnexfsError {
  return new AnnexfsError(
    'FORBIDDEN',
    `the cache does not use ${path}: ${why}; remove it, or choose another cache folder`,
  )
}

/** Makes a folder inside the cache, or checks the one that is there. */
export function ensureFolder(path: string): void {
  try {
    mkdirSync(path, { mode: FOLDER_MODE })
    chmodSync(path, FOLDER_MODE)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
    checkFolder(path)
  }
}

/** @throws AnnexfsError FORBIDDEN when `path` is a link, no folder, or another user's; ENOENT when it is missing. */
export function checkFolder(path: string): void {
  const stats = lstatSync(path)
  if (!stats.isDirectory()) throw refuse(path, 'it is not a folder')
  if (!isOurs(stats)) throw refuse(path, 'it belongs to another user')
}

export type OpenMode = 'read' | 'write' | 'create' | 'exclusive'

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT,
  exclusive: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
}

/**
 * Opens a file inside the cache; the caller closes it.
 * @throws AnnexfsError FORBIDDEN when it is a link, no file, another user's, or has a second name.
 */
export function openFile(path: string, mode: OpenMode): number {
  let fd: number
  try {
    fd = openSync(path, FLAGS[mode] | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY, FILE_MODE)
  } catch (error) {
    if (systemCode(error) === 'ELOOP') throw refuse(path, 'it is a symbolic link')
    throw error
  }
  try {
    const stats = fstatSync(fd)
    if (!stats.isFile()) throw refuse(path, 'it is not a file')
    if (!isOurs(stats)) throw refuse(path, 'it belongs to another user')
    if (stats.nlink > 1) throw refuse(path, 'it has a second name')
    if ((stats.mode & 0o777) !== FILE_MODE && mode !== 'read') fchmodSync(fd, FILE_MODE)
    return fd
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** True while the file behind `fd` still has a name. */
export function isLinked(fd: number): boolean {
  return fstatSync(fd).nlink > 0
}

/** Which folder a path leads to now; changes when it is replaced. */
export function identityOf(folder: string): string {
  const stats = statSync(folder)
  return `${stats.dev}:${stats.ino}`
}

/**
 * Makes `folder` a cache folder, or checks that it is one. An older or newer format is emptied, of our own parts only.
 * @throws AnnexfsError INVALID when it is not empty and not a cache; SYSTEM when it cannot be made or looked at.
 */
export function prepareFolder(folder: string): void {
  try {
    makeWithParents(resolve(folder))
    const stats = statSync(folder)
    if (!stats.isDirectory()) throw new AnnexfsError('INVALID', `the cache folder ${folder} is not a folder`)
    if (!isOurs(stats)) {
      throw new AnnexfsError('INVALID', `the cache folder ${folder} belongs to another user; choose one of your own`)
    }
    const marker = readMarker(folder)
    if (marker !== MARKER_TEXT) {
      if (marker === undefined) refuseUnlessEmpty(folder)
      else removeOurs(folder)
      tighten(folder, stats)
      writeMarker(folder)
    }
    tighten(folder, stats)
    for (const name of [SPACES, CLIENTS, FACTS]) ensureUnlessReadOnly(join(folder, name))
  } catch (error) {
    if (error instanceof AnnexfsError) throw error
    throw new AnnexfsError(
      'SYSTEM',
      `cannot use the cache folder ${folder}: ${reasonOf(error)}; make it writable or choose another`,
      { cause: error },
    )
  }
}

/** An existing cache that just cannot be written to is still worth reading from. */
function ensureUnlessReadOnly(path: string): void {
  try {
    ensureFolder(path)
  } catch (error) {
    if (systemCode(error) !== 'EROFS') throw error
  }
}

function tighten(folder: string, stats: Stats): void {
  if ((stats.mode & 0o777) === FOLDER_MODE) return
  try {
    chmodSync(folder, FOLDER_MODE)
  } catch (error) {
    if (systemCode(error) !== 'EROFS') throw error
  }
}

/** Like `mkdir -p`, but what it makes is 0700 whatever the umask. */
function makeWithParents(folder: string): void {
  try {
    mkdirSync(folder, { mode: FOLDER_MODE })
    chmodSync(folder, FOLDER_MODE)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EEXIST') return
    if (code === 'EROFS' && statSync(folder, { throwIfNoEntry: false }) !== undefined) return
    if (code !== 'ENOENT' || dirname(folder) === folder) throw error
    makeWithParents(dirname(folder))
    mkdirSync(folder, { mode: FOLDER_MODE })
    chmodSync(folder, FOLDER_MODE)
  }
}

/** The marker's text, or undefined when there is none. */
export function readMarker(folder: string): string | undefined {
  let fd: number
  try {
    fd = openFile(join(folder, MARKER), 'read')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const text = Buffer.alloc(64)
    return text.toString('latin1', 0, readSync(fd, text, 0, text.length, 0))
  } finally {
    closeSync(fd)
  }
}

/** Writes the marker into a folder that is known to be ours. */
export function writeMarker(folder: string): void {
  const fd = openFile(join(folder, MARKER), 'create')
  try {
    writeSync(fd, MARKER_TEXT, 0, 'latin1')
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function refuseUnlessEmpty(folder: string): void {
  const strangers = readdirSync(folder).filter((name) => name !== IGNORED)
  if (strangers.length === 0) return
  throw new AnnexfsError(
    'INVALID',
    `the folder ${folder} is not empty and is not an annexfs cache; give an empty or new folder as the cache`,
  )
}

/** @throws AnnexfsError INVALID when `folder` is not a cache of ours (any format). */
export function requireCache(folder: string): void {
  let marker: string | undefined
  try {
    marker = readMarker(folder)
  } catch (error) {
    throw new AnnexfsError('SYSTEM', `cannot look at the cache folder ${folder}: ${reasonOf(error)}`, { cause: error })
  }
  if (marker === undefined) throw new AnnexfsError('INVALID', `${folder} is not an annexfs cache; nothing was touched`)
}

/**
 * Removes our own parts of the folder: everything, the marker last, or only pieces and facts (for a cache that may be in
 * use). Links are removed, never followed.
 */
export function removeOurs(folder: string, what: 'everything' | 'contents' = 'everything'): void {
  for (const name of what === 'contents' ? [SPACES, FACTS, PINS] : OURS) {
    rmSync(join(folder, name), { recursive: true, force: true })
  }
}

/** Names in the folder's top level that are not ours. */
export function strangersIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => !OURS.includes(name) && name !== IGNORED)
}

/** Where the files of the space with this name lie. */
export function spaceFolder(folder: string, name: string): string {
  return join(folder, SPACES, name.slice(0, 2), name)
}
