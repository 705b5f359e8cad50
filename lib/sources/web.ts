import type { Log } from '../log/log.js'
import type { WebReads } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import { checkInside, inside } from './range.js'
import type { Holding, Source } from './source.js'
import { WebFile } from './web-file.js'

export interface WebSourceOptions {
  readonly url: string
  readonly client: WebReads
  readonly log: Log
  /** Default 200. */
  readonly cost?: number
  readonly expectedSize?: Bytes
  /** The validator that {@link Source.measure} gave when the space was made: other content is refused. */
  readonly validator?: string
  readonly name?: string
}

/** A round trip costs about as much as this many bytes. */
const UNIT: Bytes = 64 * 1024
/** Long enough that the request is lost in it, short enough that another source can take over soon. */
const LONGEST: Bytes = 8 * 1024 * 1024
/** Half the client's connections to an origin: two files may be read from it at once. */
const PARALLEL = 4

/** The limits of every {@link Holding} that reads over HTTP. */
export const WEB_LIMITS = { unit: UNIT, longest: LONGEST, parallel: PARALLEL }

/** Content behind an http or https URL, by ranges where the server knows them, else by reading from the start. */
export function webSource(options: WebSourceOptions): Source {
  const { url, client, log, cost = 200, expectedSize } = options
  const name = options.name ?? `web (${shownUrl(url)})`
  const file = new WebFile(client, url, options.validator)
  return {
    name,
    cost,
    place: placeOf(url),
    find: (space) => {
      if (expectedSize !== undefined && expectedSize !== space.length) {
        log.debug('source has another size', { source: name, size: expectedSize, expected: space.length })
        return Promise.resolve(undefined)
      }
      if (file.gone) return Promise.resolve(undefined)
      // Whether it is there shows with the first bytes; asking beforehand would cost a round trip each time.
      const holding: Holding = {
        ...WEB_LIMITS,
        has: (range) => inside(range, space.length) && !file.gone,
        closedUntil: () => file.closedUntil,
        read: async function* (range, demand, room) {
          checkInside(range, space.length, name)
          yield* file.read(range, space.length, demand, room)
        },
      }
      return Promise.resolve(holding)
    },
    measure: (signal) => file.measure({ signal }),
    close: () => file.close(),
  }
}

/** The server: what lies behind one origin shares a line. */
export function placeOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url
}
