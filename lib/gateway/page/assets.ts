import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { preferredCoding, type Coding } from './coding.js'

/** A file that the page is made of, as it is sent to one browser. */
export interface Asset {
  readonly type: string
  readonly body: Buffer
  readonly etag: string
  /** How the body is compressed, if it is. */
  readonly coding: Coding | undefined
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
}

const ENDINGS: Readonly<Record<Coding, string>> = { br: '.br', gzip: '.gz' }

type Codings = ReadonlyMap<Coding | undefined, Asset>

let loaded: ReadonlyMap<string, Codings> | undefined

/**
 * What the page consists of, by its path below `/-/`; the empty path is the page itself. Compressed when `accepted`, an
 * Accept-Encoding header, allows it. Read once, at the first question: a mount without a gateway has no use for it.
 */
export function assetAt(path: string, accepted: string | undefined): Asset | undefined {
  loaded ??= load(fileURLToPath(new URL('./served/', import.meta.url)))
  const codings = loaded.get(path === '' ? 'page.html' : path)
  return codings?.get(preferredCoding(accepted)) ?? codings?.get(undefined)
}

function load(folder: string): ReadonlyMap<string, Codings> {
  const there = new Set(readdirSync(folder))
  const names = [...there].filter((name) => TYPES[extname(name)] !== undefined)
  return new Map(
    names.map((name) => {
      const type = TYPES[extname(name)] ?? ''
      const codings: (Coding | undefined)[] = [undefined, 'br', 'gzip']
      const made = codings.flatMap((coding) => {
        const file = coding === undefined ? name : `${name}${ENDINGS[coding]}`
        if (!there.has(file)) return []
        const body = readFileSync(join(folder, file))
        const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
        return [[coding, { type, body, etag, coding }] as const]
      })
      return [name, new Map(made)]
    }),
  )
}
