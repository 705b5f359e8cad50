import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import type { IncomingMessage, RequestListener } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { askedRange } from './http.js'
import { basic } from './p2p-http.js'

const run = promisify(execFile)

/** A certificate authority and a certificate of it for 127.0.0.1, made in `folder`. */
export async function localTls(folder: string): Promise<{ ca: string; key: string; cert: string }> {
  const openssl = (line: string): Promise<unknown> => run('openssl', line.split(' '), { cwd: folder })
  const curve = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
  await openssl(`req -x509 ${curve} -days 30 -keyout ca.key -out ca.pem -subj /CN=annexfs-test-CA`)
  await openssl(`req ${curve} -subj /CN=server -keyout server.key -out server.csr`)
  await writeFile(join(folder, 'server.ext'), 'subjectAltName=IP:127.0.0.1\n')
  await openssl(
    'x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile server.ext -out server.pem',
  )
  const [ca = '', key = '', cert = ''] = await Promise.all(
    ['ca.pem', 'server.key', 'server.pem'].map((name) => readFile(join(folder, name), 'utf8')),
  )
  return { ca, key, cert }
}

export interface LfsServerOptions {
  readonly objects: readonly Buffer[]
  /** Path of the repository, ending in `.git`. */
  readonly repository: string
  /** `user:password` that batch requests need. */
  readonly login?: string
  /** The header `Authorization` that batch requests need instead. */
  readonly token?: () => string
  /** Where objects are downloaded from; default: the server itself. */
  readonly storage?: () => string
  /** Of each batch answer. */
  readonly expiresIn?: number
  readonly expiresAt?: () => string
  /** Downloads go through `header` (default) or a signed URL. */
  readonly signed?: boolean
  /** Changes an answer. */
  readonly bend?: (answer: BatchAnswer) => unknown
}

export interface BatchAnswer {
  transfer?: string
  objects: {
    oid: string
    size: number
    actions?: { download: { href: string; header?: Record<string, string>; expires_in?: number; expires_at?: string } }
    error?: { code: number; message: string }
  }[]
}

export interface LfsServer {
  readonly listener: RequestListener
  /** Tokens for downloads given so far; only those not revoked are taken. */
  revoke(): void
  batches: number
  downloads: number
}

/** A Git LFS server: the batch API with the basic transfer, and the downloads it points to. */
export function lfsServer(options: LfsServerOptions): LfsServer {
  const byOid = new Map(options.objects.map((bytes) => [createHash('sha256').update(bytes).digest('hex'), bytes]))
  const valid = new Set<string>()
  const server: LfsServer = { listener, revoke: () => valid.clear(), batches: 0, downloads: 0 }
  return server

  function listener(...[request, response]: Parameters<RequestListener>): void {
    const url = new URL(request.url ?? '', 'https://host')
    if (request.method === 'POST' && url.pathname === `${options.repository}/info/lfs/objects/batch`) {
      const { login, token } = options
      const wanted = token?.() ?? (login === undefined ? undefined : basic(login))
      if (wanted !== undefined && request.headers.authorization !== wanted) {
        response.writeHead(401, { 'lfs-authenticate': 'Basic realm="lfs"' }).end('{"message":"no"}')
        return
      }
      if (!request.headers['content-type']?.startsWith('application/vnd.git-lfs+json')) {
        return void response.writeHead(415).end()
      }
      server.batches++
      void bodyOf(request).then((body) => {
        response.setHeader('content-type', 'application/vnd.git-lfs+json')
        const answer = batch(JSON.parse(body), String(request.headers.host))
        response.end(JSON.stringify(options.bend?.(answer) ?? answer))
      })
      return
    }
    const bytes = byOid.get(url.pathname.replace('/objects/', ''))
    if (bytes === undefined) return void response.writeHead(404).end()
    const token = url.searchParams.get('sign') ?? request.headers.authorization?.replace('Token ', '') ?? ''
    if (!valid.has(token)) return void response.writeHead(403).end('<Error>expired</Error>')
    server.downloads++
    const range = askedRange(request, bytes.length)
    const part = range === undefined ? bytes : bytes.subarray(range.start, range.end)
    response.setHeader('content-length', part.length)
    if (range !== undefined) {
      response.setHeader('content-range', `bytes ${range.start}-${range.end - 1}/${bytes.length}`)
    }
    response.writeHead(range === undefined ? 200 : 206).end(part)
  }

  function batch(asked: unknown, host: string): BatchAnswer {
    const { operation, objects } = asked as { operation: string; objects: { oid: string; size: number }[] }
    if (operation !== 'download') throw new Error(`${operation} is not for readers`)
    return {
      transfer: 'basic',
      objects: objects.map(({ oid, size }) => {
        if (byOid.get(oid)?.length !== size)
          return { oid, size, error: { code: 404, message: 'Object does not exist' } }
        const token = `t${server.batches}-${valid.size}-${Math.random()}`
        valid.add(token)
        const href = `${options.storage?.() ?? `https://${host}`}/objects/${oid}`
        const download = {
          ...(options.signed === true
            ? { href: `${href}?sign=${token}` }
            : { href, header: { Authorization: `Token ${token}`, 'X-Other': 'x' } }),
          ...(options.expiresIn === undefined ? {} : { expires_in: options.expiresIn }),
          ...(options.expiresAt === undefined ? {} : { expires_at: options.expiresAt() }),
        }
        return { oid, size, actions: { download } }
      }),
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
