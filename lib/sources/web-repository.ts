import { LRUCache } from 'lru-cache'
import { reasonOf, throwIfAborted } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import { shownUrl } from '../net/url.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { annexUuid } from './git-remote.js'

const LARGEST_CONFIG: Bytes = 1024 * 1024
/** Longer than a listing takes, short enough that a repository that was moved is noticed. */
const REMEMBERED: Milliseconds = 10 * 60_000
const MOST_REMEMBERED = 100

const answers = new WeakMap<HttpClient, LRUCache<string, { readonly uuid: string | undefined }>>()

/**
 * The `annex.uuid` of the repository behind an HTTP URL, from `<url>/config` as git-annex asks for it; undefined when
 * there is none to be had (a host such as GitHub serves git only). Remembered for ten minutes.
 * @throws AnnexfsError ABORTED, TIMED_OUT by the signal.
 */
export async function webRepositoryUuid(
  url: string,
  client: HttpClient,
  log: Log,
  signal: AbortSignal,
): Promise<string | undefined> {
  const remembered = answers.get(client) ?? new LRUCache({ max: MOST_REMEMBERED, ttl: REMEMBERED })
  answers.set(client, remembered)
  const known = remembered.get(url)
  if (known !== undefined) return known.uuid
  let uuid: string | undefined
  try {
    uuid = annexUuid(await download(`${url}/config`, client, signal))
  } catch (error) {
    throwIfAborted(signal)
    log.debug('a git remote does not tell its uuid', { remote: shownUrl(url), reason: reasonOf(error) })
  }
  remembered.set(url, { uuid })
  return uuid
}

async function download(url: string, client: HttpClient, signal: AbortSignal): Promise<string> {
  const answer = await client.get(url, { signal })
  const chunks: Uint8Array[] = []
  let length = 0
  try {
    if (answer.status !== 200) return ''
    for await (const chunk of answer) {
      length += chunk.byteLength
      if (length > LARGEST_CONFIG) return ''
      chunks.push(chunk)
    }
  } finally {
    answer.cancel()
  }
  return Buffer.concat(chunks).toString('utf8')
}
