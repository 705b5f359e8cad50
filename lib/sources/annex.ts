import { createHash } from 'node:crypto'
import { displayKey, type Key } from '../annex/key.js'
import { BITTORRENT_UUID, WEB_UUID, type AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import { reasonOf } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import { shownUrl, webUrl } from '../net/url.js'
import { mayHave, remoteSource } from './annex-remote.js'
import { parseRecordedUrl, type TorrentFileUrl } from './annex-url.js'
import type { Source } from './source.js'
import { webSource } from './web.js'

export interface KeySourcesOptions {
  readonly annex: Pick<AnnexRepository, 'uuid' | 'locations' | 'urls' | 'remotes' | 'describe'>
  readonly key: Key
  readonly client: HttpClient
  readonly log: Log
  /** True for paths that must not be read: the mount point itself and what lies in it. */
  readonly forbid?: (path: string) => boolean
  /** What was measured of a key whose bytes are not fixed by its name: that source gives this version or none. */
  readonly measured?: { readonly source: string; readonly validator: string }
}

export interface KeySources {
  /** Sorted by cost; those of untrusted repositories last. */
  readonly sources: readonly Source[]
  /** Torrents that hold the key's content. */
  readonly torrents: readonly TorrentFileUrl[]
  /** Remotes and URLs that may have it but whose kind cannot be read from yet; for messages. */
  readonly unsupported: readonly string[]
  /** Descriptions of repositories that have it but that this one has no way to. */
  readonly elsewhere: readonly string[]
  /** Whether any record says that the content is somewhere, dead repositories and this one apart. */
  readonly known: boolean
}

/** More URLs than this of one key are somebody's mistake or attack. */
const MOST_URLS = 64
/**
 * The places that the records of a repository name for `key`: git remotes and `directory` special remotes on this
 * machine, and URLs. Makes no request, and looks at no remote before its source is asked to find something.
 */
export async function sourcesForKey(options: KeySourcesOptions): Promise<KeySources> {
  const { annex, key, log } = options
  const [locations, urls, remotes] = await Promise.all([annex.locations(key), annex.urls(key), annex.remotes()])
  const located = new Set(locations)
  const sources: Source[] = []
  const torrents: TorrentFileUrl[] = []
  const unsupported: string[] = []

  for (const remote of remotes) {
    if (!mayHave(remote, located, annex.uuid) || isUrlRemote(remote)) continue
    const source = remoteSource(remote, located, options)
    if (source === undefined) unsupported.push(`${remote.name} (${remote.kind})`)
    else sources.push(source)
  }

  const ignored = (uuid: string): boolean => remotes.some((remote) => remote.uuid === uuid && remote.ignore)
  const webCost = remotes.find((remote) => remote.uuid === WEB_UUID)?.cost ?? 200
  if (urls.length > MOST_URLS) log.warn('a key has too many URLs', { key: displayKey(key), urls: urls.length })
  for (const text of urls.slice(0, MOST_URLS)) {
    const recorded = parseRecordedUrl(text)
    if (recorded.kind === 'torrent') {
      if (!ignored(BITTORRENT_UUID)) torrents.push(recorded)
    } else if (recorded.kind === 'unsupported') {
      unsupported.push(shownUrl(text))
    } else if (!ignored(WEB_UUID)) {
      const source = urlSource(recorded.url, webCost, options)
      if (source !== undefined) sources.push(source)
    }
  }

  const reachable = new Set(remotes.map((remote) => remote.uuid))
  const beyond = locations.filter((uuid) => !reachable.has(uuid) && uuid !== annex.uuid)
  const elsewhere = await Promise.all(beyond.map(async (uuid) => (await annex.describe(uuid)) ?? uuid))
  const known = locations.some((uuid) => uuid !== annex.uuid) || urls.length > 0
  return { sources: sources.sort((a, b) => a.cost - b.cost), torrents, unsupported, elsewhere, known }
}

/** Remotes that are reached by the key's URLs alone. */
function isUrlRemote(remote: AnnexRemote): boolean {
  return remote.uuid === WEB_UUID || remote.uuid === BITTORRENT_UUID || remote.kind === 'web'
}

function urlSource(url: string, cost: number, options: KeySourcesOptions): Source | undefined {
  const { key, client, log, measured } = options
  try {
    const { href } = webUrl(url)
    const name = `web (${shownUrl(href)}${querySign(href)})`
    return webSource({
      url: href,
      client,
      log,
      cost,
      name,
      ...(key.size === undefined ? {} : { expectedSize: key.size }),
      ...(measured?.source === name ? { validator: measured.validator } : {}),
    })
  } catch (error) {
    log.warn('a recorded URL is not used', { key: displayKey(key), reason: reasonOf(error) })
    return undefined
  }
}

/** Tells URLs apart that differ in their queries, which are not shown because they may hold secrets. */
function querySign(href: string): string {
  const { search } = new URL(href)
  return search === '' ? '' : ` ${createHash('sha256').update(search).digest('hex').slice(0, 6)}`
}
