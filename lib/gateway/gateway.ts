import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'
import type { Volume } from '../engine/volume.js'
import { rateLimited, type Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { authenticator, type Authentication } from './authentication.js'
import { COMMON_HEADERS, say } from './exchange.js'
import { hostRule, isLoopback, MOST_HEADERS, showHost } from './guard.js'
import { answer } from './route.js'

/** Takes a request below `/-/` by answering it, and says whether it has. */
export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>

export interface GatewayOptions {
  readonly volume: Volume
  readonly listen: ListenAddress
  /** Who may read. Must be given when others than programs of this machine can connect. */
  readonly authentication?: Authentication
  /** Names that clients may call us by beside `localhost` and our addresses. */
  readonly allowHosts?: readonly string[]
  /** The longest that a read, or anything else, may take. */
  readonly readTimeout: Milliseconds
  readonly log: Log
  /** What answers below `/-/`, asked in order; 404 when none takes a request. GET and HEAD only. */
  readonly handlers?: readonly RequestHandler[]
  /** Default 256. */
  readonly maxConnections?: number
}

export interface ListenAddress {
  /** An address, or `localhost`. */
  readonly host: string
  /** 0 takes any that is free. */
  readonly port: number
}

export interface Gateway {
  /** `http://127.0.0.1:8080/` */
  readonly url: string
  /** Ends all that is being answered, and stops listening. Does not close the volume. */
  close(): Promise<void>
}

/** Request line and headers together; paths may be long, credentials and ranges are not. */
const MOST_HEADER_BYTES = 32 * 1024
/** Who takes longer to say what he wants is not asked for it. */
const HEADERS_TIMEOUT: Milliseconds = 10_000
const REQUEST_TIMEOUT: Milliseconds = 20_000
const KEEP_ALIVE: Milliseconds = 30_000
const CHECK_INTERVAL: Milliseconds = 1_000
/** A client that takes nothing for this long (a player on pause) has to ask again. */
const STALL_TIMEOUT: Milliseconds = 600_000
const MOST_CONNECTIONS = 256
/** Requests of one connection that may be under way: clients that pipeline send a few. */
const MOST_PIPELINED = 8

/**
 * Serves `volume` over HTTP and read-only WebDAV (doc/GATEWAY.md).
 * @throws AnnexfsError USAGE when it would listen wider than this machine without authentication; SYSTEM when it cannot
 *   listen there.
 */
export async function gateway(options: GatewayOptions): Promise<Gateway> {
  const { listen, readTimeout, volume, handlers = [] } = options
  if (options.authentication === undefined && !isLoopback(listen.host)) throw unprotected(listen.host)
  const log = rateLimited(options.log, 1000)
  /** Of what is being answered now. */
  const answering = new Set<AbortController>()
  const check = options.authentication === undefined ? undefined : authenticator(options.authentication)
  const rule = hostRule(listen.host, options.allowHosts ?? [])
  const busy = new WeakMap<Duplex, number>()

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { socket } = request
    const underWay = (busy.get(socket) ?? 0) + 1
    if (underWay > MOST_PIPELINED) {
      socket.destroy()
      return
    }
    busy.set(socket, underWay)
    const left = new AbortController()
    answering.add(left)
    response.once('close', () => left.abort(new AnnexfsError('ABORTED', 'the client has left')))
    for (const [name, value] of Object.entries(COMMON_HEADERS)) response.setHeader(name, value)
    try {
      await answer({ request, response, rule, check, handlers, log, signal: left.signal, readTimeout, volume })
    } catch (error) {
      if (!left.signal.aborted) log.error('a request could not be answered', { reason: reasonOf(error) })
      say({ request, response }, 500, 'something went wrong inside annexfs; its log says more')
    } finally {
      answering.delete(left)
      busy.set(socket, (busy.get(socket) ?? 1) - 1)
    }
  }
  const listener = (request: IncomingMessage, response: ServerResponse): void => void handle(request, response)
  const server = createServer(
    {
      maxHeaderSize: MOST_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT,
      requestTimeout: REQUEST_TIMEOUT,
      keepAliveTimeout: KEEP_ALIVE,
      connectionsCheckingInterval: CHECK_INTERVAL,
      noDelay: true,
    },
    listener,
  )
  // One more than are allowed, so that too many are seen: Node.js drops the rest.
  server.maxHeadersCount = MOST_HEADERS + 1
  server.maxConnections = options.maxConnections ?? MOST_CONNECTIONS
  server.timeout = Math.max(STALL_TIMEOUT, 2 * readTimeout)
  server.on('clientError', refuseMalformed)
  // Without it every client that asks first would be told to send what nobody reads.
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    if (request.method === 'PROPFIND') response.writeContinue()
    listener(request, response)
  })
  await start(server, listen)
  const address = server.address() as AddressInfo
  const close = async (): Promise<void> => {
    for (const left of answering) left.abort(new AnnexfsError('ABORTED', 'the gateway closes'))
    const closed = new Promise<void>((resolve) => {
      server.close(() => resolve())
    })
    server.closeAllConnections()
    await closed
  }
  // A name may resolve to anything.
  if (options.authentication === undefined && !isLoopback(address.address)) {
    await close()
    throw unprotected(address.address)
  }
  return { url: `http://${showHost(isLoopback(listen.host) ? address.address : listen.host)}:${address.port}/`, close }
}

function unprotected(host: string): AnnexfsError {
  return new AnnexfsError(
    'USAGE',
    `listening on ${host} lets others in: protect it with --token or --basic-auth, or listen on 127.0.0.1`,
  )
}

async function start(server: Server, { host, port }: ListenAddress): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host, port }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (error) {
    const code = systemCode(error)
    const hint = code === 'EADDRINUSE' ? ' (something else listens there; choose another port)' : ''
    throw new AnnexfsError('SYSTEM', `cannot listen on ${showHost(host)}:${port}: ${reasonOf(error)}${hint}`, {
      cause: error,
    })
  }
}

const MALFORMED: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/** What is no HTTP, too long or too slow: a status line for who can read it, and the end of the connection. */
function refuseMalformed(error: Error, duplex: Duplex): void {
  const socket = duplex as Socket
  if (socket.writable && socket.bytesWritten === 0) {
    const status = MALFORMED[systemCode(error) ?? ''] ?? '400 Bad Request'
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
  }
  socket.destroySoon()
}
