import { setTimeout as sleep } from 'node:timers/promises'
import { isAnnexfsError, reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { unlessAborted } from './ssh-channel.js'
import type { HostFiles } from './ssh-files.js'
import type { StoredObject } from './store.js'

/** Looking for the other way is not worth more. */
const LOOKING: Milliseconds = 20_000
/**
 * A first read that would be broken off waits so long for the file: what is on its way then, up to 2 MiB, takes longer to cross
 * most lines, and the reads behind it would wait for that.
 */
const FIRST_WAITS: Milliseconds = 1_000
/** Less than this crosses the line before the file is found. */
const SHORT: Bytes = 256 * 1024

/** Opens the file of an object; undefined when it is to be had by the protocol only. */
export type OpenFile = (signal: AbortSignal) => Promise<StoredObject | undefined>

/**
 * An object that the protocol gives from some place to its end, and that may also be read as a file, where any range
 * costs one round trip: looked for beside the first reads, and used as soon as it is found. Of a file that fails, the
 * next reads go by the protocol again.
 */
export function readDirectly(object: StoredObject, open: OpenFile, log: Log): StoredObject {
  const closing = new AbortController()
  let file: StoredObject | undefined
  let sought = false
  const seeking = open(AbortSignal.any([closing.signal, AbortSignal.timeout(LOOKING)])).then(
    (found) => {
      if (closing.signal.aborted) found?.close?.()
      else file = found
    },
    (error: unknown) => log.debug('an object is not read as a file', { reason: reasonOf(error) }),
  )
  const found = Promise.race([seeking, sleep(FIRST_WAITS, undefined, { ref: false })]).then(() => void (sought = true))
  const read: StoredObject['read'] = async function* (range, demand) {
    const brokenOff = object.size !== undefined && object.size - range.end > SHORT
    if (file === undefined && !sought && brokenOff) await unlessAborted(found, demand.signal, () => undefined)
    const used = file
    if (used === undefined) {
      yield* object.read(range, demand)
      return
    }
    try {
      yield* used.read(range, demand)
    } catch (error) {
      if (!demand.signal.aborted && isAnnexfsError(error) && error.code !== 'INVALID' && file === used) {
        file = undefined
        used.close?.()
      }
      throw error
    }
  }
  return {
    unit: object.unit,
    longest: object.longest,
    parallel: object.parallel,
    ...(object.size === undefined ? {} : { size: object.size }),
    get version() {
      return file?.version
    },
    read,
    all: (most, demand) => object.all(most, demand),
    close: () => {
      closing.abort()
      file?.close?.()
      file = undefined
      object.close?.()
    },
  }
}

/** Whether files at a host can be read in place, as far as was tried. */
export interface DirectWay {
  readonly files: HostFiles
  state: 'untried' | 'works' | 'none'
}
