import { spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join, normalize } from 'node:path'
import type { TestContext } from 'node:test'
import { httpServer } from './http.js'

export interface GitHttp {
  readonly url: string
  /** `METHOD path?query` of the requests that went to git http-backend. */
  readonly smart: readonly string[]
}

/**
 * Git's smart protocol over HTTP, by the real `git http-backend` as CGI; all else below `root` are files, as web servers
 * with annexed content are set up.
 */
export async function gitHttpServer(t: TestContext, root: string): Promise<GitHttp> {
  const smart: string[] = []
  const server = await httpServer(t, (request, response) => {
    const [path = '/', query = ''] = (request.url ?? '/').split('?')
    if (/\/(?:info\/refs|git-upload-pack)$/.test(path) && (request.method === 'POST' || query.includes('service='))) {
      smart.push(`${request.method} ${request.url}`)
      backend(root, path, query, request, response)
      return
    }
    readFile(join(root, normalize(decodeURIComponent(path)))).then(
      (bytes) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
      () => response.writeHead(404).end(),
    )
  })
  return { url: server.url, smart }
}

function backend(root: string, path: string, query: string, request: IncomingMessage, response: ServerResponse): void {
  const header = (name: string): string => String(request.headers[name] ?? '')
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: root,
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REQUEST_METHOD: request.method ?? 'GET',
      PATH_INFO: decodeURIComponent(path),
      QUERY_STRING: query,
      CONTENT_TYPE: header('content-type'),
      HTTP_CONTENT_ENCODING: header('content-encoding'),
      GIT_PROTOCOL: header('git-protocol'),
      REMOTE_ADDR: '127.0.0.1',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.stdin.on('error', () => undefined)
  request.pipe(child.stdin)
  const parts: Buffer[] = []
  child.stdout.on('data', (part: Buffer) => parts.push(part))
  child.on('close', () => {
    const all = Buffer.concat(parts)
    const end = all.indexOf('\r\n\r\n')
    const lines = all.toString('latin1', 0, Math.max(0, end)).split('\r\n')
    const headers = Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2) as [string, string]))
    const { Status: status = '200', ...others } = headers
    response.writeHead(end < 0 ? 500 : Number(status.slice(0, 3)), end < 0 ? {} : others).end(all.subarray(end + 4))
  })
}
