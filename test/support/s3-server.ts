import { createHash, createHmac, randomBytes } from 'node:crypto'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import type { TestContext } from 'node:test'
import { askedRange, httpServer } from './http.js'
import { temporaryFolder } from './temp.js'

/** Of the account that owns everything. */
export const S3_CREDENTIALS = { user: 'S3RVER', password: 'its+secret/key' }

export interface S3Request {
  readonly method: string
  readonly url: string
  readonly status: number
  /** Bytes of body that were sent. */
  readonly bytes: number
  readonly signed: 'v2' | 'v4' | undefined
  readonly range: string | undefined
}

export interface S3Server {
  readonly port: number
  readonly url: string
  readonly requests: S3Request[]
  /** How it behaves; may be changed at any time. */
  readonly rules: {
    /** Requests without a signature are answered. */
    anonymous?: boolean
    /** Version 4 must be for this region; version 2 is refused. */
    region?: string
    /** It thinks that it is so much later, in milliseconds. */
    clock?: number
    token?: string
    /** Everything is in Glacier. */
    archived?: boolean
    /** Objects are sent whole. */
    noRanges?: boolean
  }
}

type Callback = { callback(): RequestListener }
type S3rverClass = new (options: Readonly<Record<string, unknown>>) => Callback

/**
 * s3rver behind a gate that checks signatures (s3rver itself misreads those of version 2 with a `Date`, and does not
 * check version 4) and keeps versions where they are switched on.
 */
export async function startS3(t: Pick<TestContext, 'after'>): Promise<S3Server> {
  const S3rver = createRequire(import.meta.url)('s3rver') as S3rverClass
  const directory = await temporaryFolder(t)
  const options = { silent: true, directory, allowMismatchedSignatures: true, vhostBuckets: false }
  const behind = new S3rver(options).callback()
  const versions = new Versions()
  const requests: S3Request[] = []
  const rules: S3Server['rules'] = {}
  const server = await httpServer(t, (request, response) => {
    const before = request.socket.bytesWritten
    const signed = signatureKind(request)
    response.on('close', () => {
      requests.push({
        method: request.method ?? '',
        url: request.url ?? '',
        status: response.statusCode,
        bytes: (request.socket.bytesWritten ?? 0) - before,
        signed,
        range: request.headers.range,
      })
    })
    const refusal = refused(request, signed, rules)
    if (refusal !== undefined) {
      answerError(response, ...refusal)
      return
    }
    if (rules.noRanges === true) delete request.headers.range
    // The gate has checked it, and s3rver knows no other account than its own.
    if (signed !== undefined) request.headers.authorization = `AWS S3RVER:checked`
    versions.answer(request, response, () => behind(request, response))
  })
  return { port: server.port, url: server.url, requests, rules }
}

type Refusal = readonly [status: number, code: string, more?: string, message?: string]

function refused(
  request: IncomingMessage,
  signed: 'v2' | 'v4' | undefined,
  rules: S3Server['rules'],
): Refusal | undefined {
  if (signed === undefined) return rules.anonymous === true ? undefined : [403, 'AccessDenied']
  if (rules.region !== undefined && signed === 'v2') {
    const message = 'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.'
    return [400, 'InvalidRequest', '', message]
  }
  const [user, region, signature] = signed === 'v2' ? v2(request) : v4(request)
  if (user !== S3_CREDENTIALS.user) return [403, 'InvalidAccessKeyId']
  if (rules.token !== undefined && request.headers['x-amz-security-token'] !== rules.token) return [400, 'ExpiredToken']
  if (rules.region !== undefined && region !== rules.region) {
    return [400, 'AuthorizationHeaderMalformed', `<Region>${rules.region}</Region>`]
  }
  if (Math.abs(Date.parse(dateOf(request)) - Date.now() - (rules.clock ?? 0)) > 900_000) {
    return [403, 'RequestTimeTooSkewed']
  }
  // Echoes what a real server echoes.
  if (!signature) return [403, 'SignatureDoesNotMatch', `<AWSAccessKeyId>${user}</AWSAccessKeyId>`]
  return rules.archived === true ? [403, 'InvalidObjectState'] : undefined
}

function signatureKind(request: IncomingMessage): 'v2' | 'v4' | undefined {
  const { authorization = '' } = request.headers
  return authorization.startsWith('AWS ') ? 'v2' : authorization.startsWith('AWS4-') ? 'v4' : undefined
}

function header(request: IncomingMessage, name: string): string {
  return String(request.headers[name] ?? '')
}

function dateOf(request: IncomingMessage): string {
  const date = header(request, 'x-amz-date') || header(request, 'date')
  return date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
}

/** User, no region, and whether the signature is right: "Signing and authenticating REST requests" (version 2). */
function v2(request: IncomingMessage): [string, undefined, boolean] {
  const [, user = '', signature] = /^AWS ([^:]*):(.*)$/.exec(request.headers.authorization ?? '') ?? []
  const amz = Object.keys(request.headers)
    .filter((name) => name.startsWith('x-amz-'))
    .sort()
    .map((name) => `${name}:${header(request, name)}\n`)
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const parts = query.split('&').filter((part) => /^(versionId|versioning|versions|location|acl|uploads)\b/.test(part))
  const date = amz.some((line) => line.startsWith('x-amz-date:')) ? '' : header(request, 'date')
  const text = [
    request.method,
    header(request, 'content-md5'),
    header(request, 'content-type'),
    date,
    `${amz.join('')}${path}${parts.length === 0 ? '' : `?${parts.map(decodeURIComponent).sort().join('&')}`}`,
  ].join('\n')
  const right = createHmac('sha1', S3_CREDENTIALS.password).update(text).digest('base64')
  return [user, undefined, right === signature]
}

/** User, region, and whether the signature is right: "Authenticating requests (AWS Signature Version 4)". */
function v4(request: IncomingMessage): [string, string, boolean] {
  const found =
    /Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)$/.exec(
      request.headers.authorization ?? '',
    )
  const [, user = '', day = '', region = '', names = '', signature] = found ?? []
  const [path = '', query = ''] = (request.url ?? '').split('?')
  const canonical = [
    request.method,
    path,
    query
      .split('&')
      .filter((part) => part !== '')
      .map((part) => (part.includes('=') ? part : `${part}=`))
      .sort()
      .join('&'),
    ...names
      .split(';')
      .map((name) => `${name}:${name === 'host' ? signedHost(request) : header(request, name).trim()}`),
    '',
    names,
    header(request, 'x-amz-content-sha256'),
  ].join('\n')
  const hash = createHash('sha256').update(canonical).digest('hex')
  const scope = `${day}/${region}/s3/aws4_request`
  const text = ['AWS4-HMAC-SHA256', header(request, 'x-amz-date'), scope, hash].join('\n')
  const secret = scope.split('/').reduce<Buffer>(hmac256, Buffer.from(`AWS4${S3_CREDENTIALS.password}`))
  return [user, region, hmac256(secret, text).toString('hex') === signature]
}

/** git-annex leaves out the port, other clients (and real servers) do not. */
function signedHost(request: IncomingMessage): string {
  const host = header(request, 'host')
  return header(request, 'user-agent').startsWith('annexfs') ? host : host.replace(/:\d+$/, '')
}

function hmac256(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function answerError(response: ServerResponse, status: number, code: string, more = '', message = code): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message>${more}</Error>`
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': body.length }).end(body)
}

/** Objects of the buckets for which versioning was switched on, and those whose names s3rver cannot take. */
class Versions {
  readonly #buckets = new Set<string>()
  /** By path and version. */
  readonly #objects = new Map<string, Buffer>()
  readonly #latest = new Map<string, string>()

  answer(request: IncomingMessage, response: ServerResponse, otherwise: () => void): void {
    const url = new URL(request.url ?? '', 'http://s3')
    const [, bucket = '', ...rest] = url.pathname.split('/')
    if (url.searchParams.has('versioning') && request.method === 'PUT') {
      this.#buckets.add(bucket)
      request.resume().on('end', () => response.end())
    } else if (rest.join('') === '' || !(this.#buckets.has(bucket) || url.pathname.includes('//'))) otherwise()
    else if (request.method === 'PUT') this.#put(url.pathname, request, response)
    else this.#get(url, request, response)
  }

  #put(path: string, request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const version = `v${randomBytes(4).toString('hex')}.+/=`
      this.#objects.set(`${path}?${version}`, Buffer.concat(chunks))
      this.#latest.set(path, version)
      response.writeHead(200, { 'x-amz-version-id': version, etag: `"${version}"`, 'content-length': 0 }).end()
    })
  }

  #get(url: URL, request: IncomingMessage, response: ServerResponse): void {
    if (request.method === 'DELETE') {
      this.#latest.delete(url.pathname)
      response.writeHead(204).end()
      return
    }
    const asked = url.searchParams.get('versionId')
    const version = asked ?? this.#latest.get(url.pathname) ?? ''
    const content = this.#objects.get(`${url.pathname}?${version}`)
    if (content === undefined) {
      answerError(response, 404, asked === null ? 'NoSuchKey' : 'NoSuchVersion')
      return
    }
    const range = askedRange(request, content.length)
    const part = range === undefined ? content : content.subarray(range.start, range.end)
    const head = { 'content-length': part.length, etag: `"${version}"`, 'last-modified': new Date(0).toUTCString() }
    if (range === undefined) response.writeHead(200, head)
    else
      response.writeHead(206, { ...head, 'content-range': `bytes ${range.start}-${range.end - 1}/${content.length}` })
    response.end(request.method === 'HEAD' ? undefined : part)
  }
}
