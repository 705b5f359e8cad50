import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { remoteCipher } from '../../lib/cipher/open.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { remoteKeySource, type RemoteKeyOptions } from '../../lib/sources/remote-key.js'
import type { Source } from '../../lib/sources/source.js'
import { directoryStore } from '../../lib/stores/directory.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { temporaryFolder } from '../support/temp.js'
import { randomNumbers, readAll, spaceOf } from './contract.js'

type Life = Pick<TestContext, 'after'>

/** A repository `here` with directory remotes, as git-annex makes them. */
export class RemoteWorld {
  readonly annex: AnnexWorld
  readonly t: Life

  private constructor(t: Life, annex: AnnexWorld) {
    this.t = t
    this.annex = annex
  }

  static async make(t: Life): Promise<RemoteWorld> {
    const world = await annexWorld(t)
    const { GNUPGHOME } = process.env
    if (GNUPGHOME !== undefined) world.environment['GNUPGHOME'] = GNUPGHOME
    await world.repository('here')
    return new RemoteWorld(t, world)
  }

  folder(remote: string): string {
    return join(this.annex.folder, `dir-${remote}`)
  }

  async initremote(remote: string, ...settings: string[]): Promise<void> {
    await mkdir(this.folder(remote))
    const directory = `directory=${this.folder(remote)}`
    await this.annex.annex('here', 'initremote', '--quiet', remote, 'type=directory', directory, ...settings)
  }

  async copy(remote: string, ...files: string[]): Promise<void> {
    await this.annex.annex('here', 'copy', '--quiet', '--to', remote, ...files)
  }

  async keyOf(file: string): Promise<Key> {
    const key = parseKey(await this.annex.annex('here', 'lookupkey', file))
    assert.ok(key)
    return key
  }

  /** The repository as a reader sees it now. */
  async open(t: Life = this.t): Promise<AnnexRepository> {
    const git = await GitRepository.open(join(this.annex.folder, 'here'), silentLog)
    const annex = await AnnexRepository.open(git, silentLog)
    t.after(async () => {
      await annex.close()
      await git.close()
    })
    return annex
  }

  async source(annex: AnnexRepository, remote: string, key: Key, other: Partial<Other> = {}): Promise<Source> {
    const found = (await annex.remotes()).find(({ name }) => name === remote)
    assert.ok(found, remote)
    const folder = await temporaryFolder(this.t)
    const { change = (given) => given, wrap = (given) => given, ...options } = other
    const changed = change(found)
    const source = remoteKeySource({
      remote: changed,
      store: wrap(directoryStore({ remote: changed, forbid: () => false })),
      annex,
      key,
      cost: found.cost,
      name: `${remote} (directory)`,
      log: silentLog,
      cipher: remoteCipher({ remote: changed, annex, folder, log: silentLog }),
      ...options,
    })
    this.t.after(() => source.close?.())
    return source
  }
}

interface Other extends RemoteKeyOptions {
  readonly change: (remote: AnnexRemote) => AnnexRemote
  readonly wrap: (store: ObjectStore) => ObjectStore
}

/** Reads all of `content` and some ranges of it from `source`; false when the source does not have it. */
export async function reads(source: Source, content: Buffer): Promise<boolean> {
  const holding = await source.find(spaceOf(content.length), AbortSignal.timeout(60_000))
  if (holding === undefined) return false
  const { length } = content
  assert.ok((await readAll(holding, { start: 0, end: length })).equals(content), 'all of it')
  const random = randomNumbers(length)
  for (let round = 0; round < 5 && length > 0; round++) {
    const start = Math.floor(random() * length)
    const range = { start, end: Math.min(length, start + 1 + Math.floor(random() * 200_000)) }
    assert.ok((await readAll(holding, range)).equals(content.subarray(range.start, range.end)), JSON.stringify(range))
  }
  return true
}
