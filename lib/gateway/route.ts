import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAnnexfsError, reasonOf } from '../errors.js'
import { printable, type Log } from '../log/log.js'
import { withoutSecrets } from '../log/secrets.js'
import type { Volume } from '../engine/volume.js'
import type { Verdict } from './authentication.js'
import { say, type Exchange } from './exchange.js'
import { answerFile } from './file.js'
import { answerFolder } from './folder.js'
import type { RequestHandler } from './gateway.js'
import { refusalOf, type HostRule } from './guard.js'
import { answerPlaylist } from './playlist.js'
import { answerPropfind } from './propfind.js'
import { encodePath, targetOf, treePath, type Target } from './request-path.js'
import { followed } from './resolve.js'
import { statusOf } from './status.js'

export interface Arrival {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly rule: HostRule
  readonly handlers: readonly RequestHandler[]
  readonly log: Log
  readonly signal: AbortSignal
  readonly readTimeout: number
  readonly volume: Volume
  /** Judges the Authorization of a request; undefined: everybody is welcome. */
  readonly check: ((authorization: string | undefined) => Verdict) | undefined
}

const METHODS = 'OPTIONS, GET, HEAD, PROPFIND'
/** Reasons name every source that was tried. */
const LONGEST_REASON = 4096
/** A wrong secret is answered this late: guessing is slow. */
const WRONG_SECRET_DELAY = 500

/** Decides who answers a request: in this order whether it may be asked at all, by whom, and what it is. */
export async function answer(arrival: Arrival): Promise<void> {
  const { request, response, rule, log } = arrival
  // What comes with a request that wants no body would have to be read to the end of the connection's patience.
  if (hasBody(request) && request.method !== 'PROPFIND') response.setHeader('Connection', 'close')
  const target = request.url === '*' ? undefined : targetOf(request.url ?? '')
  const host = target?.authority ?? request.headers.host
  const refusal = refusalOf(request, host, rule)
  if (refusal !== undefined) {
    log.debug('a request was refused', { reason: refusal.reason, host: host ?? '' })
    say(arrival, refusal.status, refusal.reason, { Connection: 'close' })
    return
  }
  if (!(await isKnown(arrival))) return
  if (request.method === 'OPTIONS') {
    response.writeHead(200, { Allow: METHODS, DAV: '1', 'MS-Author-Via': 'DAV', 'Content-Length': 0 })
    response.end()
    return
  }
  if (target === undefined) {
    say(arrival, 400, 'the request target is not a path')
    return
  }
  await answerTarget(arrival, target, host ?? '')
}

async function answerTarget(arrival: Arrival, target: Target, host: string): Promise<void> {
  const { request, response, handlers } = arrival
  const { method = '' } = request
  const own = target.raw === '/-' || target.raw.startsWith('/-/')
  if (!['GET', 'HEAD', ...(own ? [] : ['PROPFIND'])].includes(method)) {
    say(arrival, 405, `${method} is not possible here: everything is read-only`, {
      Allow: own ? 'GET, HEAD' : METHODS,
    })
    return
  }
  if (own) {
    await answerOwn(arrival, target)
    return
  }
  const place = treePath(target.raw)
  if (place === undefined) {
    say(arrival, 404, 'no file has a path like this')
    return
  }
  const scheme = request.headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'
  const exchange: Exchange = {
    request,
    response,
    volume: arrival.volume,
    log: arrival.log,
    readTimeout: arrival.readTimeout,
    signal: arrival.signal,
    origin: `${scheme}://${host}`,
    query: target.query,
    hasPage: handlers.length > 0,
    ...place,
  }
  try {
    await (method === 'PROPFIND' ? answerPropfind(exchange) : answerRead(exchange))
  } catch (error) {
    fail(exchange, error)
  }
}

async function answerRead(exchange: Exchange): Promise<void> {
  const { path, folder, query, response } = exchange
  const found = await followed(exchange, path)
  const playlist = query === 'm3u'
  if (found === undefined) {
    if (!folder && (await answerPlaylist(exchange, path.replace(/\.m3u8?$/, '')))) return
    say(exchange, 404, 'there is no such file')
  } else if (found.node.kind === 'dir') {
    if (playlist && (await answerPlaylist(exchange, found.path))) return
    if (folder) await answerFolder(exchange, found.path)
    else {
      response.writeHead(301, { Location: `${encodePath(path)}/`, 'Content-Length': 0, 'Cache-Control': 'no-cache' })
      response.end()
    }
  } else if (folder) say(exchange, 404, 'this is a file; ask without a slash at the end')
  else await answerFile(exchange, found)
}

/** Our own pages: what hostile content says must not run there, nor show them in a frame. */
async function answerOwn(arrival: Arrival, target: Target): Promise<void> {
  const { request, response, handlers } = arrival
  if (target.raw === '/-') {
    response.writeHead(301, { Location: '/-/', 'Content-Length': 0 })
    response.end()
    return
  }
  // Handlers are given a plain path, however the client wrote it.
  request.url = target.query === '' ? target.raw : `${target.raw}?${target.query}`
  response.setHeader(
    'Content-Security-Policy',
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  )
  for (const handler of handlers) if (await handler(request, response)) return
  say(arrival, 404, 'there is no such page')
}

async function isKnown(arrival: Arrival): Promise<boolean> {
  if (arrival.check === undefined) return true
  const verdict = arrival.check(arrival.request.headers.authorization)
  if (verdict === 'right') return true
  if (verdict === 'wrong') {
    arrival.log.warn('a request came with a wrong secret', { address: arrival.request.socket.remoteAddress ?? '' })
    await sleep(WRONG_SECRET_DELAY)
  }
  const realm = 'Basic realm="annexfs", charset="UTF-8"'
  say(arrival, 401, 'say who you are', { 'WWW-Authenticate': realm })
  return false
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) !== 0
}

/** An answer that says why, while that is still possible; else the connection ends in the middle of it. */
function fail(exchange: Exchange, error: unknown): void {
  const { response, log, path, signal } = exchange
  if (signal.aborted || isAnnexfsError(error, 'ABORTED')) {
    response.destroy()
    return
  }
  const status = statusOf(error)
  for (const name of ['ETag', 'Last-Modified', 'Accept-Ranges', 'Content-Range']) {
    if (!response.headersSent) response.removeHeader(name)
  }
  if (status !== 404) log.warn(`cannot serve ${path}`, { reason: reasonOf(error) })
  const reason = isAnnexfsError(error) ? error.message : 'something went wrong; the log says more'
  const { retryAfter } = isAnnexfsError(error) ? error : {}
  const wait =
    retryAfter === undefined ? undefined : { 'Retry-After': String(Math.max(1, Math.ceil(retryAfter / 1000))) }
  say(exchange, status, withoutSecrets(printable(reason)).slice(0, LONGEST_REASON), wait)
}
