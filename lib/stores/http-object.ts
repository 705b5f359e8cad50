import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpBody } from '../net/http-body.js'
import type { Authorize, WebReads } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import { checkInside } from '../sources/range.js'
import { WebFile, type Refused } from '../sources/web-file.js'
import { WEB_LIMITS } from '../sources/web.js'
import type { Bytes } from '../space/space.js'
import type { StoredObject } from './store.js'

export interface HttpObjectOptions {
  readonly client: WebReads
  readonly url: string
  /** Of the remote, for messages: `NAME (S3)`. */
  readonly name: string
  /** Where it is known; an object of another size is CORRUPT. */
  readonly size?: Bytes
  /** Headers for each request to the URL's origin. */
  readonly authorize?: Authorize
  /** Looks at refusals before they are taken for what their status usually means. */
  readonly refused?: Refused
  /** What to do when the server answers 401 or 403, e.g. `set WEBDAV_USERNAME and WEBDAV_PASSWORD`. */
  readonly advice?: string
  readonly log: Log
}

/**
 * The object behind a URL, read by ranges where the server knows them. It is not asked for beforehand: reads of one that
 * is not there (404, 410) fail with NOT_FOUND, reads that the server refuses (401, 403) with FORBIDDEN.
 */
export function httpObject(options: HttpObjectOptions): StoredObject {
  const { client, url, name, size, log } = options
  const refused: Refused = async (answer, sent) => (await options.refused?.(answer, sent)) ?? refusal(answer, options)
  const file = new WebFile(client, url, undefined, options.authorize, refused)
  let measured = size
  log.debug('object', { remote: name, url: shownUrl(url) })
  return {
    ...WEB_LIMITS,
    ...(size === undefined ? {} : { size }),
    closedUntil: () => file.closedUntil,
    read: async function* (range, demand) {
      measured ??= (await file.measure(demand))?.size
      if (measured === undefined) {
        throw new AnnexfsError('UNAVAILABLE', `${name}: the server does not tell the size of ${shownUrl(url)}`)
      }
      checkInside(range, measured, name)
      yield* file.read(range, measured, demand)
    },
    all: async function* (most, demand) {
      if (size === undefined) yield* file.all(most, demand)
      else if (size <= most) yield* file.read({ start: 0, end: size }, size, demand)
      else throw new AnnexfsError('CORRUPT', `${name}: ${shownUrl(url)} has ${size} bytes, more than ${most}`)
    },
    close: () => file.close(),
  }
}

/** What a refusal means for the reader: not there, or not allowed; undefined for any other answer. */
function refusal(answer: HttpBody, { name, advice }: HttpObjectOptions): AnnexfsError | undefined {
  const { status, url } = answer
  if (status === 404 || status === 410) {
    return new AnnexfsError('NOT_FOUND', `${name}: ${shownUrl(url)} is not there (${status})`)
  }
  if (status !== 401 && status !== 403) return undefined
  const what = `${name}: the server refuses ${shownUrl(url)} (${status})`
  return new AnnexfsError('FORBIDDEN', advice === undefined ? what : `${what}; ${advice}`)
}
