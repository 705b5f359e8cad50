import { realpath, stat } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'
import { isAnnexfsMount, mountTable } from '../lib/fuse/mount-table.js'
import { AnnexfsError, reasonOf, systemCode } from '../lib/errors.js'

/** A place inside a mount. */
export interface InsideMount {
  readonly mountpoint: string
  /** In the mount, with a leading slash. */
  readonly path: string
}

/**
 * Where `path` lies, if that is inside a mount of annexfs.
 * @returns undefined for another place, and for what is not there.
 * @throws AnnexfsError NOT_FOUND for what is not there in a mount, and when the process of the mount is dead.
 */
export async function insideWhichMount(path: string): Promise<InsideMount | undefined> {
  let real: string
  try {
    real = await realpath(resolve(path))
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(systemCode(error) ?? '')) {
      const above = dirname(resolve(path))
      if (above === resolve(path) || (await insideWhichMount(above)) === undefined) return undefined
      throw new AnnexfsError('NOT_FOUND', `there is no ${path}`)
    }
    if (systemCode(error) === 'ENOTCONN') throw dead(path)
    throw new AnnexfsError('SYSTEM', `cannot look at ${path}: ${reasonOf(error)}`, { cause: error })
  }
  const around = (await mountTable())
    .filter(({ mountpoint }) => isAround(mountpoint, real))
    .reduce<string | undefined>((best, { mountpoint }) => longer(best, mountpoint), undefined)
  if (around === undefined) return undefined
  const top = (await mountTable()).findLast((entry) => entry.mountpoint === around)
  if (top === undefined || !isAnnexfsMount(top)) return undefined
  // The path of a mount point itself is known without its process.
  await stat(around).catch((error: unknown) => {
    if (systemCode(error) === 'ENOTCONN') throw dead(path)
  })
  const rest = real.slice(around.length)
  return { mountpoint: around, path: rest === '' ? '/' : rest }
}

function dead(path: string): AnnexfsError {
  return new AnnexfsError('NOT_FOUND', `${path} lies in a mount whose process is dead; annexfs unmount clears it`)
}

function isAround(mountpoint: string, path: string): boolean {
  return path === mountpoint || path.startsWith(mountpoint.endsWith(sep) ? mountpoint : `${mountpoint}${sep}`)
}

function longer(one: string | undefined, other: string): string {
  return one === undefined || other.length >= one.length ? other : one
}
