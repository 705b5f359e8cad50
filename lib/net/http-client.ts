import { isIP, type LookupFunction, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import buildConnector from 'undici/lib/core/connect.js'
import Agent from 'undici/lib/dispatcher/agent.js'
import { abortable } from '../abortable.js'
import { AnnexfsError } from '../errors.js'
import type { Log } from '../log/log.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import type { AddressPolicy } from './address-policy.js'
import { trustedAuthorities } from './authorities.js'
import { exchange, wholeBody, type BodyTarget, type HttpBody, type HttpMethod } from './http-body.js'
import { plainHeaders } from './http-headers.js'
import { systemResolve, type Resolve } from './resolve.js'
import { oneBuffer, readsOneBuffer } from './socket-reads.js'
import { shownUrl, webUrl } from './url.js'

export interface HttpClientOptions {
  /** What may be connected to, for every hop. */
  readonly policy: AddressPolicy
  /** For redirects to another origin, when `policy` is looser because the user named the URL. Default: `policy`. */
  readonly redirectPolicy?: AddressPolicy
  readonly log: Log
  readonly userAgent?: string
  /** The user's own headers, for every request; as with credentials, not for redirects to another origin. */
  readonly headers?: readonly (readonly [string, string])[]
  /** Default 10 s: name, TCP and TLS together. */
  readonly connectTimeout?: Milliseconds
  /** Default 10 s: the longest silence before and within an answer. */
  readonly idleTimeout?: Milliseconds
  readonly resolve?: Resolve
  /** A file of PEM certificates whose authorities are trusted besides those of Node.js and the system. */
  readonly trustBesides?: string
  /** PEM certificates to trust instead of all others. */
  readonly ca?: readonly string[]
  /** What to speak with instead of connections to hosts, which the policy is then not asked about. */
  readonly connect?: () => Duplex
}

/** Headers that let one request pass: called for each request, and for each redirect within the first origin. */
export type Authorize = (request: {
  readonly method: HttpMethod
  readonly url: URL
}) => Promise<Readonly<Record<string, string>>>

export interface RequestOptions {
  readonly signal: AbortSignal
  /** Like credentials, not for redirects to another origin. */
  readonly headers?: Readonly<Record<string, string>>
  readonly authorize?: Authorize
  /** Where an earlier request was redirected from to this URL: its origin is the first one, and has the credentials. */
  readonly redirectedFrom?: string | URL
}

export interface GetOptions extends RequestOptions {
  readonly range?: ByteRange
  /** A strong entity tag or date (RFC 9110, 13.1.5): the range only if that still holds, else all of it. */
  readonly ifRange?: string
  /**
   * Where the bytes of `range` go, from an offset on: bytes of the answer's body are copied there and given as views of
   * it. The offsets are those that were asked for: compare them with the answer's before you believe the bytes.
   */
  readonly room?: (at: Bytes) => Uint8Array | undefined
}

export interface PostOptions extends RequestOptions {
  readonly body: string | Uint8Array
  /** Longest answer that is taken, in bytes. Default 1 MiB. */
  readonly most?: Bytes
}

/** An answer with all of its body. */
export interface HttpAnswer extends Pick<HttpBody, 'url' | 'status' | 'header'> {
  readonly body: Buffer
}

const MOST_REDIRECTS = 5
/** Per origin: what browsers allow themselves, and a little more. */
const MOST_CONNECTIONS = 8
/** Idle ones are kept as long as common servers do. */
const KEEP_ALIVE: Milliseconds = 15_000
const LARGEST_HEAD: Bytes = 32 * 1024
/** Before the next address of a host is tried. */
const NEXT_ADDRESS_AFTER: Milliseconds = 1_000
const LARGEST_ANSWER: Bytes = 1024 * 1024
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])
/** Those after which a POST is to be sent again as it was (RFC 9110, 15.4.8). */
const POST_REDIRECTS: ReadonlySet<number> = new Set([307, 308])

/**
 * An HTTP/1.1 client for hosts that others have named. Every address that a name stands for is checked against the
 * policy and connected to as it was checked, on every hop; only http and https; certificates are always verified.
 */
export class HttpClient {
  readonly #options: HttpClientOptions
  readonly #headers: Readonly<Record<string, string>>
  /**
   * Connections are kept per policy: one made under a looser policy must not serve a stricter request. Made when they are
   * first needed, for loading undici is a tenth of a start.
   */
  readonly #agents = new Map<AddressPolicy, InstanceType<typeof Agent>>()
  #closed = false

  /** @throws AnnexfsError INVALID for a header that cannot be sent. */
  constructor(options: HttpClientOptions) {
    this.#options = options
    this.#headers = plainHeaders(options.headers ?? [])
  }

  /** The head of the answer, after redirects, whatever its status. @throws as {@link get}. */
  async head(url: string | URL, signal: AbortSignal, options: Omit<RequestOptions, 'signal'> = {}): Promise<HttpBody> {
    const answer = await this.#follow(url, { ...options, signal, method: 'HEAD', own: {} })
    answer.cancel()
    return answer
  }

  /**
   * The answer, after at most 5 redirects, whatever its status.
   * @throws AnnexfsError UNAVAILABLE, TIMED_OUT, FORBIDDEN (address, scheme, certificate, https to http), INVALID
   * (no URL), ABORTED, and what `authorize` throws.
   */
  get(url: string | URL, options: GetOptions): Promise<HttpBody> {
    const own: Record<string, string> = {}
    if (options.range !== undefined) own['range'] = `bytes=${options.range.start}-${options.range.end - 1}`
    if (options.ifRange !== undefined) own['if-range'] = options.ifRange
    const { range, room } = options
    const target = range === undefined || room === undefined ? undefined : { at: range.start, room }
    return this.#follow(url, { ...options, method: 'GET', own, ...(target === undefined ? {} : { target }) })
  }

  /**
   * Sends `body` and gives the whole answer, whatever its status. Of redirects only those that ask for the same request
   * again (307, 308) are followed.
   * @throws AnnexfsError as {@link get}; INVALID for an answer longer than `most`.
   */
  async post(url: string | URL, options: PostOptions): Promise<HttpAnswer> {
    const answer = await this.#follow(url, { ...options, method: 'POST', own: {} })
    const body = await wholeBody(answer, options.most ?? LARGEST_ANSWER)
    return { url: answer.url, status: answer.status, header: (name) => answer.header(name), body }
  }

  /** Cuts off everything that is under way. */
  async close(): Promise<void> {
    const closed = new AnnexfsError('ABORTED', 'the HTTP client was closed')
    this.#closed = true
    await Promise.all([...this.#agents.values()].map((one) => one.destroy(closed)))
  }

  #agentFor(policy: AddressPolicy): InstanceType<typeof Agent> {
    const known = this.#agents.get(policy)
    if (known !== undefined) return known
    if (this.#closed) throw new AnnexfsError('ABORTED', 'the HTTP client was closed')
    const made = agent(this.#options, policy)
    this.#agents.set(policy, made)
    return made
  }

  async #follow(first: string | URL, request: Request): Promise<HttpBody> {
    const { method, own, signal, body, target } = request
    const redirects = method === 'POST' ? POST_REDIRECTS : REDIRECTS
    const start = webUrl(String(request.redirectedFrom ?? first))
    const visited = new Set<string>()
    let url = webUrl(String(first))
    const credentials = basicCredentials(start)
    /** Given up once left: a later hop to the first origin is not one that the user asked for. */
    let trusted = url.origin === start.origin
    for (let hop = 0; ; hop++) {
      url.username = ''
      url.password = ''
      url.hash = ''
      visited.add(url.href)
      const headers: Record<string, string> = {
        accept: '*/*',
        'user-agent': this.#options.userAgent ?? 'annexfs',
        ...(trusted ? await this.#personal(request, url, credentials) : {}),
        ...own,
        'accept-encoding': 'identity',
      }
      const { policy, redirectPolicy = policy } = this.#options
      const dispatcher = this.#agentFor(url.origin === start.origin ? policy : redirectPolicy)
      const idleTimeout = this.#options.idleTimeout ?? 10_000
      const answer = await exchange(dispatcher, {
        url,
        method,
        headers,
        signal,
        idleTimeout,
        ...(body === undefined ? {} : { body }),
        ...(target === undefined ? {} : { target }),
      })
      const location = answer.header('location')
      if (!redirects.has(answer.status) || location === undefined) return answer
      answer.cancel()
      const next = redirectTarget(location, url)
      this.#options.log.debug('redirected', { from: shownUrl(url), to: shownUrl(next) })
      trusted &&= next.origin === url.origin
      if (hop === MOST_REDIRECTS || visited.has(next.href)) {
        const how = hop === MOST_REDIRECTS ? `more than ${MOST_REDIRECTS} times` : 'in a circle'
        throw new AnnexfsError('UNAVAILABLE', `${shownUrl(start)}: the server redirects ${how}`)
      }
      url = next
    }
  }

  /** The headers that only the first origin may see. */
  async #personal(
    request: Request,
    url: URL,
    credentials: string | undefined,
  ): Promise<Readonly<Record<string, string>>> {
    const { method, headers = {}, authorize, signal } = request
    // It may ask a program, which may wait for somebody to type.
    const asked = authorize?.({ method, url: new URL(url) })
    const authorized = asked === undefined ? {} : await abortable(asked, signal)
    return {
      ...this.#headers,
      ...(credentials === undefined ? {} : { authorization: credentials }),
      ...plainHeaders(Object.entries(headers)),
      ...plainHeaders(Object.entries(authorized)),
    }
  }
}

/** What reads content over HTTP needs of a client. */
export type WebReads = Pick<HttpClient, 'get' | 'head'>

interface Request extends RequestOptions {
  readonly method: HttpMethod
  /** Headers that belong to the request itself, for every origin. */
  readonly own: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly target?: BodyTarget
}

function redirectTarget(location: string, from: URL): URL {
  // Header bytes come as Latin-1; servers send UTF-8.
  const next = webUrl(Buffer.from(location, 'latin1').toString('utf8'), from)
  next.username = ''
  next.password = ''
  next.hash = ''
  if (from.protocol === 'https:' && next.protocol === 'http:') {
    throw new AnnexfsError('FORBIDDEN', `${shownUrl(from)}: redirected from https to http (${shownUrl(next)})`)
  }
  return next
}

/** RFC 7617, from the user and password of a URL. */
function basicCredentials(url: URL): string | undefined {
  if (url.username === '' && url.password === '') return undefined
  const plain = `${percentDecoded(url.username)}:${percentDecoded(url.password)}`
  return `Basic ${Buffer.from(plain, 'utf8').toString('base64')}`
}

function percentDecoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A lone % means itself.
    return text
  }
}

type Connect = ReturnType<typeof buildConnector>

/** Stands for the ports that no policy names. */
const UNNAMED = 0

function agent(options: HttpClientOptions, policy: AddressPolicy): InstanceType<typeof Agent> {
  const resolve = options.resolve ?? systemResolve
  // The one resolution there is: what it gives was checked, and is what the socket connects to.
  const lookupFor =
    (port: number): LookupFunction =>
    (hostname, _options, done) => {
      // oxlint-disable promise/no-callback-in-promise -- node:net wants a callback; it does not throw
      allowedAddresses(hostname, port, resolve, policy).then(
        (addresses) => done(null, addresses),
        (error: unknown) => done(error as Error, []),
      )
      // oxlint-enable promise/no-callback-in-promise
    }
  const settingsFor = (port: number) => ({
    timeout: options.connectTimeout ?? 10_000,
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_AFTER,
    // It is not told the port.
    lookup: lookupFor(port),
  })
  let connectors: Promise<(port: number) => Connect> | undefined
  const secureConnector = async (): Promise<(port: number) => Connect> => {
    const { ca, trustBesides, log } = options
    const trust = ca === undefined ? { secureContext: await trustedAuthorities(trustBesides, log) } : { ca: [...ca] }
    // They keep TLS sessions: one for all ports, but for those that the policy has an answer of their own for.
    const connectSafely = buildConnector({ ...settingsFor(UNNAMED), ...trust })
    const onPort = new Map(
      [...(policy.ports ?? [])].map((port) => [port, buildConnector({ ...settingsFor(port), ...trust })]),
    )
    return (port) => onPort.get(port) ?? connectSafely
  }
  return new Agent({
    connections: MOST_CONNECTIONS,
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE,
    keepAliveMaxTimeout: 4 * KEEP_ALIVE,
    maxHeaderSize: LARGEST_HEAD,
    allowH2: false,
    connect: (target, done) => {
      if (options.connect !== undefined) {
        // The library wants of a socket only what every stream has.
        const socket = options.connect() as unknown as Socket
        process.nextTick(() => done(null, socket))
        return
      }
      // A socket to a literal address asks no lookup.
      const port = Number(target.port) || (target.protocol === 'https:' ? 443 : 80)
      if (isIP(target.hostname) !== 0 && !policy.allows(target.hostname, port)) {
        done(forbidden(target.hostname, [target.hostname]), null)
      } else if (target.protocol === 'https:') {
        connectors ??= secureConnector()
        // oxlint-disable promise/no-callback-in-promise -- the library wants a callback; it does not throw
        connectors.then(
          (connectorFor) => connectorFor(port)(target, done),
          (error: unknown) => done(error as Error, null),
        )
        // oxlint-enable promise/no-callback-in-promise
      } else {
        const connect = buildConnector(Object.assign(oneBuffer(), settingsFor(port)))
        connect(target, (error, socket) => {
          if (error !== null) {
            done(error, null)
            return
          }
          readsOneBuffer(socket)
          done(null, socket)
        })
      }
    },
  })
}

async function allowedAddresses(
  hostname: string,
  port: number,
  resolve: Resolve,
  policy: AddressPolicy,
): Promise<{ address: string; family: number }[]> {
  const addresses = await resolve(hostname)
  const allowed = addresses.filter((address) => isIP(address) !== 0 && policy.allows(address, port))
  if (allowed.length === 0) throw forbidden(hostname, addresses)
  return allowed.map((address) => ({ address, family: isIP(address) }))
}

function forbidden(hostname: string, addresses: readonly string[]): AnnexfsError {
  const where = addresses.includes(hostname) ? hostname : `${hostname} (${addresses.join(', ')})`
  return new AnnexfsError(
    'FORBIDDEN',
    `no connection to ${where}: not an address of the public internet; if it is meant, allow it with --allow-address`,
  )
}
