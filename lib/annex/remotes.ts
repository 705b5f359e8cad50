import { join } from 'node:path'
import type { GitConfig } from '../git/config.js'
import { runGit } from '../git/process.js'
import { findRepository } from '../git/repository.js'
import { localFolder, rewriteUrl } from './git-remote-url.js'
import { remoteSettings } from './logs.js'
import { BITTORRENT_UUID, WEB_UUID, type AnnexRemote, type Trust } from './remote.js'

/** What remotes are made of. */
export interface RemoteFacts {
  readonly config: GitConfig
  /** Folder that relative URLs of git remotes start from. */
  readonly base: string
  /** remote.log by uuid, as recorded. */
  readonly log: ReadonlyMap<string, string>
  /** trust.log by uuid. */
  readonly trust: (uuid: string) => Trust
  /** Runs a command of the configuration; undefined when it failed or may not be run. Without it none is run. */
  readonly run?: RunCommand
}

export type RunCommand = (
  setting: string,
  command: string,
) => Promise<{ readonly output: string; readonly code: number } | undefined>

/** Most entries of remote.log and remotes of the configuration that are taken. */
const MOST_REMOTES = 10_000

/** Time to look for the repository of a remote on this machine (another drive may hang), in milliseconds. */
const LOCAL_TIMEOUT = 5000

/** Settings of `remote.NAME` that tell the type of a special remote. */
const MARKS: ReadonlyMap<string, string> = new Map([
  // gcrypt first: such a remote may have annex-rsyncurl too.
  ['annex-gcrypt', 'gcrypt'],
  ['annex-directory', 'directory'],
  ['annex-rsyncurl', 'rsync'],
  ['annex-s3', 'S3'],
  ['annex-webdav', 'webdav'],
  ['annex-httpalso', 'httpalso'],
  ['annex-web', 'web'],
  ['annex-git-lfs', 'git-lfs'],
  ['annex-glacier', 'glacier'],
  ['annex-externaltype', 'external'],
  ['annex-buprepo', 'bup'],
  ['annex-borgrepo', 'borg'],
  ['annex-ddarrepo', 'ddar'],
  ['annex-hooktype', 'hook'],
  ['annex-tahoe', 'tahoe'],
  ['annex-androiddirectory', 'adb'],
  ['annex-bittorrent', 'bittorrent'],
  ['annex-compute', 'compute'],
  ['annex-mask', 'mask'],
])

/** What an entry that is another way into a store takes over from the store's own entry. */
const INHERITED = ['encryption', 'mac', 'cipher', 'cipherkeys', 'pubkeys', 'chunksize']

const ENCRYPTION_COST = 50

/** git-annex's uuids are RFC 4122 ones; others that are plain words are let through, nothing else. */
export function isUuid(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text)
}

/** All remotes that are configured, built in, or remembered on the git-annex branch, cheapest first. */
export async function listRemotes(facts: RemoteFacts): Promise<AnnexRemote[]> {
  const entries = remoteLog(facts.log)
  const remotes: AnnexRemote[] = []
  const used = new Set<string>()
  for (const name of facts.config.subsections('remote').slice(0, MOST_REMOTES)) {
    const remote = await configuredRemote(name, facts, entries)
    if (remote === undefined) continue
    remotes.push(remote)
    used.add(remote.configUuid ?? remote.uuid)
  }
  for (const [uuid, settings] of entries) {
    if (!used.has(uuid)) remotes.push(rememberedRemote(uuid, settings, facts, entries))
  }
  for (const [uuid, kind] of [
    [WEB_UUID, 'web'],
    [BITTORRENT_UUID, 'bittorrent'],
  ] as const) {
    if (!used.has(uuid)) remotes.push(builtIn(uuid, kind, facts))
  }
  return remotes.sort((a, b) => a.cost - b.cost || compareText(a.name, b.name) || compareText(a.uuid, b.uuid))
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

type Settings = ReadonlyMap<string, string>

function remoteLog(log: ReadonlyMap<string, string>): Map<string, Settings> {
  const entries = new Map<string, Settings>()
  for (const [uuid, value] of log) {
    if (!isUuid(uuid) || entries.size >= MOST_REMOTES) continue
    const settings = remoteSettings(value)
    // These are the user's alone to say, in the git configuration.
    for (const name of Array.from(settings.keys())) if (name.startsWith('annex-')) settings.delete(name)
    entries.set(uuid, settings)
  }
  return entries
}

async function configuredRemote(
  name: string,
  facts: RemoteFacts,
  entries: ReadonlyMap<string, Settings>,
): Promise<AnnexRemote | undefined> {
  const own = facts.config.under('remote', name)
  const uuid = cleanUuid(own.get('annex-uuid'))
  const configUuid = cleanUuid(own.get('annex-config-uuid'))
  const entry = entries.get(configUuid === '' ? uuid : configUuid)
  const mark = [...MARKS].find(([key]) => own.has(key))?.[1]
  const address = own.get('url')
  const kind = mark ?? (address?.startsWith('gcrypt::') ? 'gcrypt' : address === undefined ? entry?.get('type') : 'git')
  if (kind === undefined) return undefined
  const config = merge(entry, configUuid === '' ? undefined : entries.get(uuid), own)
  const place = kind === 'git' ? await gitPlace(own, facts) : {}
  const found = place.uuid ?? uuid
  const [cost, ignored] = await Promise.all([commandCost(name, own, facts), commandIgnores(name, own, facts)])
  return {
    uuid: found,
    name,
    kind,
    cost: cost ?? number(own.get('annex-cost')) ?? defaultCost(kind, config, place.directory !== undefined),
    trust: trustOf(found, config, facts),
    ignore: ignored ?? ignoredBySetting(name, facts),
    config,
    // Without its kind or place it is not enabled: what remote.log says of these would be obeyed like the user's word.
    configured: mark !== undefined || address !== undefined,
    ...(place.url === undefined ? {} : { url: place.url }),
    ...directoryOf(kind, place.directory ?? own.get('annex-directory')),
    ...(configUuid === '' ? {} : { configUuid }),
  }
}

function rememberedRemote(
  uuid: string,
  settings: Settings,
  facts: RemoteFacts,
  entries: ReadonlyMap<string, Settings>,
): AnnexRemote {
  const store = cleanUuid(settings.get('sameas-uuid'))
  const config = merge(settings, store === '' ? undefined : entries.get(store), new Map())
  const kind = settings.get('type') ?? 'unknown'
  const location = kind === 'git' ? settings.get('location') : undefined
  const url = location === undefined ? undefined : rewriteUrl(location, facts.config)
  const directory = url === undefined ? undefined : localFolder(url, facts.base)
  const name = settings.get('name') ?? settings.get('sameas-name') ?? uuid
  const own = facts.config.under('remote', name)
  return {
    uuid: store === '' ? uuid : store,
    name,
    kind,
    cost:
      number(own.get('annex-cost')) ??
      number(settings.get('cost')) ??
      defaultCost(kind, config, directory !== undefined),
    trust: trustOf(store === '' ? uuid : store, config, facts),
    // What the user said of it before it is enabled counts too.
    ignore: ignoredBySetting(name, facts),
    config,
    configured: false,
    ...(url === undefined ? {} : { url }),
    ...directoryOf(kind, directory),
    ...(store === '' ? {} : { configUuid: uuid }),
  }
}

function builtIn(uuid: string, kind: 'web' | 'bittorrent', facts: RemoteFacts): AnnexRemote {
  const config = facts.config.under('remote', kind)
  return {
    uuid,
    name: kind,
    kind,
    cost: number(config.get('annex-cost')) ?? 200,
    trust: trustOf(uuid, config, facts),
    ignore: ignoredBySetting(kind, facts),
    config,
    configured: true,
  }
}

function merge(entry: Settings | undefined, store: Settings | undefined, own: Settings): Map<string, string> {
  const inherited = [...(store ?? [])].filter(([key]) => INHERITED.includes(key))
  return new Map([...inherited, ...(entry ?? []), ...own])
}

function directoryOf(kind: string, directory: string | undefined): { directory?: string } {
  return directory === undefined || (kind !== 'git' && kind !== 'directory') ? {} : { directory }
}

/** Where a git remote is; of one on this machine also its own uuid, since another drive may be mounted there now. */
async function gitPlace(
  own: Settings,
  facts: RemoteFacts,
): Promise<{ url?: string; directory?: string; uuid?: string }> {
  const address = own.get('annexurl') ?? own.get('url')
  if (address === undefined) return {}
  const url = rewriteUrl(address, facts.config)
  const directory = localFolder(url, facts.base)
  if (directory === undefined) return { url }
  // The user wants the listing not to touch the disk; a read compares the uuid all the same.
  if (/^(?:false|no|off|0)$/i.test(own.get('annex-checkuuid') ?? '')) return { url, directory }
  const uuid = await within(LOCAL_TIMEOUT, uuidOfRepository(directory))
  return { url, directory, ...(uuid === undefined ? {} : { uuid }) }
}

/** `annex.uuid` of the repository in `folder`, from its own configuration file alone; undefined when there is none. */
async function uuidOfRepository(folder: string): Promise<string | undefined> {
  const places = await findRepository(folder)
  if (places === undefined) return undefined
  const output = await runGit(['config', '--file', join(places.commonDir, 'config'), '-z', '--get', 'annex.uuid'], {
    maxOutput: 65536,
    timeout: LOCAL_TIMEOUT,
    accept: [1],
  })
  const uuid = cleanUuid(output.toString('utf8').replace(/\0$/, ''))
  return uuid === '' ? undefined : uuid
}

/** Undefined when it takes longer or fails: a drive that is not there now says nothing about the remote. */
async function within<T>(time: number, work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(() => resolve(undefined), time)))
  return Promise.race([work.catch(() => undefined), late]).finally(() => clearTimeout(timer))
}

/** `annex-cost-command`: the cost is the number that it prints. */
async function commandCost(name: string, own: Settings, facts: RemoteFacts): Promise<number | undefined> {
  const command = own.get('annex-cost-command')
  if (command === undefined || command === '') return undefined
  const result = await facts.run?.(`remote.${name}.annex-cost-command`, command)
  return result?.code === 0 ? number(result.output) : undefined
}

/** `annex-ignore-command`: the remote is ignored when it fails. Undefined when there is none, or it was not run. */
async function commandIgnores(
  name: string,
  own: Settings,
  facts: RemoteFacts,
): Promise<AnnexRemote['ignore'] | undefined> {
  const command = own.get('annex-ignore-command')
  if (command === undefined || command === '') return undefined
  const result = await facts.run?.(`remote.${name}.annex-ignore-command`, command)
  return result === undefined ? undefined : result.code !== 0 && 'annex-ignore-command'
}

function ignoredBySetting(name: string, facts: RemoteFacts): AnnexRemote['ignore'] {
  return facts.config.bool(`remote.${name}.annex-ignore`) === true && 'annex-ignore'
}

function cleanUuid(text: string | undefined): string {
  return text !== undefined && isUuid(text) ? text : ''
}

function number(text: string | undefined): number | undefined {
  if (text === undefined || text.trim() === '') return undefined
  const value = Number(text)
  return Number.isFinite(value) ? value : undefined
}

function trustOf(uuid: string, config: Settings, facts: RemoteFacts): Trust {
  const override = config.get('annex-trustlevel')
  if (override === 'trusted' || override === 'semitrusted' || override === 'untrusted' || override === 'dead') {
    return override
  }
  const recorded = facts.trust(uuid)
  const tree = config.get('exporttree') === 'yes' || config.get('importtree') === 'yes'
  // Files of an export can be replaced by anyone who may write there, unless old versions are kept.
  return tree && config.get('versioning') !== 'yes' && recorded !== 'dead' ? 'untrusted' : recorded
}

/** The costs of git-annex's own remotes (Config.Cost and Remote/*.hs). */
function defaultCost(kind: string, config: Settings, local: boolean): number {
  const encrypted = !['none', undefined].includes(config.get('encryption'))
  return plainCost(kind, config, local) + (encrypted ? ENCRYPTION_COST : 0)
}

function plainCost(kind: string, config: Settings, local: boolean): number {
  switch (kind) {
    case 'directory':
      return 100
    case 'git':
      return local ? 100 : (config.get('url') ?? '').startsWith('tor-annex::') ? 1000 : 200
    case 'bup':
    case 'ddar':
    case 'borg':
      return (config.get(`annex-${kind}repo`) ?? config.get(`${kind}repo`) ?? '').includes(':') ? 200 : 110
    case 'gcrypt':
      return localFolder((config.get('url') ?? '').replace(/^gcrypt::/, ''), '/') === undefined ? 200 : 110
    case 'adb':
      return 175
    case 'glacier':
      return 1000
    default:
      return 200
  }
}
