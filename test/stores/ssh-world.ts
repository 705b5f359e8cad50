import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import type { ByteRange } from '../../lib/space/space.js'
import type { StoreContext } from '../../lib/stores/context.js'
import { gitSshStore, type GitSshStore } from '../../lib/stores/git-ssh.js'
import type { ObjectName, StoredObject } from '../../lib/stores/store.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { startSshd, type SshdOptions, type TestSshd } from '../support/sshd.js'

/** The context of the remote `name` of `repository`, as the engine makes it. */
export async function contextOf(
  t: Pick<TestContext, 'after'>,
  world: AnnexWorld,
  repository: string,
  name: string,
): Promise<StoreContext> {
  const git = await GitRepository.open(join(world.folder, repository), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  const remote = (await annex.remotes()).find((one) => one.name === name)
  if (remote === undefined) throw new Error(`no remote ${name}`)
  const client = new HttpClient({ policy: anyAddress, log: silentLog })
  const folder = await mkdtemp(join(tmpdir(), 'axst-'))
  t.after(async () => {
    await annex.close()
    await git.close()
    await client.close()
    await rm(folder, { recursive: true, force: true })
  })
  const credentials = (): Promise<undefined> => Promise.resolve(undefined)
  return {
    remote,
    annex,
    client,
    urls: client,
    credentials,
    folder: join(folder, 'remote'),
    log: silentLog,
    forbid: () => false,
  }
}

/** Contents that matter: none, one byte, some, several megabytes; and names that need escaping. */
export function contents(): Record<string, Buffer> {
  return {
    'empty.bin': Buffer.alloc(0),
    'one.bin': Buffer.from('x'),
    'some.bin': randomBytes(100_003),
    'large.bin': randomBytes(5 * 1024 * 1024),
  }
}

/** The keys of annexed files of a repository. */
export async function keysOf(
  world: AnnexWorld,
  repository: string,
  files: readonly string[],
): Promise<Map<string, Key>> {
  const keys = new Map<string, Key>()
  for (const file of files) keys.set(file, keyOf(await world.annex(repository, 'lookupkey', file)))
  return keys
}

export function keyOf(raw: string): Key {
  const key = parseKey(Buffer.from(raw, 'utf8').toString('latin1'))
  if (key === undefined) throw new Error(`no key: ${raw}`)
  return key
}

/** A key with a name that needs escaping everywhere, put into `repository`. */
export async function addOddKey(world: AnnexWorld, repository: string, raw: string, content: Buffer): Promise<Key> {
  await world.write(repository, '.git/odd.tmp', content)
  await world.annex(repository, 'setkey', '--force', raw, '.git/odd.tmp')
  return keyOf(raw)
}

export function named(key: Key, size = key.size): ObjectName {
  return { key, content: key, ...(size === undefined ? {} : { size }) }
}

export async function bytesOf(
  object: StoredObject,
  range: ByteRange,
  signal: AbortSignal = AbortSignal.timeout(60_000),
): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of object.read(range, { urgency: 'read', signal })) parts.push(part)
  return Buffer.concat(parts)
}

const saved = new WeakMap<object, Set<string>>()

/** Sets variables of the environment until the test ends. */
export function environment(t: Pick<TestContext, 'after'>, values: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(values)) {
    const before = process.env[name]
    const set = (text: string | undefined): void => {
      if (text === undefined) delete process.env[name]
      else process.env[name] = text
    }
    set(value)
    const known = saved.get(t) ?? new Set()
    // Only what was there before the test comes back.
    if (!known.has(name)) t.after(() => set(before))
    saved.set(t, known.add(name))
  }
}

export interface GitSshSetup {
  readonly world: AnnexWorld
  readonly sshd: TestSshd
  readonly context: StoreContext
  readonly store: GitSshStore
  readonly keys: ReadonlyMap<string, Key>
  readonly files: Readonly<Record<string, Buffer>>
}

/** A repository `there` behind ssh, and one `here` that has it as remote `origin`. */
export async function gitBehindSsh(
  t: TestContext,
  options: SshdOptions & { bare?: boolean } = {},
): Promise<GitSshSetup> {
  // Without sftp unless asked for: reads would go there.
  const sshd = await startSshd(t, { sftp: false, ...options })
  environment(t, { GIT_SSH_COMMAND: sshd.command })
  const world = await annexWorld(t)
  await world.repository('source')
  const files = contents()
  await world.addAnnexed('source', files)
  const keys = new Map(await keysOf(world, 'source', Object.keys(files)))
  if (options.bare === true) {
    await world.repository('there', { bare: true })
    await world.git('source', 'remote', 'add', 'there', join(world.folder, 'there'))
    await world.annex('source', 'copy', '--quiet', '--to', 'there', '--all')
  } else {
    for (const raw of ['WORM-s9-m5--a b&c%d:e/f', "WORM-s9-m6--x'y$(z)é.txt", 'URL--http://h/-x?a=%20b']) {
      keys.set(raw, await addOddKey(world, 'source', raw, Buffer.from('odd bytes')))
      files[raw] = Buffer.from('odd bytes')
    }
  }
  const there = options.bare === true ? 'there' : 'source'
  await world.repository('here')
  const uuid = (await world.git(there, 'config', 'annex.uuid')).trim()
  const url = `ssh://${sshd.user}@${sshd.host}:${sshd.port}${join(world.folder, there)}`
  await world.git('here', 'config', 'remote.origin.url', url)
  await world.git('here', 'config', 'remote.origin.annex-uuid', uuid)
  const context = await contextOf(t, world, 'here', 'origin')
  const store = await gitSshStore(context)
  t.after(() => store.close())
  return { world, sshd, context, store, keys, files }
}
