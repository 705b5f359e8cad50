import { createHash } from 'node:crypto'
import { open, type FileHandle } from 'node:fs/promises'
import { keyHash } from '../annex/key.js'
import type { WatchedFile } from '../engine/activity-file.js'
import type { Content } from '../engine/content.js'
import { throwIfAborted } from '../errors.js'
import { pieceRange, type Bytes, type SpaceId } from '../space/space.js'
import { checkWhole } from '../verify/whole.js'
import { readInto } from '../engine/read-into.js'

/** How sure a file on disk is: compared with its key's hash, with the hashes of its pieces, or there is nothing to compare. */
export type Checked = 'whole' | 'piece' | 'none'

/** What may be left of a file after a check. */
export type FileCheck = { readonly right: true; readonly checked: Checked } | { readonly right: false }

/** Compares a whole file on disk with what its content must be. */
export async function checkFile(
  path: string,
  file: WatchedFile,
  content: Content,
  signal: AbortSignal,
): Promise<FileCheck> {
  const hash = content.kind === 'key' ? keyHash(content.key) : undefined
  if (hash !== undefined && file.size > 0) {
    const space = { id: 'key:saved' as SpaceId, length: file.size, pieceLength: file.size }
    const slice = { space, offset: 0, length: file.size }
    const outcome = await checkWhole({ read: { path }, slice, ...hash, signal })
    return outcome === 'match' ? { right: true, checked: 'whole' } : { right: false }
  }
  if (file.view()?.slice.space.hashes === undefined) return { right: true, checked: 'none' }
  const handle = await open(path, 'r')
  try {
    const good = await goodStart(handle, file.size, file, signal)
    return good >= file.size ? { right: true, checked: 'piece' } : { right: false }
  } finally {
    await handle.close()
  }
}

/**
 * How many of the first `length` bytes of an unfinished file can be gone on with. Where pieces have hashes those that lie
 * in it are compared; of a piece that it shares with another file only a read can tell. Else all of it, which the check
 * of the whole decides about, and nothing where there is no such check.
 */
export async function goodStart(
  handle: FileHandle,
  length: Bytes,
  file: WatchedFile,
  signal: AbortSignal,
): Promise<Bytes> {
  const view = file.view()
  const hashes = view?.slice.space.hashes
  if (view === undefined || hashes === undefined) return 0
  const { slice } = view
  const { space } = slice
  const first = Math.floor(slice.offset / space.pieceLength)
  let good = 0
  for (let index = first; good < length; index++) {
    throwIfAborted(signal)
    const range = pieceRange(space, index)
    const [start, end] = [Math.max(0, range.start - slice.offset), Math.min(slice.length, range.end - slice.offset)]
    if (end > length) break
    const bytes = Buffer.allocUnsafeSlow(end - start)
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, start)
    if (bytesRead !== bytes.length) break
    const isWhole = end - start === range.end - range.start
    const right = isWhole
      ? createHash('sha1').update(bytes).digest().equals(hashes.at(index))
      : bytes.equals(await readAll(file, start, bytes.length, signal))
    if (!right) break
    good = end
  }
  return good
}

/** All of a range of an open file. */
export async function readAll(file: WatchedFile, offset: Bytes, length: Bytes, signal: AbortSignal): Promise<Buffer> {
  const own = Buffer.allocUnsafeSlow(length)
  return own.subarray(0, await readInto(file, offset, own, signal))
}
