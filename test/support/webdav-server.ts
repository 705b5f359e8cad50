import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { request as httpRequest, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { httpServer } from './http.js'
import { freePort } from './nginx.js'
import { temporaryFolder } from './temp.js'

export const WEBDAV_CREDENTIALS = { user: 'annex', password: 'p:ä "s\\ecret' }

export interface WebdavRequest {
  readonly method: string
  readonly url: string
  readonly status: number
  readonly bytes: number
  /** The scheme of its authorization. */
  readonly authorization: string | undefined
  readonly range: string | undefined
}

export interface WebdavServer {
  /** Of a folder that has a space in its name. */
  readonly url: string
  /** What it serves. */
  readonly root: string
  readonly requests: WebdavRequest[]
  readonly rules: { noRanges?: boolean }
}

/** `rclone serve webdav` with basic authentication on a folder of its own, behind a gate that counts. */
export async function startRcloneWebdav(t: Pick<TestContext, 'after'>): Promise<WebdavServer> {
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'store'))
  const port = await freePort()
  const { user, password } = WEBDAV_CREDENTIALS
  const child = spawn('rclone', ['serve', 'webdav', join(folder, 'store'), '--addr', `127.0.0.1:${port}`], {
    stdio: 'ignore',
    env: {
      PATH: process.env['PATH'] ?? '/usr/bin:/bin',
      HOME: folder,
      RCLONE_CONFIG: join(folder, 'rclone.conf'),
      RCLONE_USER: user,
      RCLONE_PASS: password,
    },
  })
  const ended = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await ended
  })
  await listening(port)
  return gate(t, join(folder, 'store'), (request, response) => forward(request, response, port))
}

interface Webdav {
  readonly HTTPDigestAuthentication: new (users: unknown, realm: string) => unknown
  readonly PhysicalFileSystem: new (folder: string) => unknown
  readonly SimpleUserManager: new () => { addUser(name: string, password: string, admin: boolean): unknown }
  readonly WebDAVServer: new (options: Readonly<Record<string, unknown>>) => { executeRequest: RequestListener }
}

/** What the server below takes; it hashes passwords as Latin-1. */
export const DIGEST_CREDENTIALS = { user: 'annex "2"', password: 'p:s,e="cret' }

/** The npm package webdav-server with digest authentication, which git-annex does not know, on a folder. */
export async function startDigestWebdav(t: Pick<TestContext, 'after'>, folder: string): Promise<WebdavServer> {
  const { v2 } = createRequire(import.meta.url)('webdav-server') as { readonly v2: Webdav }
  const users = new v2.SimpleUserManager()
  users.addUser(DIGEST_CREDENTIALS.user, DIGEST_CREDENTIALS.password, true)
  const server = new v2.WebDAVServer({
    requireAuthentification: true,
    httpAuthentication: new v2.HTTPDigestAuthentication(users, 'a realm'),
    rootFileSystem: new v2.PhysicalFileSystem(folder),
  })
  return gate(t, folder, (request, response) => {
    tellTotal(response, join(folder, decodeURIComponent(request.url ?? '')))
    server.executeRequest(request, response)
  })
}

/** That server leaves the total out of `Content-Range`, as it may; then a client could not tell another size. */
function tellTotal(response: ServerResponse, file: string): void {
  const set = response.setHeader.bind(response)
  response.setHeader = (name, value) => {
    const total =
      name.toLowerCase() === 'content-range' ? (statSync(file, { throwIfNoEntry: false })?.size ?? '*') : '*'
    return set(name, typeof value === 'string' ? value.replace(/^(bytes \d+-\d+)\/\*$/, `$1/${total}`) : value)
  }
}

async function gate(t: Pick<TestContext, 'after'>, root: string, behind: RequestListener): Promise<WebdavServer> {
  const requests: WebdavRequest[] = []
  const rules: WebdavServer['rules'] = {}
  const server = await httpServer(t, (request, response) => {
    const before = request.socket.bytesWritten
    const { method = '', url = '', headers } = request
    const { range } = headers
    const authorization = headers.authorization?.split(' ')[0]
    response.on('close', () => {
      const bytes = request.socket.bytesWritten - before
      requests.push({ method, url, status: response.statusCode, bytes, authorization, range })
    })
    if (rules.noRanges === true) delete headers.range
    behind(request, response)
  })
  return { url: `${server.url}/a%20folder`, root, requests, rules }
}

function forward(request: IncomingMessage, response: ServerResponse, port: number): void {
  const { method, url, headers } = request
  const onward = httpRequest({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
  })
  onward.on('error', () => response.destroy())
  response.on('close', () => onward.destroy())
  request.pipe(onward)
}

async function listening(port: number): Promise<void> {
  for (let tries = 0; tries < 1_000; tries++) {
    try {
      await (await fetch(`http://127.0.0.1:${port}/`)).arrayBuffer()
      return
    } catch {
      // Not yet.
      await sleep(50)
    }
  }
  throw new Error('rclone did not start within 50 s')
}
