import { AnnexfsError } from '../errors.js'
import { percentEncoded, shownUrl } from '../net/url.js'

/**
 * `path` (bytes of UTF-8) below `base`, each name percent-encoded (RFC 3986) so that only `/` keeps its meaning.
 * @throws AnnexfsError UNSUPPORTED when a name is `.` or `..`: no URL can say it, so that it would name another place.
 */
export function urlBelow(base: string, path: Buffer): string {
  const names = path.toString('latin1').split('/')
  if (names.some((name) => name === '.' || name === '..')) {
    const where = shownUrl(base)
    throw new AnnexfsError(
      'UNSUPPORTED',
      `${where}: an object whose name has "." or ".." in its path cannot be asked for`,
    )
  }
  return `${base}/${names.map((name) => percentEncoded(Buffer.from(name, 'latin1'))).join('/')}`
}
