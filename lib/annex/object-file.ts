import { lstat, realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { hashDirLower, hashDirMixed } from './hash-dirs.js'
import { keyFile, type Key } from './key.js'

/** A file below `annex/objects` that holds the content of a key. */
export interface LocalObject {
  /** Bytes, because keys need not be UTF-8. Open it with O_NOFOLLOW. */
  readonly path: Buffer
  /** In bytes. */
  readonly size: number
  /** Milliseconds since the epoch. */
  readonly mtime: number
  /** Some write bit is set: it may have been edited in place (annex.thin), so hash it before trusting it. */
  readonly writable: boolean
  /** It has several links: as above. */
  readonly hardLinked: boolean
  readonly executable: boolean
}

export interface ObjectLayout {
  readonly bare: boolean
  /** `annex.tune.objecthashlower`: lower-case hash directories in any repository. */
  readonly lower: boolean
  /** `annex.tune.objecthash1`: only the first component. */
  readonly oneLevel: boolean
}

/** The folders, relative to `annex/objects/`, in which the object of `key` may be, likeliest first. */
export function objectFolders(key: Key, layout: ObjectLayout): string[] {
  const level = (folder: string): string => (layout.oneLevel ? folder.slice(0, folder.indexOf('/') + 1) : folder)
  const both = [level(hashDirMixed(key)), level(hashDirLower(key))]
  return layout.lower || layout.bare ? both.reverse() : both
}

/**
 * The object of `key` below `annex/objects` of `commonDir`, when it is there as a regular file of the key's size, and no
 * folder on the way is a symbolic link (`annex` and `objects` themselves may be).
 */
export async function findObject(commonDir: string, key: Key, layout: ObjectLayout): Promise<LocalObject | undefined> {
  const file = keyFile(key)
  const objects = join(commonDir, 'annex', 'objects')
  const places = objectFolders(key, layout).map((folder) => {
    const within = Buffer.from(`/${folder}${file}/${file}`, 'latin1')
    const path = Buffer.concat([Buffer.from(objects), within])
    // Absent in most cases; whatever else hinders us from looking makes it as good as absent.
    return { within, path, looking: lstat(path).catch(() => undefined) }
  })
  for (const { within, path, looking } of places) {
    const status = await looking
    if (status === undefined || !status.isFile()) continue
    if (key.size !== undefined && status.size !== key.size) continue
    const [base, real] = await Promise.all([
      realpath(objects, { encoding: 'buffer' }).catch(() => undefined),
      realpath(path, { encoding: 'buffer' }).catch(() => undefined),
    ])
    if (base === undefined || real?.equals(Buffer.concat([base, within])) !== true) continue
    return {
      path: real,
      size: status.size,
      mtime: status.mtimeMs,
      writable: (status.mode & 0o222) !== 0,
      hardLinked: status.nlink > 1,
      executable: (status.mode & 0o111) !== 0,
    }
  }
  return undefined
}
