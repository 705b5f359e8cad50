import type { Stats } from 'node:fs'
import { lstat, stat } from 'node:fs/promises'
import { AnnexfsError, reasonOf, systemCode } from './errors.js'

/**
 * What is at `path`; undefined when there is nothing.
 * @param links whether a symbolic link is followed, or is itself what is there.
 * @throws AnnexfsError SYSTEM when that cannot be told: what cannot be looked at is not absent.
 */
export async function statsAt(path: string, links: 'follow' | 'show'): Promise<Stats | undefined> {
  try {
    return await (links === 'follow' ? stat(path) : lstat(path))
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw new AnnexfsError('SYSTEM', `cannot look at ${path}: ${reasonOf(error)}`, { cause: error })
  }
}
