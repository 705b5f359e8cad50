import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { TestContext } from 'node:test'

export interface TestServer {
  /** `http://127.0.0.1:port`, without a slash at the end. */
  readonly url: string
  readonly port: number
  /** TCP connections that reached it. */
  connections: number
  readonly requests: { readonly method: string; readonly url: string; readonly headers: IncomingMessage['headers'] }[]
}

export interface TestServerOptions {
  /** Default 127.0.0.1. */
  readonly host?: string
  readonly tls?: { readonly key: string; readonly cert: string }
}

/** An HTTP server that answers by `listener`; gone, with its connections, when the test ends. */
export async function httpServer(
  t: Pick<TestContext, 'after'>,
  listener: RequestListener,
  options: TestServerOptions = {},
): Promise<TestServer> {
  const { host = '127.0.0.1', tls } = options
  const sockets = new Set<Socket>()
  const answer: RequestListener = (request, response) => {
    seen.requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers })
    // A client that hangs up is part of most of these tests.
    response.on('error', () => undefined)
    listener(request, response)
  }
  const server = tls === undefined ? createServer(answer) : createTlsServer({ ...tls }, answer)
  server.on('connection', (socket: Socket) => {
    seen.connections++
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, host, resolve)
  })
  t.after(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const shown = host.includes(':') ? `[${host}]` : host
  const seen: TestServer = {
    url: `${tls === undefined ? 'http' : 'https'}://${shown}:${port}`,
    port,
    connections: 0,
    requests: [],
  }
  return seen
}

/** The single range that a request asks for, within `length` bytes. */
export function askedRange(request: IncomingMessage, length: number): { start: number; end: number } | undefined {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '')
  if (match === null) return undefined
  const end = match[2] === '' || match[2] === undefined ? length : Math.min(Number(match[2]) + 1, length)
  return { start: Number(match[1]), end }
}

/** How a server strays from RFC 9110. Each is right in all else. */
export type Misbehaviour =
  | 'none'
  | 'no ranges'
  | 'short body'
  | 'long body'
  | 'wrong Content-Range start'
  | 'wrong Content-Range total'
  | 'no Content-Range'
  | 'changed midway'
  | 'gzip'
  | '416'
  | 'cut off always'
  | 'cut off once'
  | 'hang before the answer'
  | 'hang in the body'
  | 'one byte a second'
  | 'redirect loop'
  | 'ten gibibytes for a range'
  | 'ten gibibytes with a right head'
  | 'endless header'
  | 'not HTTP'
  | '503 once'
  | '404'

/** Serves `content` at every path, with the given misbehaviour. */
export function misbehaving(content: Buffer, how: Misbehaviour): RequestListener {
  let count = 0
  return (request, response) => {
    count++
    const range = askedRange(request, content.length)
    const part = range === undefined ? content : content.subarray(range.start, range.end)
    const head = {
      etag: how === 'changed midway' && count > 1 ? '"second"' : '"first"',
      'accept-ranges': 'bytes',
      'content-length': part.length,
      ...(range === undefined ? {} : { 'content-range': `bytes ${range.start}-${range.end - 1}/${content.length}` }),
    }
    const status = range === undefined ? 200 : 206
    const rule = RULES[how]
    if (rule === undefined) response.writeHead(status, head).end(request.method === 'HEAD' ? undefined : part)
    else rule({ request, response, content, part, head, status, count })
  }
}

interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly content: Buffer
  readonly part: Buffer
  readonly head: Record<string, string | number>
  readonly status: number
  /** Of this request, from 1. */
  readonly count: number
}

const TEN_GIB = 10 * 1024 ** 3

const RULES: Partial<Record<Misbehaviour, (exchange: Exchange) => void>> = {
  'no ranges': ({ response, content }) => {
    response.writeHead(200, { etag: '"first"', 'content-length': content.length }).end(content)
  },
  'short body': ({ response, part, head, status }) => {
    const half = part.subarray(0, part.length >> 1)
    response.writeHead(status, { ...head, 'content-length': half.length }).end(half)
  },
  'long body': ({ response, part, head, status }) => {
    const { 'content-length': _, ...rest } = head
    // Chunked, so that only the range says how long it should be.
    response.writeHead(status, rest).end(Buffer.concat([part, Buffer.alloc(300_000, 'x')]))
  },
  'wrong Content-Range start': ({ response, part, head, status, content }) => {
    const range = `bytes 7-${6 + part.length}/${content.length}`
    response.writeHead(status, { ...head, 'content-range': range }).end(part)
  },
  'wrong Content-Range total': ({ response, part, head, status, content }) => {
    const range = String(head['content-range']).replace(/\/.*/, `/${content.length + 1}`)
    response.writeHead(status, { ...head, 'content-range': range }).end(part)
  },
  'no Content-Range': ({ response, part, head, status }) => {
    const { 'content-range': _, ...rest } = head
    response.writeHead(status, rest).end(part)
  },
  gzip: ({ response, part, head, status }) => {
    response.writeHead(status, { ...head, 'content-encoding': 'gzip' }).end(part)
  },
  '416': ({ response, content }) => {
    response.writeHead(416, { 'content-range': `bytes */${content.length}`, 'content-length': 0 }).end()
  },
  'cut off always': (exchange) => cutOff(exchange),
  'cut off once': (exchange) => {
    const { response, part, head, status, count } = exchange
    if (count === 1) cutOff(exchange)
    else response.writeHead(status, head).end(part)
  },
  'hang before the answer': () => undefined,
  'hang in the body': ({ response, part, head, status }) => {
    response.writeHead(status, head).write(part.subarray(0, part.length >> 1))
  },
  'one byte a second': ({ response, part, head, status }) => {
    response.writeHead(status, head)
    let at = 0
    const timer = setInterval(() => response.write(part.subarray(at, ++at)), 1000)
    response.on('close', () => clearInterval(timer))
  },
  'redirect loop': ({ request, response }) => {
    response.writeHead(302, { location: request.url === '/a' ? '/b' : '/a', 'content-length': 0 }).end()
  },
  'ten gibibytes for a range': ({ response }) => endless(response.writeHead(200, { 'content-length': TEN_GIB })),
  'ten gibibytes with a right head': ({ response, part, head, status }) => {
    const { 'content-length': _, ...rest } = head
    response.writeHead(status, rest).write(part)
    endless(response)
  },
  'endless header': ({ response }) => {
    response.socket?.write('HTTP/1.1 200 OK\r\nx: ')
    const timer = setInterval(() => response.socket?.write('x'.repeat(64 * 1024)), 1)
    response.socket?.on('close', () => clearInterval(timer))
  },
  'not HTTP': ({ response }) => {
    response.socket?.end('220 mail.example.org ESMTP\r\n')
  },
  '503 once': ({ response, part, head, status, count }) => {
    if (count === 1) response.writeHead(503, { 'retry-after': '1', 'content-length': 0 }).end()
    else response.writeHead(status, head).end(part)
  },
  '404': ({ response }) => {
    response.writeHead(404, { 'content-length': 4 }).end('gone')
  },
}

function cutOff({ response, part, head, status }: Exchange): void {
  response.writeHead(status, head)
  response.write(part.subarray(0, part.length >> 1), () => response.socket?.destroy())
}

function endless(response: ServerResponse): void {
  const chunk = Buffer.alloc(1024 * 1024, 'x')
  let sent = 0
  const more = (): void => {
    while (sent < TEN_GIB && !response.destroyed) {
      sent += chunk.length
      if (!response.write(chunk)) {
        response.once('drain', more)
        return
      }
    }
  }
  more()
}
