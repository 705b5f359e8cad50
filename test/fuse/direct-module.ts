import { openPieceStore } from '../../lib/cache/open.js'
import type { Content } from '../../lib/engine/content.js'
import type { OpenFile, Volume } from '../../lib/engine/volume.js'
import { AnnexfsError } from '../../lib/errors.js'
import { nativePart } from '../../lib/fuse/native-part.js'
import { silentLog } from '../../lib/log/log.js'
import { Reader } from '../../lib/reader/reader.js'
import { openLocalFile } from '../../lib/sources/local-file.js'
import type { Slice } from '../../lib/space/space.js'
import type { FileNode, Node } from '../../lib/tree/tree.js'
import { checkPiece } from '../../lib/verify/piece.js'
import { bytesOf, putAll, sampleSpace } from '../cache/support.js'
import type { MadeVolume } from '../support/mount.js'

export const PIECES = sampleSpace('direct', 5 * 1024 * 1024 + 4321, 131_072)
/** Pieces that are no multiple of the cache's blocks or pages. */
export const ODD_PIECES = sampleSpace('odd', 3_000_017, 100_003)
/** What each file is of its space. */
export const SLICES: Readonly<Record<string, Slice>> = {
  '/whole': { space: PIECES, offset: 0, length: PIECES.length },
  '/part': { space: PIECES, offset: 70_001, length: 2_000_003 },
  '/odd': { space: ODD_PIECES, offset: 12_345, length: 2_900_000 },
}

/** For mountInChild: files in a cache that has all of them, and the file `plain` in place. */
export async function makeVolume(argument: unknown): Promise<MadeVolume> {
  const { cache, plain } = argument as { cache: string; plain: string }
  const store = await openPieceStore({
    folder: cache,
    limitBytes: 1024 ** 3,
    minFreeBytes: 0,
    log: silentLog,
    memoryBytes: 0,
  })
  const spaces = new Map([PIECES, ODD_PIECES].map((space) => [space.id, store.open(space)]))
  for (const cached of spaces.values()) await putAll(cached)
  const counts = { asked: 0, askedBytes: 0, noted: 0, notedBytes: 0, fetched: 0 }
  let wrong = false

  const counted = (
    file: Pick<OpenFile, 'read' | 'direct' | 'noted' | 'close'>,
    id: string,
    size: number,
  ): OpenFile => ({
    contentId: id,
    size,
    read: (offset, length, into, signal) => {
      if (wrong) throw new AnnexfsError('CORRUPT', 'it was found to be wrong')
      counts.asked += 1
      counts.askedBytes += Math.min(length, size - offset)
      return file.read(offset, length, into, signal)
    },
    direct: () => (wrong ? undefined : file.direct?.()),
    noted: (offset, length, at) => {
      counts.noted += 1
      counts.notedBytes += length
      file.noted?.(offset, length, at)
    },
    close: () => file.close(),
  })
  const openSlice = (path: string, slice: Slice): OpenFile => {
    const space = spaces.get(slice.space.id)
    if (space === undefined) throw new Error(`no space for ${path}`)
    const fetcher = {
      fetch: async (index: number) => {
        counts.fetched += 1
        const piece = await checkPiece(slice.space, index, bytesOf(slice.space, index))
        await space.put(piece)
        return piece
      },
      isFetching: () => false,
    }
    const reader = new Reader({ slice, cache: space, fetcher, readahead: 0, log: silentLog })
    return counted(reader, path, slice.length)
  }
  const openPlain = async (): Promise<OpenFile> => {
    const file = await openLocalFile(plain, undefined)
    if (file === undefined) throw new Error(`${plain} is not there`)
    const ended = new AbortController().signal
    const read: OpenFile['read'] = (offset, length, into) => {
      const count = Math.min(length, file.size - offset)
      file.readSync(offset, into.subarray(0, count))
      return count
    }
    const direct: OpenFile['direct'] = () => {
      const from = file.direct()
      return from === undefined ? undefined : { from, start: 0, ended }
    }
    return counted({ read, direct, close: () => file.close() }, 'plain', file.size)
  }

  const nodeOf = (path: string, size: number): FileNode<Content> => {
    const content = { kind: 'blob', id: path, sha: '', size } as unknown as Content
    return { kind: 'file', mtime: 1_700_000_000_000, size, executable: false, content }
  }
  const plainFile = await openLocalFile(plain, undefined)
  const nodes = new Map<string, Node<Content>>([['/', { kind: 'dir', mtime: 0 }]])
  for (const [path, { length }] of Object.entries(SLICES)) nodes.set(path, nodeOf(path, length))
  nodes.set('/plain', nodeOf('/plain', plainFile?.size ?? 0))
  plainFile?.close()
  const volume: Volume = {
    lookup: (path) => nodes.get(path),
    list: () => {
      const files = [...nodes].filter(([path]) => path !== '/')
      return Promise.resolve(files.map(([path, node]) => ({ name: path.slice(1), node })))
    },
    open: async (_, path) => {
      const slice = SLICES[path]
      return slice === undefined ? openPlain() : openSlice(path, slice)
    },
    attributes: () => Promise.resolve(new Map()),
    capacity: () => Promise.resolve({ totalBytes: 0, freeBytes: 0 }),
    close: () => store.close(),
  }
  return {
    volume,
    command: (command) => {
      if (command === 'wrong') {
        wrong = true
        for (const space of spaces.values()) space.endDirect?.()
      }
      return { ...counts, served: nativePart()?.served() ?? 0 }
    },
  }
}
