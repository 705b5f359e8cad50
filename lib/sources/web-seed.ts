import { LRUCache } from 'lru-cache'
import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import { percentEncoded, shownUrl, webUrl } from '../net/url.js'
import type { ByteRange, Bytes } from '../space/space.js'
import { pick, stringAt } from '../torrent/bencode-spans.js'
import type { Metainfo, TorrentFile } from '../torrent/torrent.js'
import { checkInside, inside } from './range.js'
import type { Source } from './source.js'
import { WebFile } from './web-file.js'
import { placeOf, WEB_LIMITS } from './web.js'

export interface WebSeedOptions {
  readonly torrent: Metainfo
  /** From the metainfo's `url-list`. */
  readonly baseUrl: string
  readonly client: HttpClient
  readonly log: Log
  /** Default 200. */
  readonly cost?: number
}

/** Versions and redirects are remembered for this many files of a torrent. */
const MOST_FILES = 64
const PADDING = new Uint8Array(64 * 1024)

/**
 * A web seed (BEP 19): the files of a torrent below one URL. A range across files becomes a request for each.
 * @throws AnnexfsError INVALID, FORBIDDEN when the URL cannot be used.
 */
export function webSeedSource(options: WebSeedOptions): Source {
  const { torrent, baseUrl, client, cost = 200 } = options
  webUrl(baseUrl)
  const name = `web seed (${shownUrl(baseUrl)})`
  const open = new LRUCache<number, WebFile>({ max: MOST_FILES, dispose: (file) => file.close() })
  const webFile = (index: number, file: TorrentFile): WebFile => {
    const known = open.get(index)
    if (known !== undefined) return known
    const made = new WebFile(client, seedUrl(torrent, file, baseUrl))
    open.set(index, made)
    return made
  }
  const { length } = torrent.space
  return {
    name,
    cost,
    place: placeOf(baseUrl),
    find: (space) => {
      if (space.id !== torrent.spaceId) return Promise.resolve(undefined)
      return Promise.resolve({
        ...WEB_LIMITS,
        has: (range) => inside(range, length),
        read: async function* (range, demand) {
          checkInside(range, length, name)
          for (let index = firstFileOf(torrent.files, range.start); index < torrent.files.length; index++) {
            const file = torrent.files[index]
            if (file === undefined || file.offset >= range.end) return
            const part = overlap(range, file)
            if (part.start >= part.end) continue
            if (file.padding) yield* zeros(part.end - part.start)
            else yield* webFile(index, file).read(part, file.length, demand)
          }
        },
      })
    },
    close: () => open.clear(),
  }
}

/**
 * Where `file` is: BEP 19 for a single file and for a folder, each name percent-encoded.
 * @throws AnnexfsError FORBIDDEN when a name of it is `.`, `..` or empty.
 */
export function seedUrl(torrent: Metainfo, file: TorrentFile, baseUrl: string): string {
  const base = webUrl(baseUrl)
  if (!torrent.multiFile && !base.pathname.endsWith('/')) return base.href
  // A single file's path is its name; a folder's own name comes before the paths in it.
  const names = torrent.multiFile ? [rawName(torrent), ...file.rawPath] : file.rawPath
  const path = names.map(percentEncoded)
  if (path.some((name) => name === '' || name === '.' || name === '..')) {
    throw new AnnexfsError(
      'FORBIDDEN',
      `${shownUrl(base)}: the torrent has names that lead out of the web seed's folder`,
    )
  }
  if (!base.pathname.endsWith('/')) base.pathname += '/'
  base.pathname += path.join('/')
  return base.href
}

const NAMES = new Set(['name', 'name.utf-8'])

/** The folder's name as the metainfo has it: `torrent.name` is made safe for showing. */
function rawName(torrent: Metainfo): Buffer {
  const info = pick(torrent.infoBytes, 0, NAMES)
  const name = stringAt(torrent.infoBytes, info.get('name.utf-8')) ?? stringAt(torrent.infoBytes, info.get('name'))
  return name ?? Buffer.from(torrent.name)
}

function overlap(range: ByteRange, file: TorrentFile): ByteRange {
  return {
    start: Math.max(range.start - file.offset, 0),
    end: Math.min(range.end - file.offset, file.length),
  }
}

/** The last file that begins at or before `offset`, by halving: a torrent may have many thousands. */
function firstFileOf(files: readonly TorrentFile[], offset: Bytes): number {
  let low = 0
  let high = files.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const file = files[middle]
    if (file !== undefined && file.offset + file.length <= offset) low = middle + 1
    else high = middle
  }
  return low
}

function* zeros(count: Bytes): Generator<Uint8Array, void, undefined> {
  for (let left = count; left > 0; left -= PADDING.byteLength)
    yield PADDING.subarray(0, Math.min(left, PADDING.byteLength))
}
