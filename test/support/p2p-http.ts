import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'

export interface P2pServer {
  /** By key, as its serialization. */
  readonly content: ReadonlyMap<string, Buffer>
  readonly uuid: string
  /** The newest version of the API that it knows. Default 4. */
  readonly newest?: number
  /** `user:password`; default: none needed. */
  readonly login?: string
  /** What becomes of a body that is sent. */
  readonly spoil?: (body: Buffer, response: ServerResponse) => void
}

/**
 * A server of git-annex's P2P protocol over HTTP (git-annex: "design/p2p protocol over http"), for reading: `key` and
 * `checkpresent`. As the real one it knows no ranges, and says how much follows the offset in a header of its own.
 */
export function p2pServer(server: P2pServer): RequestListener {
  const { content, uuid, newest = 4, login } = server
  return (request, response) => {
    const url = new URL(request.url ?? '', 'http://host')
    const match = /^\/git-annex\/([^/]+)\/v(\d)\/(key\/([^/]+)|checkpresent)$/.exec(url.pathname)
    if (match?.[1] !== uuid || Number(match[2]) > newest) return void response.writeHead(404).end()
    if (login !== undefined && request.headers.authorization !== basic(login)) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="git-annex"' }).end()
    }
    const [, , , , name] = match
    if (name === undefined) checkPresent(request, response, url, content)
    else {
      const bytes = content.get(decoded(decodeURIComponent(name)))
      if (request.method !== 'GET' || bytes === undefined) return void response.writeHead(404).end()
      const body = bytes.subarray(Number(url.searchParams.get('offset') ?? 0))
      response.setHeader('content-type', 'application/octet-stream')
      response.setHeader('x-git-annex-data-length', body.length)
      if (server.spoil === undefined) {
        // In parts, so that there is no Content-Length.
        response.write(body.subarray(0, body.length >> 1))
        response.end(body.subarray(body.length >> 1))
      } else server.spoil(body, response)
    }
  }
}

function checkPresent(
  request: IncomingMessage,
  response: ServerResponse,
  url: URL,
  content: ReadonlyMap<string, Buffer>,
): void {
  const key = url.searchParams.get('key')
  if (request.method !== 'POST' || key === null || url.searchParams.get('clientuuid') === null) {
    response.writeHead(400).end()
    return
  }
  response.setHeader('content-type', 'application/json;charset=utf-8')
  response.end(JSON.stringify({ present: content.has(decoded(key)) }))
}

/** `[base64url]` stands for bytes that are not UTF-8; keys are given here as bytes in latin1. */
function decoded(text: string): string {
  const encoded = /^\[(.*)\]$/s.exec(text)?.[1]
  const bytes = encoded === undefined ? Buffer.from(text, 'utf8') : Buffer.from(encoded, 'base64url')
  return bytes.toString('latin1')
}

export function basic(login: string): string {
  return `Basic ${Buffer.from(login).toString('base64')}`
}
