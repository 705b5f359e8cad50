import aws4 from 'aws4'
import { createHmac } from 'node:crypto'
import type { HttpMethod } from '../net/http-body.js'
import type { Credentials } from './context.js'

export interface S3Request {
  readonly method: HttpMethod
  /** As it goes over the wire, every name percent-encoded. */
  readonly url: URL
  readonly date: Date
}

/**
 * The headers that sign a request without a body by version 4 of Amazon's signatures (AWS4-HMAC-SHA256). The range is
 * not part of what is signed, so that it may be any.
 */
export function signedV4(request: S3Request, credentials: Credentials, region: string): Record<string, string> {
  const { method, url, date } = request
  const { user, password, token } = credentials
  const { headers } = aws4.sign(
    {
      service: 's3',
      region,
      method,
      host: url.host,
      path: `${url.pathname}${url.search}`,
      headers: { Host: url.host, 'X-Amz-Date': date.toISOString().replace(/[:-]|\.\d{3}/g, '') },
    },
    { accessKeyId: user, secretAccessKey: password, ...(token === undefined ? {} : { sessionToken: token }) },
  )
  // The host is the client's to say.
  const signed = Object.entries(headers ?? {}).filter(([name]) => name !== 'Host')
  return Object.fromEntries(signed.map(([name, value]) => [name.toLowerCase(), String(value)]))
}

/**
 * The headers that sign a request by version 2 (HMAC-SHA1), what most other servers and git-annex use by default.
 * @param bucket when it stands in the host name; undefined when it is in the path.
 */
export function signedV2(
  request: S3Request,
  credentials: Credentials,
  bucket: string | undefined,
): Record<string, string> {
  const { method, url, date } = request
  const { user, password, token } = credentials
  const amz: Record<string, string> = { 'x-amz-date': date.toUTCString() }
  if (token !== undefined) amz['x-amz-security-token'] = token
  const version = url.searchParams.get('versionId')
  const path = `${bucket === undefined ? '' : `/${bucket}`}${url.pathname}`
  const resource = version === null ? path : `${path}?versionId=${version}`
  const signature = v2Signature(password, { method, date: '', amz, resource })
  return { ...amz, authorization: `AWS ${user}:${signature}` }
}

/**
 * Signature version 2 of a request without a body.
 * @param what.date the header `Date`; empty when there is `x-amz-date`.
 * @param what.amz the headers that begin with `x-amz-`, sorted by name, in lower case.
 */
export function v2Signature(
  secret: string,
  what: {
    readonly method: string
    readonly date: string
    readonly amz: Readonly<Record<string, string>>
    readonly resource: string
  },
): string {
  const amz = Object.entries(what.amz).map(([name, value]) => `${name}:${value}\n`)
  const text = `${what.method}\n\n\n${what.date}\n${amz.join('')}${what.resource}`
  return createHmac('sha1', secret).update(text, 'utf8').digest('base64')
}
