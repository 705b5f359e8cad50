import { AnnexfsError } from '../errors.js'
import { foreignRepository } from '../sources/git-remote.js'
import type { Disk } from '../sources/disk.js'
import { diskOf } from '../sources/disk-of.js'
import { patiently } from '../sources/patience.js'
import type { Key } from '../annex/key.js'
import type { StoreContext } from './context.js'
import { storeFolder } from './directory.js'
import { fileObject, firstFile, objectPaths, realFolder } from './directory-object.js'
import type { ObjectStore } from './store.js'

type Context = Pick<StoreContext, 'remote' | 'annex' | 'forbid' | 'log'>

/**
 * A git remote on this machine, with a work tree or bare: the object files of the repository. It is looked at by reading
 * its files alone, never by running git or git-annex there; its uuid is compared each time, because another drive may be
 * mounted in its place.
 * @throws AnnexfsError INVALID when it has no folder.
 */
export function gitLocalStore({ remote, annex, forbid, log }: Context): ObjectStore {
  const { directory } = remote
  if (directory === undefined || directory === '') {
    throw new AnnexfsError('INVALID', `git remote ${remote.name} is not a folder of this machine`)
  }

  const objectsFor = async (content: Key, disk: Disk): Promise<string | undefined> => {
    const folder = await storeFolder(directory, remote.name, forbid, disk)
    const repository = await foreignRepository(folder, log, disk)
    const uuid = repository?.uuid
    // One that was never asked for its uuid is good for what is known to be in the repository that it turns out to be.
    const expected =
      remote.uuid === '' ? uuid !== undefined && (await annex.locations(content)).includes(uuid) : uuid === remote.uuid
    if (repository === undefined || !expected) {
      const found = repository === undefined ? 'no repository' : `the repository ${uuid ?? 'without annex.uuid'}`
      const wanted = remote.uuid === '' ? 'one that is recorded to have the content' : remote.uuid
      throw new AnnexfsError('UNAVAILABLE', `${folder} of remote ${remote.name} is ${found}, not ${wanted}`)
    }
    return realFolder(repository.objects, disk)
  }

  const disks = diskOf(directory)
  return {
    open: async (name, signal) => {
      const file = await patiently(
        directory,
        signal,
        async () => {
          const disk = await disks.current()
          const folder = await objectsFor(name.content, disk)
          if (folder === undefined || forbid(folder)) return undefined
          return firstFile({ disk, folder, candidates: objectPaths(folder, name), size: name.size, forbid })
        },
        (late) => late?.close(),
      )
      return file === undefined ? undefined : fileObject(file, directory)
    },
    close: async () => disks.close(),
  }
}
