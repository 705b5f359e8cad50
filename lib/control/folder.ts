import { chmodSync, lstatSync, mkdirSync, type Stats } from 'node:fs'
import { createHash } from 'node:crypto'
import { homedir, tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'

/*
 * Where control sockets lie: a folder of the user's own that nobody else may enter. That, and not the socket's own mode
 * alone, is what keeps other users out.
 */

const PRIVATE = 0o700
/** sun_path of unix(7) has 108 bytes, the last of which is NUL. */
export const LONGEST_SOCKET_PATH = 107
/** `<16 hex>.sock`, and while it is made `.new` behind it. */
const LONGEST_NAME = 30

/** The name of the socket of the mount at `mountpoint` (absolute, without symbolic links). */
export function socketName(mountpoint: string): string {
  return `${createHash('sha256').update(mountpoint).digest('hex').slice(0, 16)}.sock`
}

/**
 * The folders where sockets may lie, best first: below `$XDG_RUNTIME_DIR`; in the user's state folder; in the folder for
 * temporary files. Those whose path leaves no room for a socket's name are left out.
 */
export function controlFolders(environment: NodeJS.ProcessEnv = process.env): readonly string[] {
  const own = (name: string): string | undefined => {
    const value = environment[name]
    return value !== undefined && value.startsWith('/') ? value : undefined
  }
  const runtime = own('XDG_RUNTIME_DIR')
  const state = own('XDG_STATE_HOME') ?? join(own('HOME') ?? homedir(), '.local', 'state')
  const folders = [
    ...(runtime === undefined ? [] : [join(runtime, 'annexfs')]),
    join(state, 'annexfs', 'run'),
    join(tmpdir(), `annexfs-${userInfo().uid}`),
  ]
  return folders.filter((folder) => Buffer.byteLength(folder) + LONGEST_NAME < LONGEST_SOCKET_PATH)
}

/**
 * Makes the first of `folders` that can be used, or checks it.
 * @throws AnnexfsError SYSTEM with what is wrong with each of them.
 */
export function ensureControlFolder(folders: readonly string[] = controlFolders()): string {
  const reasons: string[] = []
  for (const folder of folders) {
    try {
      makePrivate(folder)
      return folder
    } catch (error) {
      reasons.push(`${folder}: ${reasonOf(error)}`)
    }
  }
  throw new AnnexfsError(
    'SYSTEM',
    `there is no folder for a control socket (${reasons.join('; ')}); set XDG_RUNTIME_DIR`,
  )
}

/** True for a folder that only this user can have put something into. */
export function isPrivateFolder(folder: string): boolean {
  try {
    checkPrivate(folder)
    return true
  } catch (error) {
    if (error instanceof AnnexfsError || systemCode(error) !== undefined) return false
    throw error
  }
}

function makePrivate(folder: string): void {
  makeParents(dirname(folder))
  try {
    mkdirSync(folder, { mode: PRIVATE })
    chmodSync(folder, PRIVATE)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error
    const stats = lstatSync(folder)
    // One that we made ourselves, and somebody opened.
    if (stats.isDirectory() && isOurs(stats) && (stats.mode & 0o777) !== PRIVATE) chmodSync(folder, PRIVATE)
  }
  checkPrivate(folder)
}

function makeParents(folder: string): void {
  try {
    lstatSync(folder)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error
    mkdirSync(folder, { recursive: true, mode: PRIVATE })
  }
}

/** @throws AnnexfsError FORBIDDEN, or a system error when it is not there. */
function checkPrivate(folder: string): void {
  const stats = lstatSync(folder)
  if (!stats.isDirectory()) throw refusal('it is not a folder')
  if (!isOurs(stats)) throw refusal('it belongs to another user')
  if ((stats.mode & 0o077) !== 0) throw refusal('others may enter it')
  // In a folder where others may rename what is ours, a check says nothing about the next moment.
  const parent = lstatSync(dirname(folder))
  const sticky = (parent.mode & 0o1000) !== 0
  if (parent.isSymbolicLink()) return
  if (!isOurs(parent) && parent.uid !== 0) throw refusal('the folder around it belongs to another user')
  if ((parent.mode & 0o022) !== 0 && !sticky) throw refusal('others may write to the folder around it')
}

function isOurs(stats: Stats): boolean {
  return stats.uid === process.geteuid?.()
}

function refusal(why: string): AnnexfsError {
  return new AnnexfsError('FORBIDDEN', why)
}
