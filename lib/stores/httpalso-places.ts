import { AnnexfsError, isAnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import { contentLength, contentRange, isIdentity, retryAfter } from '../net/content-range.js'
import { CutOff, type HttpBody } from '../net/http-body.js'
import type { WebReads } from '../net/http-client.js'
import { Passing, Tries } from '../net/retry.js'
import { shownUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import { CREDENTIAL_ADVICE, type WebAccess } from './git-web-access.js'
import { httpObject } from './http-object.js'
import type { ObjectName, StoredObject } from './store.js'

export interface PlacesOptions {
  readonly client: WebReads
  /** Of the remote, for messages. */
  readonly name: string
  readonly access: WebAccess
  readonly log: Log
}

/** What a look at a URL told. */
type Look = { readonly kind: 'there'; readonly size: Bytes | undefined } | { readonly kind: 'absent' | 'forbidden' }

/** Servers that do not know HEAD say one of these. */
const NO_HEAD: ReadonlySet<number> = new Set([400, 405, 501])
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])

/**
 * Objects that lie at one of a few URLs each, the n-th of which is of the n-th layout. The layout that an object was
 * found in is asked first from then on, without a look beforehand; the others when an object is not there.
 */
export class Places {
  readonly #options: PlacesOptions
  /** The layout in use, as far as is known. */
  #layout: number | undefined

  constructor(options: PlacesOptions) {
    this.#options = options
  }

  /** @param urls likeliest first; always as many. @throws as `ObjectStore.open`. */
  async open(urls: readonly string[], name: ObjectName, signal: AbortSignal): Promise<StoredObject | undefined> {
    const expected = name.size
    // A look is also how the size is learned, but that of an encrypted object is of no use to anybody.
    const blind = expected !== undefined || /^GPG[A-Z0-9]*$/.test(name.key.backend)
    const usual = this.#layout === undefined ? undefined : urls[this.#layout]
    if (usual !== undefined && blind) return this.#object(usual, urls, expected)
    const found = await this.#search(urls, expected, signal)
    return found === undefined ? undefined : this.#object(found.url, urls, found.size)
  }

  #object(url: string, urls: readonly string[], size: Bytes | undefined): StoredObject {
    const { client, name, access, log } = this.#options
    const session = access.session()
    let elsewhere: Promise<string | undefined> | undefined
    const closing = new AbortController()
    const object = httpObject({
      client,
      url,
      name,
      log,
      advice: CREDENTIAL_ADVICE,
      ...(size === undefined ? {} : { size }),
      authorize: session.authorize,
      refused: async (answer) => {
        if (answer.status === 401) {
          // The same URL, of the place that was asked: after a redirect it is not the one that answered.
          return (await session.challenged(answer.url, closing.signal)) ? ((await elsewhere) ?? url) : undefined
        }
        if (answer.status !== 404 && answer.status !== 410) return undefined
        const others = urls.filter((other) => other !== url)
        // Of reads side by side the first looks for all.
        elsewhere ??= this.#search(others, size, closing.signal, urls).then((found) => found?.url)
        const there = await elsewhere
        return there === undefined || new URL(there).href === answer.url.href ? undefined : there
      },
    })
    return {
      ...object,
      close: () => {
        closing.abort(new AnnexfsError('ABORTED', 'the object was closed'))
        object.close?.()
      },
    }
  }

  /** The first URL with an object of the right size. @throws CORRUPT when there is one of another size only. */
  async #search(
    urls: readonly string[],
    expected: Bytes | undefined,
    signal: AbortSignal,
    layouts = urls,
  ): Promise<{ readonly url: string; readonly size: Bytes | undefined } | undefined> {
    let problem: AnnexfsError | undefined
    for (const url of usualFirst(urls, this.#layout === undefined ? undefined : layouts[this.#layout])) {
      const look = await this.#look(url, signal)
      const { name } = this.#options
      if (look.kind === 'forbidden') {
        const message = `${name}: the server refuses ${shownUrl(url)}; ${CREDENTIAL_ADVICE}`
        problem ??= new AnnexfsError('FORBIDDEN', message)
      } else if (look.kind === 'there' && (expected === undefined || look.size === expected)) {
        this.#layout = layouts.indexOf(url)
        return { url, size: look.size }
      } else if (look.kind === 'there' && look.size !== undefined) {
        const message = `${name}: ${shownUrl(url)} has ${look.size} bytes instead of ${expected ?? 0}`
        problem = new AnnexfsError('CORRUPT', message)
      }
    }
    if (problem !== undefined) throw problem
    return undefined
  }

  async #look(url: string, signal: AbortSignal): Promise<Look> {
    const { access, client, log, name } = this.#options
    const session = access.session()
    const tries = new Tries({ signal })
    const ask = { authorize: session.authorize }
    for (let challenges = 0; ;) {
      throwIfAborted(signal)
      try {
        let answer = await client.head(url, signal, ask)
        if (NO_HEAD.has(answer.status) || (answer.status === 200 && contentLength(answer) === undefined)) {
          answer = await client.get(url, { signal, range: { start: 0, end: 1 }, ...ask })
          answer.cancel()
        }
        if (answer.status === 401 && challenges++ < 2 && (await session.challenged(answer.url, signal))) continue
        const look = lookOf(answer, name)
        log.debug('looked for an object', { remote: name, url: shownUrl(url), answer: answer.status })
        return look
      } catch (error) {
        const passing = error instanceof CutOff ? new Passing(error) : error
        if (!(passing instanceof Passing)) throw error
        await tries.wait(passing)
      }
    }
  }
}

function lookOf(answer: HttpBody, name: string): Look {
  const { status } = answer
  if (status === 200 || status === 206) {
    const size = status === 206 ? contentRange(answer)?.total : contentLength(answer)
    return { kind: 'there', size: isIdentity(answer) ? size : undefined }
  }
  // The one byte that was asked for is not there: it is empty.
  if (status === 416) return { kind: 'there', size: contentRange(answer)?.total }
  if (status === 404 || status === 410) return { kind: 'absent' }
  if (status === 401 || status === 403) return { kind: 'forbidden' }
  const error = new AnnexfsError('UNAVAILABLE', `${name}: ${shownUrl(answer.url)}: the server answered ${status}`)
  throw PASSING.has(status) ? new Passing(error, retryAfter(answer), status) : error
}

function usualFirst(urls: readonly string[], usual: string | undefined): readonly string[] {
  if (usual === undefined || !urls.includes(usual)) return urls
  return [usual, ...urls.filter((url) => url !== usual)]
}

/** A small text behind a URL; undefined when it is not there (404, 410). @throws AnnexfsError as `HttpClient.get`. */
export async function smallText(
  url: string,
  most: Bytes,
  { access, client, name, log }: PlacesOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const session = access.session()
  for (let challenges = 0; ;) {
    const answer = await client.get(url, { signal, authorize: session.authorize })
    const chunks: Uint8Array[] = []
    let length = 0
    try {
      if (answer.status === 401 && challenges++ < 2 && (await session.challenged(answer.url, signal))) continue
      if (answer.status === 404 || answer.status === 410) return undefined
      if (answer.status !== 200 || !isIdentity(answer)) {
        throw new AnnexfsError('UNAVAILABLE', `${name}: ${shownUrl(url)}: the server answered ${answer.status}`)
      }
      for await (const chunk of answer) {
        length += chunk.byteLength
        if (length > most) throw new AnnexfsError('INVALID', `${name}: ${shownUrl(url)} is longer than ${most} bytes`)
        chunks.push(chunk)
      }
      return Buffer.concat(chunks).toString('utf8')
    } catch (error) {
      throwIfAborted(signal)
      if (isAnnexfsError(error)) log.debug('a text cannot be had', { url: shownUrl(url), reason: reasonOf(error) })
      throw error
    } finally {
      answer.cancel()
    }
  }
}
