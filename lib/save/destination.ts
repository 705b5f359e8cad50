import { lstat, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'

const LONGEST_NAME = 255

/**
 * The path below `base` that names lead to, with its folders made. The names come from a repository or a torrent: no
 * name leads up, and no symbolic link below `base` is followed, whoever made it.
 * @throws AnnexfsError FORBIDDEN for such a name or link, SYSTEM when a folder cannot be made.
 */
export async function placeBelow(base: string, names: readonly string[]): Promise<string> {
  const last = names.at(-1)
  if (last === undefined) throw new AnnexfsError('INVALID', 'a file has no name')
  for (const name of names) checkName(name)
  let folder = base
  for (const name of names.slice(0, -1)) {
    folder = join(folder, name)
    await ensureFolder(folder)
  }
  return join(folder, last)
}

async function ensureFolder(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      throw new AnnexfsError('SYSTEM', `cannot make the folder ${path}: ${reasonOf(error)}`, { cause: error })
    }
    const stats = await lstat(path)
    if (stats.isDirectory()) return
    const what = stats.isSymbolicLink() ? 'a symbolic link, which is not followed' : 'not a folder'
    throw new AnnexfsError('FORBIDDEN', `${path} is ${what}; remove it, or choose another place`)
  }
}

function checkName(name: string): void {
  const bad =
    name === '' || name === '.' || name === '..' || /[/\0]/.test(name) || Buffer.byteLength(name) > LONGEST_NAME
  if (bad) throw new AnnexfsError('FORBIDDEN', `${JSON.stringify(name)} is no name for a file`)
}
