import { LRUCache } from 'lru-cache'
import { abortable } from '../abortable.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import { retryAfter } from '../net/content-range.js'
import type { HttpBody } from '../net/http-body.js'
import { Passing, Tries } from '../net/retry.js'
import { shownUrl } from '../net/url.js'
import type { Bytes } from '../space/space.js'
import type { StoreContext } from './context.js'
import { batchAnswer, batchRequest, type LfsAction, type LfsObject } from './git-lfs-batch.js'
import { lfsDiscovery, type LfsDiscovery, type LfsEndpoint } from './git-lfs-endpoint.js'
import { CREDENTIAL_ADVICE, WebAccess } from './git-web-access.js'
import { httpObject } from './http-object.js'
import type { ObjectName, ObjectStore, StoredObject } from './store.js'

const MEDIA_TYPE = 'application/vnd.git-lfs+json'
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])
/** Where objects can be downloaded; each is a few hundred bytes. */
const MOST_ACTIONS = 1000

/**
 * A Git LFS server (git-annex: "special remotes/git-lfs"): objects are asked for by their SHA-256 and size with the batch
 * API, and read by ranges from where it points, for as long as that holds.
 * @throws AnnexfsError INVALID for a remote without a usable URL.
 */
export async function gitLfsStore(context: StoreContext): Promise<ObjectStore> {
  const server = new LfsServer(context, await lfsDiscovery(context))
  return {
    open: async (name, signal) => {
      throwIfAborted(signal)
      // It has neither trees nor chunks: an object is known by its hash alone.
      if (name.path !== undefined || name.suffix !== undefined) return undefined
      const object = await lfsObjectOf(context, name)
      if (object === undefined) return undefined
      if (name.size !== undefined && name.size !== object.size) {
        const what = `${context.remote.name} has ${object.size} bytes recorded for the object instead of ${name.size}`
        throw new AnnexfsError('CORRUPT', what)
      }
      return server.open(object, signal)
    },
    close: () => server.close(),
  }
}

/** What the server knows the object by: from the key, else from what was recorded (`.log.rmt`) when it was stored. */
async function lfsObjectOf({ remote, annex }: StoreContext, name: ObjectName): Promise<LfsObject | undefined> {
  const { key } = name
  const size = /^GPG[A-Z0-9]*$/.test(key.backend) ? undefined : key.size
  const hash = /^SHA256E?$/.test(key.backend) ? (key.backend.endsWith('E') ? beforeDot(key.name) : key.name) : ''
  if (isOid(hash) && size !== undefined) return { oid: hash, size }
  const state = (await annex.stateOf(key, '.log.rmt')).get(remote.configUuid ?? remote.uuid) ?? ''
  const words = state.trim().split(/\s+/)
  if (size !== undefined) return words.length === 1 && isOid(words[0] ?? '') ? { oid: words[0] ?? '', size } : undefined
  const [recorded = '', oid = ''] = words
  if (words.length !== 2 || !/^\d{1,15}$/.test(recorded) || !isOid(oid)) return undefined
  return { oid, size: Number(recorded) }
}

function beforeDot(name: string): string {
  const dot = name.indexOf('.')
  return dot < 0 ? name : name.slice(0, dot)
}

function isOid(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text)
}

class LfsServer {
  readonly #context: StoreContext
  readonly #discovery: LfsDiscovery
  readonly #name: string
  readonly #access: WebAccess | undefined
  readonly #actions = new LRUCache<string, LfsAction>({ max: MOST_ACTIONS })
  #endpoint: LfsEndpoint | undefined
  #finding: Promise<LfsEndpoint> | undefined
  readonly #closing = new AbortController()

  constructor(context: StoreContext, discovery: LfsDiscovery) {
    this.#context = context
    this.#discovery = discovery
    this.#name = `${context.remote.name} (git-lfs)`
    const { credentials } = discovery
    this.#access = credentials === undefined ? undefined : new WebAccess(credentials.url, context.log, credentials)
  }

  async open(object: LfsObject, signal: AbortSignal): Promise<StoredObject | undefined> {
    const first = await this.#action(object, signal)
    if (first === undefined) return undefined
    let action = first
    let stored = this.#stored(
      object,
      () => action,
      (renewed) => (action = renewed),
    )
    const current = async (stop: AbortSignal): Promise<StoredObject> => {
      if (action.expires === undefined || performance.now() < action.expires) return stored
      action = (await this.#action(object, stop)) ?? gone(this.#name)
      // Reads that are under way go on with the old one.
      stored = this.#stored(
        object,
        () => action,
        (renewed) => (action = renewed),
      )
      return stored
    }
    return {
      ...stored,
      read: async function* (range, demand) {
        yield* (await current(demand.signal)).read(range, demand)
      },
      all: async function* (most, demand) {
        yield* (await current(demand.signal)).all(most, demand)
      },
      close: () => stored.close?.(),
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new AnnexfsError('ABORTED', 'the remote was closed'))
    await this.#discovery.close()
  }

  #stored(object: LfsObject, action: () => LfsAction, renewed: (action: LfsAction) => void): StoredObject {
    let latest: Promise<LfsAction | undefined> | undefined
    return httpObject({
      client: this.#context.client,
      url: action().href,
      name: this.#name,
      size: object.size,
      log: this.#context.log,
      authorize: () => Promise.resolve(action().headers),
      // A signed URL that has run out answers so: storage says 403 or 400, LFS servers 401.
      refused: async ({ status }) => {
        if (status !== 401 && status !== 403 && status !== 400) return undefined
        const before = action()
        latest ??= this.#renew(object).finally(() => (latest = undefined))
        const after = await latest
        if (after === undefined) return gone(this.#name)
        renewed(after)
        // The same again is refused again.
        return after.href === before.href && sameHeaders(after, before) ? undefined : after.href
      },
    })
  }

  #renew(object: LfsObject): Promise<LfsAction | undefined> {
    this.#actions.delete(idOf(object))
    return this.#action(object, AbortSignal.any([this.#closing.signal, AbortSignal.timeout(30_000)]))
  }

  async #action(object: LfsObject, signal: AbortSignal): Promise<LfsAction | undefined> {
    const known = this.#actions.get(idOf(object))
    if (known !== undefined && (known.expires === undefined || performance.now() < known.expires)) return known
    const action = await this.#batch(object, signal)
    if (action === undefined) return undefined
    const { log } = this.#context
    if (/^http:/i.test(action.href) && Object.keys(action.headers).length > 0) {
      const what = `${this.#name}: the server wants a token sent in the clear, to ${shownUrl(action.href)}`
      throw new AnnexfsError('FORBIDDEN', what)
    }
    log.debug('an LFS server tells where an object is', { remote: this.#name, url: shownUrl(action.href) })
    this.#actions.set(idOf(object), action)
    return action
  }

  async #batch(object: LfsObject, signal: AbortSignal): Promise<LfsAction | undefined> {
    const tries = new Tries({ signal })
    let endpoint = await this.#endpointNow(signal)
    const session = this.#access?.session()
    const body = batchRequest(object)
    for (let challenges = 0; ;) {
      throwIfAborted(signal)
      const answer = await this.#context.client.post(`${endpoint.url}/objects/batch`, {
        signal,
        body,
        headers: { accept: MEDIA_TYPE, 'content-type': MEDIA_TYPE, ...endpoint.headers },
        ...(session === undefined ? {} : { authorize: session.authorize }),
      })
      if (answer.status === 200) return batchAnswer(answer.body.toString('utf8'), object, this.#name)
      if ((answer.status === 401 || answer.status === 403) && challenges++ < 2) {
        if (session === undefined) {
          this.#endpoint = undefined
          endpoint = await this.#endpointNow(signal)
          continue
        }
        if (answer.status === 401 && (await session.challenged(answer.url, signal))) continue
      }
      if (answer.status === 404 || answer.status === 410) {
        const what = `${this.#name}: there is no LFS server at ${shownUrl(endpoint.url)} (${answer.status})`
        throw new AnnexfsError('UNAVAILABLE', what)
      }
      const refusal = refusalOf(answer, `${this.#name}: ${shownUrl(endpoint.url)}`)
      if (!(refusal instanceof Passing)) throw refusal
      await tries.wait(refusal)
    }
  }

  async #endpointNow(signal: AbortSignal): Promise<LfsEndpoint> {
    const known = this.#endpoint
    if (known !== undefined && (known.expires === undefined || performance.now() < known.expires)) return known
    this.#finding ??= this.#discovery
      .find(AbortSignal.any([this.#closing.signal, AbortSignal.timeout(60_000)]))
      .finally(() => (this.#finding = undefined))
    this.#endpoint = await abortable(this.#finding, signal)
    return this.#endpoint
  }
}

function refusalOf(answer: Pick<HttpBody, 'status' | 'header'>, where: string): Error {
  const { status } = answer
  if (status === 401 || status === 403) {
    return new AnnexfsError('FORBIDDEN', `${where}: the server refuses (${status}); ${CREDENTIAL_ADVICE}`)
  }
  const error = new AnnexfsError('UNAVAILABLE', `${where}: the server answered ${status}`)
  return PASSING.has(status) ? new Passing(error, retryAfter(answer as HttpBody), status) : error
}

function gone(name: string): never {
  throw new AnnexfsError('NOT_FOUND', `${name}: the LFS server does not have the object any more`)
}

function idOf({ oid, size }: { oid: string; size: Bytes }): string {
  return `${oid} ${size}`
}

function sameHeaders(a: LfsAction, b: LfsAction): boolean {
  return JSON.stringify(a.headers) === JSON.stringify(b.headers)
}
