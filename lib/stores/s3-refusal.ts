import { AnnexfsError, type ErrorCode } from '../errors.js'
import { wholeBody, type HttpBody } from '../net/http-body.js'
import { printable } from '../log/log.js'
import { shownUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import { isRegion } from './s3-settings.js'

/** What an S3 server says when it does not give an object. */
export interface S3Refusal {
  /** Of the error's XML; empty when there was none. */
  readonly code: string
  /** Where the bucket is, when the server tells. */
  readonly region: string | undefined
  /** It takes no other signature than version 4. */
  readonly wantsV4: boolean
}

const LARGEST_ERROR: Bytes = 64 * 1024

/** Reads what an answer says. Of its text only the code and the region are used: the rest may repeat the request. */
export async function readRefusal(answer: HttpBody): Promise<S3Refusal> {
  let text = ''
  try {
    text = (await wholeBody(answer, LARGEST_ERROR)).toString('utf8')
  } catch (error) {
    // The status tells enough; only that the reader has given up must not be lost.
    if (error instanceof AnnexfsError && error.code === 'ABORTED') throw error
  }
  const code = /<Code>([A-Za-z0-9.]{1,80})<\/Code>/.exec(text)?.[1] ?? ''
  const endpoint = /<Endpoint>([A-Za-z0-9.-]{1,255})<\/Endpoint>/.exec(text)?.[1] ?? answer.url.host
  const region = [
    answer.header('x-amz-bucket-region'),
    /<Region>([A-Za-z0-9-]{1,40})<\/Region>/.exec(text)?.[1],
    redirectsByRegion(code) ? /s3[.-]([a-z0-9-]+)\.amazonaws\.com/.exec(endpoint)?.[1] : undefined,
  ].find((name) => name !== undefined && isRegion(name))
  return { code, region, wantsV4: code === 'InvalidRequest' && text.includes('AWS4-HMAC-SHA256') }
}

function redirectsByRegion(code: string): boolean {
  return code === 'PermanentRedirect' || code === 'TemporaryRedirect' || code === ''
}

/** The errors that users can do something about: what each means. */
const MEANINGS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  NoSuchKey: ['NOT_FOUND', 'there is no such object'],
  NoSuchVersion: ['NOT_FOUND', 'there is no such version of the object'],
  NoSuchBucket: ['NOT_FOUND', 'there is no such bucket'],
  // A version that is the mark of a deletion cannot be read.
  MethodNotAllowed: ['NOT_FOUND', 'the object was deleted'],
  AccessDenied: [
    'FORBIDDEN',
    'the credentials do not allow to read it, or it is not there and they do not allow to list',
  ],
  SignatureDoesNotMatch: ['FORBIDDEN', 'the secret key is not the one of the access key'],
  InvalidAccessKeyId: ['FORBIDDEN', 'the access key is not known there'],
  ExpiredToken: ['FORBIDDEN', 'the session token has expired; get a new one and set AWS_SESSION_TOKEN'],
  InvalidToken: ['FORBIDDEN', 'the session token is not valid; check AWS_SESSION_TOKEN'],
  TokenRefreshRequired: ['FORBIDDEN', 'the session token has expired; get a new one and set AWS_SESSION_TOKEN'],
  InvalidObjectState: [
    'UNAVAILABLE',
    'the object is in an archive (Glacier); ask for its restoration first, e.g. with aws s3api restore-object',
  ],
}

/** The error for a refusal; undefined for what other statuses usually mean (404, 503…). */
export function refusalError(answer: HttpBody, refusal: S3Refusal, name: string): AnnexfsError | undefined {
  const where = `${name}: ${shownUrl(answer.url)}`
  if (refusal.code === 'RequestTimeTooSkewed') {
    const theirs = printable((answer.header('date') ?? 'not known').slice(0, 40))
    const ours = new Date().toUTCString()
    const text = `the clock of this machine (${ours}) and the server's (${theirs}) differ by more than 15 minutes; set it`
    return new AnnexfsError('UNAVAILABLE', `${where}: ${text}`)
  }
  const meaning = Object.hasOwn(MEANINGS, refusal.code) ? MEANINGS[refusal.code] : undefined
  if (meaning !== undefined) {
    return new AnnexfsError(meaning[0], `${where}: ${meaning[1]} (${answer.status} ${refusal.code})`)
  }
  if (answer.status >= 500 || answer.status === 404 || answer.status === 416) return undefined
  const region = refusal.region === undefined ? '' : `; the bucket is in the region ${refusal.region}`
  const code = refusal.code === '' ? '' : ` ${refusal.code}`
  const kind = answer.status === 401 || answer.status === 403 ? 'FORBIDDEN' : 'UNAVAILABLE'
  return new AnnexfsError(kind, `${where}: the server answered ${answer.status}${code}${region}`)
}
