import { realpath } from 'node:fs/promises'
import { hashDirLower, hashDirMixed } from '../annex/hash-dirs.js'
import { keyFile, type Key } from '../annex/key.js'
import type { AnnexRemote } from '../annex/remote.js'
import { systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { HttpClient } from '../net/http-client.js'
import { percentEncoded, shownUrl } from '../net/url.js'
import { fileSource } from './file.js'
import { foreignRepository } from './git-remote.js'
import type { Source } from './source.js'
import { webCandidates } from './web-candidates.js'
import { webRepositoryUuid } from './web-repository.js'

/** What is asked of a remote. */
export interface RemoteContext {
  readonly key: Key
  readonly client: HttpClient
  readonly log: Log
  readonly forbid?: (path: string) => boolean
}

/** Added to the cost of untrusted repositories: git-annex's own costs end at 1000. */
const UNTRUSTED = 100_000

/** Whether `remote` is worth asking for a key that the repositories `located` have; `own`: of the mounted one. */
export function mayHave(remote: AnnexRemote, located: ReadonlySet<string>, own: string | undefined): boolean {
  if (remote.ignore || remote.trust === 'dead' || (remote.uuid !== '' && remote.uuid === own)) return false
  // A git remote that was never asked for its uuid shows it when it is looked at.
  if (remote.uuid === '') return remote.kind === 'git' && (remote.directory !== undefined || isWebUrl(remote.url))
  return located.has(remote.uuid) || isTrue(remote.config.get('annex-speculate-present'))
}

/** The source that reads from `remote`, or undefined when its kind is not supported. Asks nothing yet. */
export function remoteSource(
  remote: AnnexRemote,
  located: ReadonlySet<string>,
  options: RemoteContext,
): Source | undefined {
  const { directory } = remote
  // What only the branch names is somebody else's word for a place.
  if (!remote.configured) return undefined
  if (directory === undefined) return webStoreSource(remote, located, options)
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
function webStoreSource(remote: AnnexRemote, located: ReadonlySet<string>, options: RemoteContext): Source | undefined {
  const { key, client, log } = options
  const store =
    remote.kind === 'git' ? gitStore(remote) : remote.kind === 'httpalso' ? remote.config.get('url') : undefined
  if (store === undefined || !isWebUrl(store)) return undefined
  if (remote.kind === 'httpalso' && !isPlainStore(remote)) return undefined
  const isLocated = (url: string) => async (signal: AbortSignal) => {
    const uuid = await webRepositoryUuid(url.replace(/\/+$/, ''), client, log, signal)
    return uuid !== undefined && located.has(uuid)
  }
  // The key's bytes, not its text: git-annex's names need not be UTF-8.
  const file = percentEncoded(Buffer.from(keyFile(key), 'latin1'))
  const folders =
    remote.config.get('annex-bare') === 'false'
      ? [hashDirMixed(key), hashDirLower(key)]
      : [hashDirLower(key), hashDirMixed(key)]
  return webCandidates({
    name: `${remote.name} (${shownUrl(store)})`,
    urls: folders.map((folder) => `${store.replace(/\/+$/, '')}/${folder}${file}/${file}`),
    ...(remote.uuid === '' && remote.url !== undefined ? { confirm: isLocated(remote.url) } : {}),
    client,
    log,
    cost: costOf(remote),
    ...(key.size === undefined ? {} : { expectedSize: key.size }),
  })
}

function isWebUrl(url: string | undefined): boolean {
  return url !== undefined && /^https?:\/\//i.test(url) && URL.canParse(url)
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
  options: RemoteContext,
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

function isTrue(value: string | undefined): boolean {
  return value !== undefined && ['yes', 'true', 'on', '1'].includes(value.toLowerCase())
}

function isZero(value: string | undefined): boolean {
  return value === undefined || value === '' || value === '0'
}
