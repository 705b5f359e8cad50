import { AnnexfsError, isAnnexfsError, reasonOf } from '../../errors.js'
import type { Milliseconds } from '../../space/space.js'
import type { Station } from '../../status/snapshot.js'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { assetAt } from './assets.js'
import { eventStreams } from './events.js'

/** Where the page lives on the gateway. */
const PREFIX = '/-/'

/** For the answer about one file: maps of large files are read from disk, and nobody looks for longer. */
const MAP_DEADLINE: Milliseconds = 5_000

/** Maps being made at a time, over all who look: one page asks for a handful, one after the other. */
const MOST_MAPS = 8

/** Identifiers of files are hashes and keys. */
const LONGEST_ID = 4_096

export interface PageOptions {
  /** Between two events of a stream; 1 s by default: what people can follow. */
  readonly interval?: Milliseconds
  /** Event streams at a time; more are told to come back later. */
  readonly clients?: number
  /** Ends all event streams, which would keep the server from closing. */
  readonly signal?: AbortSignal
}

/** @returns false for a path that is not the page's: nothing was answered then. */
export type PageHandler = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>

/**
 * The page to look at, below `/-/`: `/-/` itself with what it loads, `/-/events` (server-sent events: `snapshot`, then a
 * `change` about once a second), `/-/snapshot` and `/-/pieces?id=` (JSON; null for what has no map, or is not open any more). Who may ask is the caller's business: Host,
 * Origin and tokens are checked before. The page refers to itself by relative addresses only.
 */
export function pageHandler(station: Station, options: PageOptions = {}): PageHandler {
  const streams = eventStreams(station, options)
  let maps = 0

  return (request, response) => {
    const [path = '', query] = (request.url ?? '').split('?', 2)
    if (path === '/-') return json(request, response, 308, {}, { Location: PREFIX })
    if (!path.startsWith(PREFIX)) return false
    const name = path.slice(PREFIX.length)
    const asset = assetAt(name, request.headers['accept-encoding'])
    if (asset === undefined && !['events', 'snapshot', 'pieces'].includes(name)) return false
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return json(request, response, 405, { error: 'only GET and HEAD are for this' }, { Allow: 'GET, HEAD' })
    }
    if (asset !== undefined) {
      const fresh = request.headers['if-none-match'] === asset.etag
      head(response, fresh ? 304 : 200, {
        'Content-Type': asset.type,
        ETag: asset.etag,
        'Cache-Control': 'no-cache',
        Vary: 'Accept-Encoding',
        ...(asset.coding !== undefined && { 'Content-Encoding': asset.coding }),
        ...(!fresh && { 'Content-Length': String(asset.body.byteLength) }),
      })
      response.end(fresh || request.method === 'HEAD' ? undefined : asset.body)
      return true
    }
    if (name === 'events') return events(request, response)
    return (name === 'snapshot' ? snapshot() : pieces(new URLSearchParams(query).get('id') ?? '', response)).then(
      (value) => json(request, response, 200, value),
      (error: unknown) => {
        const wait = isAnnexfsError(error, 'UNAVAILABLE') ? { 'Retry-After': '1' } : undefined
        return json(request, response, statusOf(error), { error: reasonOf(error) }, wait)
      },
    )
  }

  function events(request: IncomingMessage, response: ServerResponse): boolean {
    if (streams.full) {
      return json(request, response, 503, { error: 'too many pages look at this already' }, { 'Retry-After': '5' })
    }
    head(response, 200, { 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-store' })
    if (request.method === 'HEAD') response.end()
    else streams.open(response)
    return true
  }

  async function snapshot(): Promise<unknown> {
    return station.snapshot()
  }

  async function pieces(id: string, response: ServerResponse): Promise<unknown> {
    if (id === '' || id.length > LONGEST_ID) throw new AnnexfsError('INVALID', 'say which file: /-/pieces?id=…')
    if (maps >= MOST_MAPS) throw new AnnexfsError('UNAVAILABLE', 'too many piece maps are being made; ask again')
    const gone = new AbortController()
    const leave = (): void => gone.abort()
    response.once('close', leave)
    maps++
    try {
      const deadline = AbortSignal.timeout(MAP_DEADLINE)
      return (await station.pieceMap(id, AbortSignal.any([gone.signal, deadline]))) ?? null
    } finally {
      maps--
      response.removeListener('close', leave)
    }
  }
}

function statusOf(error: unknown): number {
  if (isAnnexfsError(error, 'INVALID')) return 400
  return isAnnexfsError(error, 'UNAVAILABLE') ? 503 : 500
}

function json(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): boolean {
  if (response.destroyed) return true
  head(response, status, {
    'Content-Type': 'application/json; charset=utf-8',
    'Cache-Control': 'no-store',
    ...headers,
  })
  response.end(request.method === 'HEAD' ? undefined : JSON.stringify(value))
  return true
}

/** Names in all this are hostile: nothing but our own script, style and server is allowed, to nobody but the page itself. */
function head(response: ServerResponse, status: number, headers: Readonly<Record<string, string>>): void {
  response.writeHead(status, {
    'Content-Security-Policy':
      "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
      "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
    ...headers,
  })
}
