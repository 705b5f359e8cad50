import { isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import { openLocalFile, type LocalFile, type LocalPath } from './local-file.js'
import { patiently } from './patience.js'
import { checkInside, inside } from './range.js'
import type { Holding, Source } from './source.js'

export { openLocalFile, type LocalFile, type LocalPath } from './local-file.js'

export interface FileSourceOptions {
  readonly name: string
  /** Where the content may be; the first regular file of the right size is taken. */
  readonly path: LocalPath | (() => Promise<readonly LocalPath[]>)
  /** What may hang as a whole, such as a remote's folder; default: the name. */
  readonly place?: string
  /** Default 100. */
  readonly cost?: number
  readonly log: Log
}

const CHUNK: Bytes = 1024 * 1024

/** A regular file on a local path (which may be a network file system, and hang). */
export function fileSource(options: FileSourceOptions): Source {
  const { name, path, place = name, cost = 100, log } = options
  const paths = typeof path === 'function' ? path : () => Promise.resolve([path])
  let file: LocalFile | undefined
  let closed = false

  const openFirst = async (size: Bytes): Promise<LocalFile | undefined> => {
    for (const candidate of await paths()) {
      try {
        const opened = await openLocalFile(candidate, size)
        if (opened !== undefined) return opened
      } catch (error) {
        log.debug('candidate cannot be read', { source: name, reason: reasonOf(error) })
      }
    }
    return undefined
  }

  return {
    name,
    cost,
    place,
    find: async (space, signal) => {
      const found =
        file ??
        (await patiently(
          place,
          signal,
          () => openFirst(space.length),
          (late) => late?.close(),
        ))
      if (found === undefined || found.size !== space.length) return undefined
      if (closed || (file !== undefined && file !== found)) {
        // Another find was faster, or the source has been closed meanwhile.
        found.close()
        return file === undefined ? undefined : holdingOf(file, name, place, () => (file = undefined))
      }
      file = found
      return holdingOf(found, name, place, () => (file = undefined))
    },
    close: () => {
      closed = true
      file?.close()
      file = undefined
    },
  }
}

function holdingOf(file: LocalFile, name: string, place: string, lost: () => void): Holding {
  return {
    unit: 4096,
    longest: 16 * CHUNK,
    parallel: 2,
    has: (range) => inside(range, file.size),
    read: async function* (range, demand) {
      checkInside(range, file.size, name)
      for (let at = range.start; at < range.end; at += CHUNK) {
        const length = Math.min(CHUNK, range.end - at)
        const start = at
        try {
          yield await patiently(place, demand.signal, () => file.read(start, length))
        } catch (error) {
          // The next find opens anew: another file may be in its place by now. A place that is slow has still the same.
          if (!demand.signal.aborted && !isAnnexfsError(error, 'UNAVAILABLE')) {
            file.close()
            lost()
          }
          throw error
        }
      }
    },
  }
}
