import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { reasonOf } from '../errors.js'
import type { GitRepository } from '../git/repository.js'
import { rateLimited, type Log } from '../log/log.js'
import { AnnexBranch } from './branch.js'
import { isOwn, runConfigured } from './command.js'
import { hashDirLower } from './hash-dirs.js'
import { keyFile, type Key } from './key.js'
import { metadata, presentInfos, textOf, urlText, valuesByField, valuesByUuid } from './logs.js'
import { findObject, type LocalObject, type ObjectLayout } from './object-file.js'
import type { AnnexRemote, Trust } from './remote.js'
import { isUuid, listRemotes } from './remotes.js'

export type { LocalObject } from './object-file.js'

/** Most locations, URLs or values of one key that are given. */
const MOST_VALUES = 10_000

/** More exports to one remote that disagree are somebody's attack. */
const MOST_TREES = 50

const MOST_COMMANDS = 1000
const SAID_FOR = 10 * 60_000

const TRUST: Readonly<Record<string, Trust>> = { '1': 'trusted', '0': 'untrusted', '?': 'semitrusted', X: 'dead' }

/** Where a key is, as far as the records say. */
export interface Whereabouts {
  readonly locations: readonly string[]
  /** Of repositories that are recorded to have it and were declared dead. */
  readonly dead: readonly string[]
  readonly urls: readonly string[]
  /** Another when any of the records is another. */
  readonly records: string
}

/** What the top-level logs say; read once and again after a change. */
interface TopLevel {
  readonly trust: ReadonlyMap<string, Trust>
  readonly descriptions: ReadonlyMap<string, string>
  readonly remoteLog: ReadonlyMap<string, string>
  readonly layout: ObjectLayout
  /** `annex.tune.branchhash1`: logs lie one level deep. */
  readonly oneLevelBranch: boolean
}

/**
 * What a git repository says about git-annex, for reading: which repositories have a key, URLs, remotes, local objects.
 * Works for clones where git-annex was never run. Knowledge is read when it is asked for; {@link changed} makes it
 * current.
 */
export class AnnexRepository {
  readonly git: GitRepository
  private readonly branch: AnnexBranch
  private readonly log: Log
  private ownUuid: string | undefined
  private top: Promise<TopLevel> | undefined
  private listed: Promise<readonly AnnexRemote[]> | undefined
  /** What commands of the configuration said, by the command: they are asked again after a while, not at each change. */
  private readonly said = new LRUCache<string, { output: string; code: number } | false>({
    max: MOST_COMMANDS,
    ttl: SAID_FOR,
  })

  private constructor(git: GitRepository, branch: AnnexBranch, log: Log) {
    this.git = git
    this.branch = branch
    this.log = rateLimited(log, 60_000)
  }

  /** @throws AnnexfsError SYSTEM when git fails. */
  static async open(git: GitRepository, log: Log): Promise<AnnexRepository> {
    const repository = new AnnexRepository(git, await AnnexBranch.open(git, log), log)
    await repository.readUuid()
    return repository
  }

  /** The repository's own uuid; undefined when git-annex was never initialised in it. */
  get uuid(): string | undefined {
    return this.ownUuid
  }

  /**
   * The uuids of the places that are believed to have `key` (state 1 in any location log), without dead ones. A belief:
   * it can be stale both ways.
   */
  async locations(key: Key): Promise<readonly string[]> {
    return (await this.locationsIn(await this.keyLog(key, '.log'))).locations
  }

  /**
   * Where `key` is: as {@link locations} and {@link urls} say, and a sum of all that is recorded of it, which changes when
   * somebody puts or drops a copy. Each log is read once.
   */
  async whereabouts(key: Key): Promise<Whereabouts> {
    const [located, web] = await Promise.all([this.keyLog(key, '.log'), this.keyLog(key, '.log.web')])
    const [{ locations, dead }, urls] = await Promise.all([this.locationsIn(located), this.urlsIn(key, web)])
    const records = createHash('sha256').update(located, 'latin1').update('\n').update(web, 'latin1').digest('hex')
    return { locations, dead, urls, records }
  }

  /** Has {@link whereabouts} of `key` take less time soon: all that it takes but the logs themselves is read. */
  async approach(key: Key): Promise<void> {
    await Promise.all([this.branch.approach(`${await this.logPath(key)}.log`), this.remotes()])
  }

  private async locationsIn(text: string): Promise<Pick<Whereabouts, 'locations' | 'dead'>> {
    const { trust } = await this.topLevel()
    const present = presentInfos(text).filter((uuid) => isUuid(uuid))
    return {
      locations: present.filter((uuid) => trust.get(uuid) !== 'dead').slice(0, MOST_VALUES),
      dead: present.filter((uuid) => trust.get(uuid) === 'dead').slice(0, MOST_VALUES),
    }
  }

  /**
   * The recorded URLs of `key`, as recorded: `http…` for the web, `yt:URL`, `:URL` for another remote (a torrent's
   * `:URL#2` counts files from 1). Bytes that are not UTF-8 are percent-encoded.
   */
  async urls(key: Key): Promise<readonly string[]> {
    return this.urlsIn(key, await this.keyLog(key, '.log.web'))
  }

  private async urlsIn(key: Key, text: string): Promise<readonly string[]> {
    // Written by versions of git-annex before 2014.
    const old = text === '' ? await this.branch.read(`remote/web/${await this.logPath(key)}.log`) : ''
    return presentInfos(text === '' ? old : text)
      .filter((url) => url !== '')
      .slice(0, MOST_VALUES)
      .map(urlText)
  }

  /** The local object of `key`: a regular file of the right size; its content is not looked at. */
  async objectPath(key: Key): Promise<LocalObject | undefined> {
    const { layout } = await this.topLevel()
    return findObject(this.git.commonDir, key, layout)
  }

  /** All remotes: configured, built in (web, bittorrent), or only remembered on the branch; cheapest first. */
  async remotes(): Promise<readonly AnnexRemote[]> {
    this.listed ??= this.readRemotes()
    return keepUnlessFailed(this.listed, () => (this.listed = undefined))
  }

  async trust(uuid: string): Promise<Trust> {
    return (await this.topLevel()).trust.get(uuid) ?? 'semitrusted'
  }

  /** The description of a repository in uuid.log. */
  async describe(uuid: string): Promise<string | undefined> {
    return (await this.topLevel()).descriptions.get(uuid)
  }

  /**
   * The fields of one of a key's logs of lines `TS FIELD VALUE`: of `.log.cnk` (FIELD `UUID:CHUNKSIZE`, VALUE the number
   * of chunks), `.log.rmt` and `.log.cid` (FIELD a uuid). Values are bytes as latin1.
   */
  async stateOf(key: Key, extension: '.log.cnk' | '.log.rmt' | '.log.cid'): Promise<ReadonlyMap<string, string>> {
    return valuesByField(await this.keyLog(key, extension))
  }

  /** A key's metadata: `.log.met` the user's, `.log.rmet` that of remotes (FIELD `UUID:field`). Bytes as latin1. */
  async metadataOf(key: Key, extension: '.log.met' | '.log.rmet'): Promise<ReadonlyMap<string, readonly string[]>> {
    return metadata(await this.keyLog(key, extension))
  }

  /** The keys (serializations, bytes as latin1) that a VURL key's content may have; none recorded means any. */
  async equivalentKeys(key: Key): Promise<readonly string[]> {
    return presentInfos(await this.keyLog(key, '.log.ek')).slice(0, MOST_VALUES)
  }

  /**
   * The ids of the trees that were exported to the remote `uuid` (export.log), of every repository that did; first those
   * that are complete, then those that were begun.
   */
  async exportedTrees(uuid: string): Promise<readonly string[]> {
    const complete = new Set<string>()
    const begun = new Set<string>()
    for (const [field, value] of valuesByField(await this.branch.read('export.log'))) {
      if (!field.endsWith(`:${uuid}`)) continue
      const [tree, ...others] = value.split(' ').filter((word) => /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(word))
      if (tree !== undefined) complete.add(tree)
      for (const other of others) begun.add(other)
    }
    return [...new Set([...complete, ...begun])].slice(0, MOST_TREES)
  }

  /**
   * Looks, cheaply, whether anything that is known here has changed (a git-annex branch, a journal, the configuration);
   * afterwards everything answers from the current state.
   */
  async changed(): Promise<boolean> {
    if (!(await this.branch.changed())) return false
    await this.git.reloadConfig().catch((error: unknown) => {
      // Being rewritten at this moment, or broken by hand; what was read before stays in force.
      this.log.warn('the git configuration cannot be read', { reason: reasonOf(error) })
    })
    await this.readUuid()
    this.top = undefined
    this.listed = undefined
    return true
  }

  async close(): Promise<void> {
    await this.branch.settle()
  }

  private async readUuid(): Promise<void> {
    const uuid = (await this.git.config()).get('annex.uuid')
    this.ownUuid = uuid !== undefined && isUuid(uuid) ? uuid : undefined
  }

  private async keyLog(key: Key, extension: string): Promise<string> {
    return this.branch.read(`${await this.logPath(key)}${extension}`)
  }

  private async logPath(key: Key): Promise<string> {
    const folder = hashDirLower(key)
    const { oneLevelBranch } = await this.topLevel()
    return `${oneLevelBranch ? folder.slice(0, folder.indexOf('/') + 1) : folder}${keyFile(key)}`
  }

  private async topLevel(): Promise<TopLevel> {
    this.top ??= this.readTopLevel()
    return keepUnlessFailed(this.top, () => (this.top = undefined))
  }

  private async readTopLevel(): Promise<TopLevel> {
    const [trust, uuids, remotes, differences, config] = await Promise.all([
      this.branch.read('trust.log'),
      this.branch.read('uuid.log'),
      this.branch.read('remote.log'),
      this.branch.read('difference.log'),
      this.git.config(),
    ])
    const recorded = [...valuesByUuid(differences).values()].join(' ')
    const tuned = (setting: string, name: string): boolean =>
      config.bool(`annex.tune.${setting}`) ?? new RegExp(`\\b${name}\\b`).test(recorded)
    return {
      trust: new Map([...valuesByUuid(trust)].map(([uuid, value]) => [uuid, TRUST[value.trim()] ?? 'semitrusted'])),
      descriptions: new Map([...valuesByUuid(uuids)].map(([uuid, value]) => [uuid, textOf(value)])),
      remoteLog: valuesByUuid(remotes),
      layout: {
        bare: this.git.bare,
        lower: tuned('objecthashlower', 'ObjectHashLower'),
        oneLevel: tuned('objecthash1', 'OneLevelObjectHash'),
      },
      oneLevelBranch: tuned('branchhash1', 'OneLevelBranchHash'),
    }
  }

  private async readRemotes(): Promise<readonly AnnexRemote[]> {
    const [{ remoteLog, trust }, config] = await Promise.all([this.topLevel(), this.git.config()])
    return listRemotes({
      config,
      base: this.git.workTree ?? this.git.gitDir,
      log: remoteLog,
      trust: (uuid) => trust.get(uuid) ?? 'semitrusted',
      run: (setting, command) => this.runOnce(setting, command),
    })
  }

  private async runOnce(setting: string, command: string): Promise<{ output: string; code: number } | undefined> {
    const known = this.said.get(command)
    if (known !== undefined) return known === false ? undefined : known
    const result = await this.runCommand(setting, command).catch((error: unknown) => {
      this.log.warn('a command of the git configuration failed', { setting, reason: reasonOf(error) })
    })
    this.said.set(command, result ?? false)
    return result ?? undefined
  }

  private async runCommand(setting: string, command: string): Promise<{ output: string; code: number } | undefined> {
    if (await isOwn(this.git)) return runConfigured(setting, command, this.git.gitDir)
    this.log.warn('a command of the git configuration is not run: the repository belongs to another user', { setting })
    return undefined
  }
}

/** A remembered promise; a failure is not remembered. */
async function keepUnlessFailed<T>(work: Promise<T>, forget: () => void): Promise<T> {
  try {
    return await work
  } catch (error) {
    forget()
    throw error
  }
}
