import { realpath, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError, systemCode } from '../errors.js'
import type { Milliseconds } from '../space/space.js'
import { isAnnexfsMount, mountAt, mountTable, type MountEntry } from './mount-table.js'
import { runCommand } from './run-command.js'

const COMMAND_TIMEOUT: Milliseconds = 2000
/** Readers that were just given an error close their files within that. */
const BUSY_TRIES = 4
const BUSY_PAUSE: Milliseconds = 100

/**
 * Unmounts the annexfs at `mountpoint`, also a dead one; one in use is detached and goes when its last file is closed:
 * then it resolves to true.
 * @throws AnnexfsError NOT_FOUND when nothing is mounted there, INVALID when it is no annexfs, SYSTEM when it fails.
 */
export async function unmountPath(mountpoint: string): Promise<boolean> {
  const entry = await findMount(mountpoint)
  if (entry === undefined) throw new AnnexfsError('NOT_FOUND', `nothing is mounted at ${resolve(mountpoint)}`)
  if (!isAnnexfsMount(entry)) {
    throw new AnnexfsError(
      'INVALID',
      `${entry.mountpoint} is a mount of ${entry.source} (${entry.type}), not of annexfs; unmount it with umount`,
    )
  }
  return detach(entry)
}

/** The topmost mount at `mountpoint`; asks the file system itself as little as possible, for it may be dead. */
export async function findMount(mountpoint: string): Promise<MountEntry | undefined> {
  const table = await mountTable()
  const absolute = resolve(mountpoint)
  const literal = mountAt(table, absolute)
  if (literal !== undefined) return literal
  // A path that cannot be resolved leads to no mount of this name; the caller says that nothing is there.
  const parent = await realpath(dirname(absolute)).catch(() => undefined)
  const sibling = parent === undefined ? undefined : mountAt(table, join(parent, basename(absolute)))
  if (sibling !== undefined) return sibling
  const real = await realpath(absolute).catch(() => undefined)
  return real === undefined ? undefined : mountAt(table, real)
}

/**
 * Takes the mount out of the mount table, without a shell: plainly while that works, else lazily. Resolves to true when
 * it was lazily, so that files may still be open in it.
 * @throws AnnexfsError SYSTEM when neither works.
 */
export async function detach(entry: MountEntry): Promise<boolean> {
  const said: string[] = []
  for (const lazy of [false, true]) {
    for (let attempt = 0; attempt < (lazy ? 1 : BUSY_TRIES); attempt++) {
      if (attempt > 0) await sleep(BUSY_PAUSE)
      const failure = await tryPrograms(entry.mountpoint, lazy)
      if (!(await isMounted(entry))) return lazy
      said.push(failure)
      if (!/busy/i.test(failure)) break
    }
  }
  throw new AnnexfsError(
    'SYSTEM',
    `cannot unmount ${entry.mountpoint}: ${[...new Set(said)].join('; ')}. ` +
      'Only root and the user who mounted it may; root can always run umount -l on it.',
  )
}

/** True while just this mount is in the mount table. */
export async function isMounted(entry: MountEntry): Promise<boolean> {
  return (await presentEntry(entry)) !== undefined
}

/**
 * What the mount table says of this mount now; undefined when it is gone. The kernel gives the numbers of a mount to the
 * next one at once, so its path counts too; another path is believed when `parent`, the folder that it lay in, was renamed.
 */
export async function presentEntry(entry: MountEntry, parent?: FolderId): Promise<MountEntry | undefined> {
  for (const other of await mountTable()) {
    if (other.id !== entry.id || other.device !== entry.device) continue
    if (other.mountpoint === entry.mountpoint) return other
    if (parent === undefined || basename(other.mountpoint) !== basename(entry.mountpoint)) return undefined
    return (await folderId(dirname(other.mountpoint))) === parent ? other : undefined
  }
  return undefined
}

/** A folder, whatever its name: its device and inode. */
export type FolderId = `${number}:${number}`

/** Undefined when there is none, or it cannot be looked at. */
export async function folderId(path: string): Promise<FolderId | undefined> {
  try {
    const { dev, ino } = await stat(path)
    return `${dev}:${ino}`
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return undefined
  }
}

async function tryPrograms(mountpoint: string, lazy: boolean): Promise<string> {
  const said: string[] = []
  for (const [program, ...args] of programs(mountpoint, lazy)) {
    const result = await runCommand(program, args, COMMAND_TIMEOUT)
    if (result.ok) return ''
    if (!result.missing) return `${program}: ${result.said}`
    said.push(`${program} is not installed`)
  }
  return said.join(', ')
}

function programs(mountpoint: string, lazy: boolean): readonly (readonly [string, ...string[]])[] {
  const fusermount = ['-u', ...(lazy ? ['-z'] : []), '--', mountpoint] as const
  const asUser = [
    ['fusermount3', ...fusermount],
    ['fusermount', ...fusermount],
  ] as const
  if (process.getuid?.() !== 0) return asUser
  // -i: no helper program of the file system's type.
  return [['umount', '-i', ...(lazy ? ['-l'] : []), '--', mountpoint], ...asUser]
}
