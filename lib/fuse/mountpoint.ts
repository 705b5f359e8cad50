import { readdir, realpath, stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import { mountAt, mountTable } from './mount-table.js'

/** fuse-native cuts longer paths. */
const PATH_MAX_BYTES = 1000

export interface Mountpoint {
  /** Absolute, without symbolic links. */
  readonly path: string
  readonly empty: boolean
}

/**
 * Finds the folder to mount on.
 * @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY, INVALID (something is mounted there already), each with what to do.
 */
export async function findMountpoint(given: string): Promise<Mountpoint> {
  const absolute = resolve(given)
  const path = await realpath(absolute).catch((error: unknown) => {
    throw unusable(absolute, error)
  })
  if (Buffer.byteLength(path) > PATH_MAX_BYTES) {
    throw new AnnexfsError(
      'INVALID',
      `the mount point ${path} has more than ${PATH_MAX_BYTES} bytes; use a shorter path`,
    )
  }
  const mounted = mountAt(await mountTable(), path)
  if (mounted !== undefined) {
    throw new AnnexfsError(
      'INVALID',
      `${path} is a mount point already (${mounted.type}, ${mounted.source}). ` +
        'Unmount that first (`annexfs unmount` if it is one of annexfs), or choose another folder.',
    )
  }
  try {
    const [own, parent] = await Promise.all([stat(path), stat(dirname(path))])
    if (!own.isDirectory()) throw new AnnexfsError('NOT_A_DIRECTORY', `${path} is not a folder; mount on a folder`)
    if (own.dev !== parent.dev) {
      throw new AnnexfsError('INVALID', `${path} is the root of a file system of its own; mount on a folder inside it`)
    }
    return { path, empty: (await readdir(path)).length === 0 }
  } catch (error) {
    throw error instanceof AnnexfsError ? error : unusable(path, error)
  }
}

function unusable(path: string, error: unknown): AnnexfsError {
  const code = systemCode(error)
  if (code === 'ENOENT') {
    return new AnnexfsError('NOT_FOUND', `the mount point ${path} does not exist; make it with mkdir`, { cause: error })
  }
  if (code === 'ENOTDIR') {
    return new AnnexfsError('NOT_A_DIRECTORY', `${path} is not a folder; mount on a folder`, { cause: error })
  }
  if (code === 'ENOTCONN' || code === 'ECONNABORTED') {
    return new AnnexfsError('INVALID', `${path} is left over from a mount that died; run \`annexfs unmount\` on it`, {
      cause: error,
    })
  }
  return new AnnexfsError('SYSTEM', `the mount point ${path} cannot be used: ${reasonOf(error)}`, { cause: error })
}
