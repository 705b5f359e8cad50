import { AnnexfsError } from '../errors.js'
import type { WebReads } from './http-client.js'
import { shownUrl } from './url.js'

/** What is said of a URL whose scheme `annex.security.allowed-url-schemes` does not name. */
export const SCHEME_FORBIDDEN = 'annex.security.allowed-url-schemes of the git configuration does not allow'

/** Whether `url` has one of `schemes` (in lower case, without a colon). */
export function hasScheme(url: string, schemes: ReadonlySet<string>): boolean {
  return schemes.has(url.slice(0, Math.max(0, url.indexOf(':'))).toLowerCase())
}

/** Reads URLs of `schemes` alone; of others nobody is asked. @throws AnnexfsError FORBIDDEN, and as `client`. */
export function onlySchemes(client: WebReads, schemes: ReadonlySet<string>): WebReads {
  const check = (url: string | URL, redirectedFrom: string | URL = url): void => {
    if (hasScheme(String(redirectedFrom), schemes)) return
    throw new AnnexfsError('FORBIDDEN', `${SCHEME_FORBIDDEN} ${shownUrl(redirectedFrom)}`)
  }
  return {
    get: async (url, options) => {
      check(url, options.redirectedFrom)
      return client.get(url, options)
    },
    head: async (url, signal, options) => {
      check(url, options?.redirectedFrom)
      return client.head(url, signal, options)
    },
  }
}
