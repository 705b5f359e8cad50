import { createHash } from 'node:crypto'
import { displayKey, type Key } from '../annex/key.js'
import { BITTORRENT_UUID, WEB_UUID, type AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import { reasonOf, type Attempt } from '../errors.js'
import type { Log } from '../log/log.js'
import { SCHEME_FORBIDDEN } from '../net/allowed-schemes.js'
import { shownUrl, webUrl } from '../net/url.js'
import { limitedSource } from '../stores/bandwidth.js'
import { wayTo } from '../stores/open-store.js'
import type { Stores } from '../stores/stores.js'
import { mayHave, remoteSource } from './annex-remote.js'
import { parseRecordedUrl, type TorrentFileUrl } from './annex-url.js'
import type { Source } from './source.js'
import { deadRepositories, unreachable, unwantedRemotes, unwantedUrls } from './unused.js'
import { webSource } from './web.js'

export interface KeySourcesOptions {
  readonly annex: AnnexRepository
  readonly key: Key
  /** Of the same repository. */
  readonly stores: Stores
  readonly log: Log
  /** What was measured of a key whose bytes are not fixed by its name: that source gives this version or none. */
  readonly measured?: { readonly source: string; readonly validator: string }
}

export interface KeySources {
  /** Sorted by cost; those of untrusted repositories last. */
  readonly sources: readonly Source[]
  /** Torrents that hold the key's content. */
  readonly torrents: readonly TorrentFileUrl[]
  /** Remotes and URLs that may have it but cannot be read from, and why. */
  readonly unsupported: readonly Attempt[]
  /** Repositories that have it but that this one has no way to; where there are none at all, those that are dead. */
  readonly elsewhere: readonly Attempt[]
  /** Whether any record says that the content is somewhere, dead repositories and this one apart. */
  readonly known: boolean
  /** As `SourceList.state`: another when a copy was put or dropped, or one of the remotes is configured anew. */
  readonly state: string
}

/** More URLs than this of one key are somebody's mistake or attack. */
const MOST_URLS = 64
/** More remotes than this are not asked for one key. */
const MOST_REMOTES = 64
/** Added to the cost of untrusted repositories: git-annex's own costs end at 1000. */
const UNTRUSTED = 100_000
/** Added for remotes that git-annex itself transfers from: whole content only, and nothing better has it. */
const BY_GIT_ANNEX = 10_000

/**
 * The places that the records of a repository name for `key`: its remotes, and URLs. Makes no request, and looks at no
 * remote before its source is asked to find something.
 */
export async function sourcesForKey(options: KeySourcesOptions): Promise<KeySources> {
  const { annex, key, stores, log } = options
  const [{ locations, dead, urls, records }, remotes] = await Promise.all([annex.whereabouts(key), annex.remotes()])
  // What the configuration says of a remote's trust counts more than the records.
  const alive = new Set(remotes.filter(({ trust }) => trust !== 'dead').map(({ uuid }) => uuid))
  const located = new Set([...locations, ...dead.filter((uuid) => alive.has(uuid))])
  const others = new Set([...located].filter((uuid) => uuid !== annex.uuid))
  const unsupported: Attempt[] = []
  const keepers = remotes.filter((remote) => !isUrlRemote(remote))
  const candidates = keepers.filter((remote) => mayHave(remote, located, annex.uuid))
  const sources = await remoteSources(candidates, unsupported, options)
  unsupported.push(...unwantedRemotes(keepers, others))

  const unwanted = { web: unwantedUrls(remotes, WEB_UUID), torrent: unwantedUrls(remotes, BITTORRENT_UUID) }
  const passedOver = new Set<Attempt>()
  const torrents: TorrentFileUrl[] = []
  const web = remotes.find((remote) => remote.uuid === WEB_UUID)
  if (urls.length > MOST_URLS) log.warn('a key has too many URLs', { key: displayKey(key), urls: urls.length })
  for (const text of urls.slice(0, MOST_URLS)) {
    const recorded = parseRecordedUrl(text)
    if (recorded.kind === 'torrent') {
      if (unwanted.torrent !== undefined) passedOver.add(unwanted.torrent)
      else if (/^magnet:/i.test(recorded.url) || (await stores.allowsScheme(recorded.url))) torrents.push(recorded)
      else unsupported.push({ source: `torrent (${shownUrl(recorded.url)})`, reason: `${SCHEME_FORBIDDEN} it` })
    } else if (recorded.kind === 'unsupported') {
      unsupported.push({ source: shownUrl(text), reason: 'is no http or https URL, nor a torrent' })
    } else if (unwanted.web !== undefined) {
      passedOver.add(unwanted.web)
    } else {
      const source = await urlSource(recorded.url, web, options)
      if (source !== undefined && 'reason' in source) unsupported.push(source)
      else if (source !== undefined) sources.push(source)
    }
  }

  unsupported.push(...passedOver)

  const reachable = new Set(remotes.filter(({ configured }) => configured).map(({ uuid }) => uuid))
  const named = new Set([...candidates, ...keepers.filter(({ ignore }) => ignore !== false)].map(({ uuid }) => uuid))
  const known = others.size > 0 || urls.length > 0
  const beyond = [...others].filter((uuid) => !reachable.has(uuid) && !named.has(uuid))
  const elsewhere = known ? await unreachable(beyond, remotes, annex) : await deadRepositories(dead, remotes, annex)
  const state = stateOf(records, candidates)
  return { sources: sources.sort((a, b) => a.cost - b.cost), torrents, unsupported, elsewhere, known, state }
}

/** The torrents that the records of a repository name for `key`, alone. */
export async function torrentsForKey({
  annex,
  key,
}: Pick<KeySourcesOptions, 'annex' | 'key'>): Promise<TorrentFileUrl[]> {
  const urls = (await annex.urls(key)).slice(0, MOST_URLS).map(parseRecordedUrl)
  const torrents = urls.filter((one) => one.kind === 'torrent')
  if (torrents.length === 0) return []
  return unwantedUrls(await annex.remotes(), BITTORRENT_UUID) === undefined ? torrents : []
}

async function remoteSources(
  remotes: readonly AnnexRemote[],
  unsupported: Attempt[],
  { annex, key, stores, log }: KeySourcesOptions,
): Promise<Source[]> {
  const sources: Source[] = []
  /** Health and trust go by the name: two remotes of one name must not answer for each other. */
  const names = new Set<string>()
  if (remotes.length > MOST_REMOTES) {
    log.warn('a key is at more remotes than are asked', { key: displayKey(key), remotes: remotes.length })
  }
  for (const remote of remotes.slice(0, MOST_REMOTES)) {
    const plain = `${remote.name} (${remote.kind})`
    const name = names.has(plain) ? `${remote.name} (${remote.kind}, ${remote.configUuid ?? remote.uuid})` : plain
    if (names.has(name)) continue
    names.add(name)
    const way = wayTo(remote)
    if ('unusable' in way) {
      unsupported.push({ source: name, reason: way.unusable })
      continue
    }
    const cost = remote.cost + (remote.trust === 'untrusted' ? UNTRUSTED : 0) + (way.byGitAnnex ? BY_GIT_ANNEX : 0)
    sources.push(await remoteSource({ remote, way, stores, annex, key, name, cost, log }))
  }
  return sources
}

/** Nothing of it can be read back: settings may hold secrets. */
function stateOf(records: string, remotes: readonly AnnexRemote[]): string {
  const settings = remotes.map((remote) => [{ ...remote, config: null }, ...remote.config])
  return createHash('sha256')
    .update(JSON.stringify([records, settings]))
    .digest('hex')
}

/** Remotes that are reached by the key's URLs alone. */
function isUrlRemote(remote: AnnexRemote): boolean {
  if (remote.uuid === WEB_UUID || remote.uuid === BITTORRENT_UUID) return true
  // An external remote that was enabled for reading alone has its content at URLs.
  const readOnly = remote.config.get('annex-externaltype') === 'readonly' || remote.config.get('readonly') === 'true'
  return remote.kind === 'web' || remote.kind === 'bittorrent' || (remote.kind === 'external' && readOnly)
}

/** Undefined for a URL that is none; why, for one that may not be asked. */
async function urlSource(
  url: string,
  web: AnnexRemote | undefined,
  { key, stores, log, measured }: KeySourcesOptions,
): Promise<Source | Attempt | undefined> {
  try {
    const { href } = webUrl(url)
    const name = `web (${shownUrl(href)}${querySign(href)})`
    if (!(await stores.allowsScheme(href))) {
      return { source: name, reason: `${SCHEME_FORBIDDEN} it` }
    }
    const own: Pick<AnnexRemote, 'config'> = web ?? { config: new Map() }
    const [client, limits, bandwidth] = await Promise.all([
      stores.client(),
      stores.limits(own),
      stores.bandwidth('web', own),
    ])
    const source = webSource({
      url: href,
      client,
      log,
      cost: web?.cost ?? 200,
      name,
      ...(key.size === undefined ? {} : { expectedSize: key.size }),
      ...(measured?.source === name ? { validator: measured.validator } : {}),
    })
    const limited: Source = { ...source, limits }
    return bandwidth === undefined ? limited : limitedSource(limited, bandwidth)
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
