import { AnnexfsError, isAnnexfsError } from '../errors.js'
import { checkInside } from '../sources/range.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { HostFile, HostFiles } from './ssh-files.js'
import type { StoredObject } from './store.js'

/** A file that nobody reads is closed after so long: hosts have only so many to open, and opening costs one round trip. */
const IDLE: Milliseconds = 10_000

/**
 * The first of `paths` at a host that is a regular file, as an object; undefined when there is none.
 * @param size what it must have, where that is known.
 * @param takes false for a file that is passed over.
 * @throws AnnexfsError CORRUPT when it has another size, and as `files.open`.
 */
export async function hostObject(
  files: HostFiles,
  paths: readonly Buffer[],
  size: Bytes | undefined,
  signal: AbortSignal,
  takes: (file: HostFile) => boolean = () => true,
): Promise<StoredObject | undefined> {
  let other: Bytes | undefined
  for (const path of paths) {
    const file = await files.open(path, signal)
    if (file === undefined) continue
    if (!takes(file)) {
      file.close()
      continue
    }
    if (size === undefined || file.size === size) return objectOf(files, path, file)
    other = file.size
    file.close()
  }
  if (other === undefined) return undefined
  throw new AnnexfsError('CORRUPT', `the object has ${other} bytes where ${size} are expected`)
}

function objectOf(files: HostFiles, path: Buffer, first: HostFile): StoredObject {
  const { size } = first
  let file: HostFile | undefined = first
  let closed = false
  let reading = 0
  let timer: NodeJS.Timeout | undefined
  const rest = (): void => {
    clearTimeout(timer)
    if (reading > 0 || closed) return
    timer = setTimeout(() => {
      file?.close()
      file = undefined
    }, IDLE).unref()
  }
  rest()
  const current = async (signal: AbortSignal): Promise<HostFile> => {
    if (file !== undefined) return file
    if (closed) throw new AnnexfsError('UNAVAILABLE', 'the object was closed')
    const opened = await files.open(path, signal)
    if (opened === undefined) throw new AnnexfsError('NOT_FOUND', 'the object is not there any more')
    if (opened.size !== size) {
      opened.close()
      throw new AnnexfsError('CORRUPT', `the object has ${opened.size} bytes where ${size} are expected`)
    }
    // Another read may have been faster.
    if (file === undefined && !isClosed()) file = opened
    else opened.close()
    return file ?? opened
  }
  const isClosed = (): boolean => closed
  const read: StoredObject['read'] = async function* (range, demand) {
    checkInside(range, size, 'the object')
    if (range.start === range.end) return
    reading++
    clearTimeout(timer)
    let used: HostFile | undefined
    try {
      used = await current(demand.signal)
      yield* used.read(range, demand)
    } catch (error) {
      // Its session has ended, or it is another file by now: the next read opens it anew.
      if (!demand.signal.aborted && isAnnexfsError(error) && used !== undefined && file === used) {
        file = undefined
        used.close()
      }
      throw error
    } finally {
      reading--
      rest()
    }
  }
  return {
    unit: 64 * 1024,
    longest: first.longest,
    parallel: first.parallel,
    size,
    ...(first.version === undefined ? {} : { version: first.version }),
    read,
    all: async function* (most, demand) {
      if (size > most) throw new AnnexfsError('CORRUPT', `the object has ${size} bytes, more than the ${most} allowed`)
      yield* read({ start: 0, end: size }, demand)
    },
    close: () => {
      closed = true
      clearTimeout(timer)
      file?.close()
      file = undefined
    },
  }
}
