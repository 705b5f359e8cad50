import { readlink, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve, sep } from 'node:path'
import { AnnexfsError, systemCode } from '../errors.js'

const MOST_LINKS = 40

/**
 * True when `path` (which need not exist yet) is `mountpoint` or lies inside it, whatever symbolic links lead there.
 * Reading our own mount from our own process can deadlock, so a cache, repository, watched folder or remote there is
 * refused. To be asked before mounting.
 */
export async function insideMount(path: string, mountpoint: string): Promise<boolean> {
  const [inner, outer] = await Promise.all([whereItWillBe(path), whereItWillBe(mountpoint)])
  return inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : outer + sep)
}

/** The real path of `path`, following also links to what does not exist yet. */
async function whereItWillBe(path: string, links = 0): Promise<string> {
  if (links > MOST_LINKS) throw new AnnexfsError('INVALID', `too many symbolic links at ${path}`)
  const absolute = resolve(path)
  try {
    return await realpath(absolute)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw cannotTell(absolute, error)
  }
  const parent = await whereItWillBe(dirname(absolute), links)
  const here = join(parent, basename(absolute))
  try {
    return await whereItWillBe(resolve(parent, await readlink(here)), links + 1)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT' || code === 'EINVAL') return here
    throw error instanceof AnnexfsError ? error : cannotTell(here, error)
  }
}

function cannotTell(path: string, cause: unknown): AnnexfsError {
  return new AnnexfsError('SYSTEM', `cannot tell where ${path} really is: ${systemCode(cause) ?? String(cause)}`, {
    cause,
  })
}
