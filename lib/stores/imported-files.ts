import type { AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import type { Key } from '../annex/key.js'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import { printable } from '../log/log.js'
import { patiently } from '../sources/patience.js'
import type { Disk } from '../sources/disk.js'
import { diskOf } from '../sources/disk-of.js'
import { treePath } from './directory-object.js'
import type { ObjectStore } from './store.js'

/** Whether files of the remote are known by content identifiers that are looked at here. */
export function isImportedDirectory({ kind, config }: AnnexRemote): boolean {
  return kind === 'directory' && config.get('importtree') === 'yes'
}

/**
 * A directory that files were imported from, and that others may change at any time: a file counts as the key's only
 * while it has the size and time that git-annex recorded when it imported it (`.log.cid`). Its inode is not compared:
 * it changes when the folder is copied or mounted elsewhere.
 */
export function importedFiles(store: ObjectStore, remote: AnnexRemote, annex: AnnexRepository): ObjectStore {
  const { directory } = remote
  const disks = diskOf(directory ?? '/')
  return {
    open: async (name, signal) => {
      const { path, content } = name
      const recorded = path === undefined ? [] : await contentIdentifiers(annex, content, remote)
      if (path === undefined || directory === undefined || recorded.length === 0) return store.open(name, signal)
      const place = treePath(directory, path)
      const isThere = async (): Promise<boolean> => {
        const stamp = await patiently(directory, signal, async () => stampOf(place, await disks.current()))
        if (stamp === undefined || recorded.includes(stamp)) return stamp !== undefined
        const where = printable(place.toString())
        throw new AnnexfsError('CORRUPT', `${where} of remote ${remote.name} has changed since it was imported`)
      }
      if (!(await isThere())) return undefined
      const object = await store.open(name, signal)
      try {
        // What was opened may have been put there just before.
        if (await isThere()) return object
      } catch (error) {
        object?.close?.()
        throw error
      }
      object?.close?.()
      return undefined
    },
    close: async () => {
      disks.close()
      await store.close?.()
    },
  }
}

/** `size mtime nanoseconds` of the versions of a key that a directory has or had, without their inodes. */
async function contentIdentifiers(annex: AnnexRepository, key: Key, remote: AnnexRemote): Promise<readonly string[]> {
  const text = (await annex.stateOf(key, '.log.cid')).get(remote.configUuid ?? remote.uuid)
  return (text ?? '').split(':').flatMap((word) => {
    const plain = word.startsWith('!') ? Buffer.from(word.slice(1), 'base64').toString('latin1') : word
    // The digits of the seconds' fraction, without zeros at their end.
    const match = /^\d+ (\d+) (\d+)(?: (\d{0,9}))?$/.exec(plain)
    return match === null ? [] : [`${match[1]} ${match[2]} ${Number((match[3] ?? '').padEnd(9, '0'))}`]
  })
}

async function stampOf(path: Buffer, disk: Disk): Promise<string | undefined> {
  try {
    const { size, modified } = await disk.stamp(path)
    return `${size} ${modified / 1_000_000_000n} ${Number(modified % 1_000_000_000n)}`
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENAMETOOLONG'].includes(systemCode(error) ?? '')) return undefined
    throw new AnnexfsError('SYSTEM', `cannot look at ${printable(path.toString())}: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}
