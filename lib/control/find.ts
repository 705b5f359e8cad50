import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { AnnexfsError, isAnnexfsError, systemCode } from '../errors.js'
import { ControlClient } from './client.js'
import { controlFolders, isPrivateFolder, socketName } from './folder.js'

/** More sockets than this are not somebody's mounts. */
const MOST_SOCKETS = 256

/**
 * The control of the mount at `mountpoint` (absolute, without symbolic links).
 * @throws AnnexfsError NOT_FOUND when nobody answers for it.
 */
export async function controlOf(mountpoint: string, folders = controlFolders()): Promise<ControlClient> {
  const name = socketName(mountpoint)
  for (const folder of folders) {
    if (!isPrivateFolder(folder)) continue
    const client = await tryConnect(join(folder, name))
    if (client !== undefined) return client
  }
  throw new AnnexfsError(
    'NOT_FOUND',
    `nobody answers for the mount at ${mountpoint}: it was made by another user, or with another XDG_RUNTIME_DIR ` +
      `(looked in ${folders.join(', ')})`,
  )
}

/** The control of every running annexfs of this user. */
export async function allControls(folders = controlFolders()): Promise<readonly ControlClient[]> {
  const clients: ControlClient[] = []
  for (const folder of folders) {
    if (!isPrivateFolder(folder)) continue
    const names = (await namesIn(folder)).filter((name) => name.endsWith('.sock')).sort()
    for (const name of names.slice(0, MOST_SOCKETS)) {
      const client = await tryConnect(join(folder, name))
      if (client !== undefined) clients.push(client)
    }
  }
  return clients
}

async function tryConnect(path: string): Promise<ControlClient | undefined> {
  try {
    return await ControlClient.connect(path)
  } catch (error) {
    if (isAnnexfsError(error, 'NOT_FOUND') || isAnnexfsError(error, 'TIMED_OUT')) return undefined
    throw error
  }
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return []
    throw error
  }
}
