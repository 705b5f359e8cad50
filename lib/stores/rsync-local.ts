import { AnnexfsError } from '../errors.js'
import { diskOf } from '../sources/disk-of.js'
import { patiently } from '../sources/patience.js'
import type { StoreContext } from './context.js'
import { fileObject, firstFile, realFolder } from './directory-object.js'
import { rsyncPaths } from './rsync-url.js'
import type { RsyncStore } from './rsync.js'

/** The objects of an rsync remote in a folder of this machine (which may be a network file system, and hang). */
export function localObjects({ remote, forbid }: StoreContext, root: string): RsyncStore {
  const inMount = (): AnnexfsError =>
    new AnnexfsError('FORBIDDEN', `the folder ${root} of the remote ${remote.name} lies inside the mount`)
  const disks = diskOf(root)
  return {
    received: 0,
    open: async (name, signal) => {
      if (forbid(root)) throw inMount()
      const file = await patiently(
        root,
        signal,
        async () => {
          const disk = await disks.current()
          const folder = await realFolder(root, disk)
          if (folder === undefined) {
            throw new AnnexfsError('UNAVAILABLE', `the folder ${root} of the remote ${remote.name} is not there`)
          }
          if (forbid(folder)) throw inMount()
          return firstFile({ disk, folder, candidates: rsyncPaths(folder, name), size: name.size, forbid })
        },
        (late) => late?.close(),
      )
      return file === undefined ? undefined : fileObject(file, root)
    },
    close: async () => disks.close(),
  }
}
