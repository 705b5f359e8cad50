import { AnnexfsError } from '../errors.js'
import { diskOf } from '../sources/disk-of.js'
import type { Disk } from '../sources/disk.js'
import { patiently } from '../sources/patience.js'
import type { StoreContext } from './context.js'
import { fileObject, firstFile, objectPaths, realFolder, treePath } from './directory-object.js'
import type { ObjectStore } from './store.js'

type Context = Pick<StoreContext, 'remote' | 'forbid'>

/**
 * A special remote of type `directory`: files below a folder, by hash directories or, of an exported or imported tree,
 * by their paths. Nothing outside of the folder is read, whatever links lie in it.
 * @throws AnnexfsError INVALID when the folder is not known (it is kept in the git configuration alone).
 */
export function directoryStore({ remote, forbid }: Context): ObjectStore {
  const { directory } = remote
  if (directory === undefined || directory === '') {
    throw new AnnexfsError(
      'INVALID',
      `the folder of the directory remote ${remote.name} is not known here: git annex enableremote ${remote.name} directory=…`,
    )
  }
  const disk = diskOf(directory)
  return {
    open: async (name, signal) => {
      const file = await patiently(
        directory,
        signal,
        async () => {
          const reader = await disk.current()
          const folder = await storeFolder(directory, remote.name, forbid, reader)
          const { path } = name
          const candidates = path === undefined ? objectPaths(folder, name) : [treePath(folder, path)]
          return firstFile({ disk: reader, folder, candidates, size: name.size, forbid })
        },
        (late) => late?.close(),
      )
      return file === undefined ? undefined : fileObject(file, directory)
    },
    close: async () => disk.close(),
  }
}

/**
 * The folder of a remote, with links resolved.
 * @throws AnnexfsError UNAVAILABLE when it is not there, FORBIDDEN when it lies in the mount.
 */
export async function storeFolder(
  directory: string,
  remote: string,
  forbid: (path: string) => boolean,
  disk: Disk,
): Promise<string> {
  const inside = (): AnnexfsError =>
    new AnnexfsError('FORBIDDEN', `remote ${remote} is not read: ${directory} lies inside the mount`)
  if (forbid(directory)) throw inside()
  const folder = await realFolder(directory, disk)
  if (folder === undefined) {
    throw new AnnexfsError(
      'UNAVAILABLE',
      `the folder ${directory} of remote ${remote} is not there: is its disk mounted?`,
    )
  }
  if (forbid(folder)) throw inside()
  return folder
}
