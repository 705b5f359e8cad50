import { randomUUID } from 'node:crypto'
import { isUtf8 } from 'node:buffer'
import type { Key } from '../annex/key.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'
import { isIdentity, retryAfter } from '../net/content-range.js'
import type { HttpBody } from '../net/http-body.js'
import { Passing, Tries } from '../net/retry.js'
import { shownUrl } from '../net/url.js'
import { Slots } from '../slots.js'
import type { Demand } from '../sources/source.js'
import type { Bytes } from '../space/space.js'
import type { StoreContext } from './context.js'
import { CREDENTIAL_ADVICE, WebAccess } from './git-web-access.js'
import { dataLength, p2pObject } from './p2p-http-object.js'
import type { ObjectStore } from './store.js'

export interface P2pHttpPlace {
  /** Of the API, as {@link p2pHttpBase} gives it. */
  readonly base: string
  /** Of the repository that is asked for. */
  readonly uuid: string
  /** The remote's own URL on the web: on the same host it takes the same credentials. */
  readonly plain?: string
  /** It is the server behind `plain` that names it, not the user. */
  readonly announced?: boolean
}

/** Of the API, newest first; what is asked of it here is the same in all. */
const VERSIONS = ['v4', 'v3', 'v2', 'v1', 'v0'] as const
const DEFAULT_PORT = 9417
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504])

/**
 * Where the API of an `annex+http://` or `annex+https://` URL is, without a slash at its end; undefined for another URL. The
 * `/git-annex` that it begins with is not repeated when the URL has it.
 */
export function p2pHttpBase(url: string): string | undefined {
  const plain = /^annex\+(https?:\/\/.*)$/is.exec(url)?.[1]
  if (plain === undefined || !URL.canParse(plain)) return undefined
  const parsed = new URL(plain)
  // The URL parser drops the port of the scheme, which is not the one that is meant by no port.
  const port = /^https?:\/\/(?:[^/?#]*@)?(?:\[[^\]]*\]|[^/?#:]*):(\d+)/i.exec(plain)?.[1] ?? String(DEFAULT_PORT)
  const user = parsed.username === '' ? '' : `${parsed.username}${parsed.password && `:${parsed.password}`}@`
  const path = parsed.pathname.replace(/\/+$/, '')
  return `${parsed.protocol}//${user}${parsed.hostname}:${port}${path === '/git-annex' ? '' : path}/git-annex`
}

/**
 * A repository that speaks git-annex's P2P protocol over HTTP (git-annex: "design/p2p protocol over http"): GET has a start
 * but no end, so the connection is closed when the rest is not wanted. One request at a time: git-annex 10.20250416 answers no more, for
 * good, when it was asked for as many objects at once as it has jobs (`--jobs=2` is the least that works, and so the most that can be counted on).
 */
export function p2pHttpStore({ remote, annex, client, log }: StoreContext, place: P2pHttpPlace): ObjectStore {
  const { base, uuid, plain, announced = false } = place
  const name = `${remote.name} (${shownUrl(base)})`
  const own = new URL(base)
  // As git-annex has it: one host, one set of users and passwords.
  const other = plain === undefined ? undefined : new URL(plain)
  const sameHost = other?.hostname === own.hostname
  // A server that names another one does not give it the user's trust, nor takes away their encryption.
  const named = !announced || (sameHost && !(other?.protocol === 'https:' && own.protocol === 'http:'))
  const shared = plain !== undefined && sameHost ? plain : base
  const access = new WebAccess(shared, log, { trusted: remote.configured && named, origin: own.origin })
  const clientUuid = encodeURIComponent(annex.uuid ?? randomUUID())
  const prefix = `${base}/${encodeURIComponent(uuid)}`
  /** The version that the server answered in. */
  let version: (typeof VERSIONS)[number] | undefined

  const keyUrl = (key: Key, offset: Bytes): string =>
    `${prefix}/${version ?? VERSIONS[0]}/key/${encodedKey(key)}?clientuuid=${clientUuid}&offset=${offset}`

  const turns = new Slots(1)
  const turn = async ({ signal, urgency }: Demand): Promise<() => void> => turns.take(signal, () => urgency)
  const alone = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
    const leave = await turns.take(signal)
    try {
      return await work()
    } finally {
      leave()
    }
  }

  const isPresent = async (key: Key, signal: AbortSignal): Promise<boolean> => {
    for (const candidate of version === undefined ? VERSIONS : [version]) {
      const url = `${prefix}/${candidate}/checkpresent?key=${encodedKey(key)}&clientuuid=${clientUuid}`
      const answer = await ask(url, signal)
      if (answer === undefined) continue
      version = candidate
      return answer
    }
    // A proxy in front of it may have changed since.
    version = undefined
    throw new AnnexfsError('UNAVAILABLE', `${name}: no git-annex API is there, in none of its versions`)
  }

  /** Undefined when the server does not know the version. */
  const ask = async (url: string, signal: AbortSignal): Promise<boolean | undefined> => {
    const session = access.session()
    const tries = new Tries({ signal })
    for (let challenges = 0; ;) {
      const answer = await client.post(url, { signal, body: '', authorize: session.authorize, most: 64 * 1024 })
      if (answer.status === 404) return undefined
      if (answer.status === 200) return presence(answer.body.toString('utf8'), name)
      if (answer.status === 401 && challenges++ < 2 && (await session.challenged(answer.url, signal))) continue
      const passing = refusal(answer, name)
      if (!(passing instanceof Passing)) throw passing
      await tries.wait(passing)
    }
  }

  const get = async (key: Key, offset: Bytes, signal: AbortSignal): Promise<HttpBody> => {
    const session = access.session()
    for (let challenges = 0; ;) {
      const answer = await client.get(keyUrl(key, offset), { signal, authorize: session.authorize })
      if (answer.status === 200) {
        if (isIdentity(answer)) return answer
        answer.cancel()
        throw new AnnexfsError('CORRUPT', `${name}: the content came compressed, which nobody asked for`)
      }
      answer.cancel()
      if (answer.status === 404) throw new AnnexfsError('NOT_FOUND', `${name}: the server does not have the content`)
      if (answer.status === 401 && challenges++ < 2 && (await session.challenged(answer.url, signal))) continue
      throw refusal(answer, name)
    }
  }

  return {
    open: async (wanted, signal) => {
      throwIfAborted(signal)
      // The protocol knows keys alone.
      if (wanted.path !== undefined || wanted.suffix !== undefined) return undefined
      const { key, size } = wanted
      if (!(await alone(signal, () => isPresent(key, signal)))) return undefined
      const encrypted = /^GPG[A-Z0-9]*$/.test(key.backend)
      const open = (offset: Bytes, stop: AbortSignal): Promise<HttpBody> => get(key, offset, stop)
      return p2pObject({
        name,
        size: size ?? (encrypted ? undefined : await alone(signal, () => measured(open, signal))),
        open,
        turn,
      })
    },
  }
}

/** The size of content that does not say it, from the head of an answer that is not read on. */
async function measured(
  open: (offset: Bytes, signal: AbortSignal) => Promise<HttpBody>,
  signal: AbortSignal,
): Promise<Bytes | undefined> {
  const answer = await open(0, signal)
  answer.cancel()
  return dataLength(answer)
}

function presence(text: string, name: string): boolean {
  try {
    const answer: unknown = JSON.parse(text)
    if (typeof answer === 'object' && answer !== null && 'present' in answer && typeof answer.present === 'boolean') {
      return answer.present
    }
  } catch {
    // Said below: whatever it is, it is no answer.
  }
  throw new AnnexfsError('UNAVAILABLE', `${name}: the answer to "is it present" is not one of the git-annex API`)
}

function refusal(answer: Pick<HttpBody, 'status' | 'url' | 'header'>, name: string): Error {
  const { status } = answer
  if (status === 401 || status === 403) {
    return new AnnexfsError('FORBIDDEN', `${name}: the server refuses (${status}); ${CREDENTIAL_ADVICE}`)
  }
  const error = new AnnexfsError('UNAVAILABLE', `${name}: the server answered ${status}`)
  return PASSING.has(status) ? new Passing(error, retryAfter(answer as HttpBody), status) : error
}

/** As in a path or query: keys that are not UTF-8, or look as if they were encoded so, are `[base64url]`. */
function encodedKey(key: Key): string {
  const bytes = Buffer.from(key.raw, 'latin1')
  const plain = isUtf8(bytes) && !(key.raw.startsWith('[') && key.raw.endsWith(']'))
  return encodeURIComponent(plain ? bytes.toString('utf8') : `[${bytes.toString('base64url')}]`)
}
