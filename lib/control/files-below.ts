import type { Volume } from '../engine/volume.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import type { Bytes } from '../space/space.js'

/** All of them go into one answer over the control socket. */
const MOST_FILES = 50_000
const MOST_BYTES: Bytes = 8 * 1024 * 1024
const DEEPEST = 200

/**
 * The paths of all files below `path`, sorted within each folder, or `path` itself if it is a file.
 * @throws AnnexfsError NOT_FOUND, INVALID for too many or too deep ones, or for a symbolic link.
 */
export async function filesBelow(volume: Volume, path: string, signal: AbortSignal): Promise<readonly string[]> {
  const node = await volume.lookup(path, signal)
  if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path}`)
  if (node.kind === 'link') throw new AnnexfsError('INVALID', `${path} is a symbolic link, which is not followed`)
  if (node.kind === 'file') return [path]
  const files: string[] = []
  let bytes = 0
  const walk = async (folder: string, depth: number): Promise<void> => {
    throwIfAborted(signal)
    if (depth > DEEPEST) throw new AnnexfsError('INVALID', `${folder} is more than ${DEEPEST} folders deep`)
    const entries = (await volume.list(folder, signal)).toSorted((a, b) => (a.name < b.name ? -1 : 1))
    for (const { name, node: child } of entries) {
      const own = `${folder === '/' ? '' : folder}/${name}`
      if (child.kind === 'dir') await walk(own, depth + 1)
      if (child.kind !== 'file') continue
      files.push(own)
      bytes += Buffer.byteLength(own) + 4
      if (files.length <= MOST_FILES && bytes <= MOST_BYTES) continue
      throw new AnnexfsError(
        'INVALID',
        `there are more than ${MOST_FILES} files, or ${MOST_BYTES} bytes of names, below ${path}: name folders in it`,
      )
    }
  }
  await walk(path, 0)
  return files
}
