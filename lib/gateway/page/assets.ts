import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A file that the page is made of. */
export interface Asset {
  readonly type: string
  readonly body: Buffer
  readonly etag: string
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
}

let loaded: ReadonlyMap<string, Asset> | undefined

/**
 * What the page consists of, by its path below `/-/`; the empty path is the page itself. Read once, at the first
 * question: a mount without a gateway has no use for it.
 */
export function assetAt(path: string): Asset | undefined {
  loaded ??= load(fileURLToPath(new URL('./browser/', import.meta.url)))
  return loaded.get(path === '' ? 'page.html' : path)
}

function load(folder: string): ReadonlyMap<string, Asset> {
  const names = readdirSync(folder).filter((name) => TYPES[extname(name)] !== undefined)
  return new Map(
    names.map((name) => {
      const body = readFileSync(join(folder, name))
      const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
      return [name, { type: TYPES[extname(name)] ?? '', body, etag }]
    }),
  )
}
