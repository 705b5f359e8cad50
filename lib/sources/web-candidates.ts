import { isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import type { Bytes } from '../space/space.js'
import type { Holding, Source } from './source.js'
import { webSource } from './web.js'

export interface WebCandidatesOptions {
  readonly name: string
  /** Where the content may be, likeliest first. */
  readonly urls: readonly string[]
  /** Asked first: whether this is the store that is meant. */
  readonly confirm?: (signal: AbortSignal) => Promise<boolean>
  readonly client: HttpClient
  readonly log: Log
  /** Default 200. */
  readonly cost?: number
  readonly expectedSize?: Bytes
}

/**
 * Content that lies at one of a few URLs, as in a store whose layout is not known. Unlike a single URL's source it asks
 * before it says that it has something; what it found it goes on using.
 */
export function webCandidates(options: WebCandidatesOptions): Source {
  const { name, urls, log, cost = 200, confirm = () => Promise.resolve(true), ...common } = options
  const sources = urls.map((url) => webSource({ ...common, url, log, cost, name }))
  let chosen: Source | undefined

  const choose = async (signal: AbortSignal): Promise<Source | undefined> => {
    if (!(await confirm(signal))) return undefined
    for (const source of sources) {
      try {
        const measured = await source.measure?.(signal)
        if (measured !== undefined && (options.expectedSize ?? measured.size) === measured.size) return source
      } catch (error) {
        throwIfAborted(signal)
        // A host that cannot be reached for one of its URLs cannot for the others.
        if (!isAnnexfsError(error, 'UNAVAILABLE')) throw error
        log.debug('not at this place', { source: name, reason: reasonOf(error) })
      }
    }
    return undefined
  }

  return {
    name,
    cost,
    ...(sources[0]?.place === undefined ? {} : { place: sources[0].place }),
    find: async (space, signal): Promise<Holding | undefined> => {
      chosen ??= await choose(signal)
      const holding = await chosen?.find(space, signal)
      if (holding === undefined) chosen = undefined
      return holding
    },
    measure: async (signal) => {
      chosen ??= await choose(signal)
      return chosen?.measure?.(signal)
    },
    close: () => sources.forEach((source) => source.close?.()),
  }
}
