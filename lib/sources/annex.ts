import { realpath } from 'node:fs/promises'
import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { displayKey, keyFile, type Key } from '../annex/key.js'
import { BITTORRENT_UUID, WEB_UUID, type AnnexRemote } from '../annex/remote.js'
import type { AnnexRepository } from '../annex/repository.js'
import { reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import { percentEncoded, shownUrl, webUrl } from '../net/url.js'
import { parseRecordedUrl, type TorrentFileUrl } from './annex-url.js'
import { fileSource } from './file.js'
import { foreignRepository } from './git-remote.js'
import type { Source } from './source.js'
import { webCandidates } from './web-candidates.js'
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
/** Added to the cost of untrusted repositories: git-annex's own costs end at 1000. */
const UNTRUSTED = 100_000

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

function mayHave(remote: AnnexRemote, located: ReadonlySet<string>, own: string | undefined): boolean {
  if (remote.ignore || remote.trust === 'dead' || (remote.uuid !== '' && remote.uuid === own)) return false
  // A git remote that was never asked for its uuid shows it when it is looked at.
  if (remote.uuid === '') return remote.kind === 'git' && remote.directory !== undefined
  return located.has(remote.uuid) || isTrue(remote.config.get('annex-speculate-present'))
}

/** Remotes that are reached by the key's URLs alone. */
function isUrlRemote(remote: AnnexRemote): boolean {
  return remote.uuid === WEB_UUID || remote.uuid === BITTORRENT_UUID || remote.kind === 'web'
}

function remoteSource(
  remote: AnnexRemote,
  located: ReadonlySet<string>,
  options: KeySourcesOptions,
): Source | undefined {
  const { directory } = remote
  // What only the branch names is somebody else's word for a place.
  if (!remote.configured) return undefined
  if (directory === undefined) return webStoreSource(remote, options)
  if (remote.kind === 'directory' ? !isPlainStore(remote) : remote.kind !== 'git') return undefined
  const name = `${remote.name} (${remote.kind})`
  return fileSource({
    name,
    place: directory,
    cost: costOf(remote),
    log: options.log,
    path: () => objectPaths(remote, directory, located, options),
  })
}

/** A store of objects behind HTTP: a git remote (ending in `.git` or bare, as git-annex needs it too), or `httpalso`. */
function webStoreSource(remote: AnnexRemote, options: KeySourcesOptions): Source | undefined {
  const { key, client, log } = options
  const store =
    remote.kind === 'git' ? gitStore(remote) : remote.kind === 'httpalso' ? remote.config.get('url') : undefined
  if (store === undefined || !/^https?:\/\//i.test(store) || !URL.canParse(store)) return undefined
  if (remote.kind === 'httpalso' && !isPlainStore(remote)) return undefined
  // The key's bytes, not its text: git-annex's names need not be UTF-8.
  const file = percentEncoded(Buffer.from(keyFile(key), 'latin1'))
  const folders =
    remote.config.get('annex-bare') === 'false'
      ? [hashDirMixed(key), hashDirLower(key)]
      : [hashDirLower(key), hashDirMixed(key)]
  return webCandidates({
    name: `${remote.name} (${shownUrl(store)})`,
    urls: folders.map((folder) => `${store.replace(/\/+$/, '')}/${folder}${file}/${file}`),
    client,
    log,
    cost: costOf(remote),
    ...(key.size === undefined ? {} : { expectedSize: key.size }),
  })
}

function gitStore(remote: AnnexRemote): string | undefined {
  return remote.url === undefined ? undefined : `${remote.url.replace(/\/+$/, '')}/annex/objects`
}

function costOf(remote: AnnexRemote): number {
  return remote.cost + (remote.trust === 'untrusted' ? UNTRUSTED : 0)
}

/** Neither encrypted, chunked, nor a tree of named files. */
function isPlainStore({ config }: AnnexRemote): boolean {
  const encryption = config.get('encryption') ?? 'none'
  if (encryption !== 'none' || isTrue(config.get('exporttree')) || isTrue(config.get('importtree'))) return false
  return isZero(config.get('chunk')) && isZero(config.get('chunksize'))
}

async function objectPaths(
  remote: AnnexRemote,
  directory: string,
  located: ReadonlySet<string>,
  options: KeySourcesOptions,
): Promise<readonly Buffer[]> {
  const { key, log, forbid = () => false } = options
  const folder = forbid(directory) ? undefined : await realFolder(directory)
  if (folder === undefined || forbid(folder)) {
    const why = folder === undefined && !forbid(directory) ? 'not there' : 'inside the mount'
    log.warn('remote is skipped', { remote: remote.name, folder: directory, why })
    return []
  }
  if (remote.kind === 'directory') return candidates(folder, key)
  const repository = await foreignRepository(folder, log)
  const { uuid } = repository ?? {}
  // Each time: another drive may be mounted there by now.
  const expected = remote.uuid === '' ? uuid !== undefined && located.has(uuid) : uuid === remote.uuid
  if (repository === undefined || !expected) {
    const found = repository === undefined ? 'no repository' : (uuid ?? 'no annex.uuid')
    log.warn('remote is skipped: not the repository that is meant', { remote: remote.name, folder, found })
    return []
  }
  return forbid(repository.objects) ? [] : candidates(repository.objects, key)
}

async function realFolder(directory: string): Promise<string | undefined> {
  try {
    return await realpath(directory)
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined
    throw error
  }
}

/** Both forms of hash directory: which one is in use depends on the age and the kind of store. */
function candidates(store: string, key: Key): readonly Buffer[] {
  const file = keyFile(key)
  return [hashDirLower(key), hashDirMixed(key)].map((folder) =>
    Buffer.concat([Buffer.from(`${store}/`), Buffer.from(`${folder}${file}/${file}`, 'latin1')]),
  )
}

function urlSource(url: string, cost: number, options: KeySourcesOptions): Source | undefined {
  const { key, client, log, measured } = options
  try {
    const { href } = webUrl(url)
    const name = `web (${shownUrl(href)})`
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

function isTrue(value: string | undefined): boolean {
  return value !== undefined && ['yes', 'true', 'on', '1'].includes(value.toLowerCase())
}

function isZero(value: string | undefined): boolean {
  return value === undefined || value === '' || value === '0'
}
