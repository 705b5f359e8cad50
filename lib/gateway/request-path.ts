import { isUtf8 } from 'node:buffer'

/** What a request is for. */
export interface Target {
  /** Of an absolute request target (`GET http://host/…`, as to proxies). */
  readonly authority: string | undefined
  /** As it was sent, before the `?`. */
  readonly raw: string
  readonly query: string
}

/** Splits a request target; undefined when it is no path. */
export function targetOf(url: string): Target | undefined {
  const absolute = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url)
  const rest = absolute === null ? url : absolute[2] === '' ? '/' : (absolute[2] ?? '')
  if (!rest.startsWith('/')) return undefined
  const [, raw = '', query = ''] = /^([^?#]*)\??([^#]*)/s.exec(rest) ?? []
  return { authority: absolute?.[1], raw, query }
}

export interface TreePath {
  /** `/` or `/a/b`. */
  readonly path: string
  /** It was written with a slash at its end. */
  readonly folder: boolean
}

/**
 * The path in the tree that `raw` asks for; undefined when no file can have it: empty parts, `.` and `..` however they
 * are written, an encoded slash or NUL, what is no UTF-8. Nothing is made simpler: two ways of writing it would be two
 * ways around whoever checks paths before us.
 */
export function treePath(raw: string): TreePath | undefined {
  if (raw === '/') return { path: '/', folder: true }
  const folder = raw.endsWith('/')
  const parts: string[] = []
  for (const part of raw.slice(1, folder ? -1 : undefined).split('/')) {
    const name = decodePart(part)
    if (name === undefined || name === '' || name === '.' || name === '..') return undefined
    if (name.includes('/') || name.includes('\0')) return undefined
    parts.push(name)
  }
  return { path: `/${parts.join('/')}`, folder }
}

/** Percent-decoded UTF-8. Some clients send what is no ASCII as it is: Node.js gives such bytes as latin1. */
function decodePart(part: string): string | undefined {
  if (/%(?![0-9a-f]{2})/i.test(part)) return undefined
  const latin1 = part.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
  const bytes = Buffer.from(latin1, 'latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined
}

/** How a path of the tree is written in a URL, without a slash at its end. */
export function encodePath(path: string): string {
  const encoded = path.split('/').map(encodePart).join('/')
  // Below `/-/` are our own pages: a folder of that name is reached by another spelling of it.
  return encoded === '/-' || encoded.startsWith('/-/') ? `/%2D${encoded.slice(2)}` : encoded
}

/** How one name is written in a URL. */
export function encodePart(name: string): string {
  return encodeURIComponent(name)
}
