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
import type { ObjectName, StoredObject } from '../../lib/stores/store.js'
import type { AnnexWorld } from '../support/annex.js'

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
  return { remote, annex, client, credentials, folder: join(folder, 'remote'), log: silentLog, forbid: () => false }
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
  signal: AbortSignal = AbortSignal.timeout(30_000),
): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of object.read(range, { urgency: 'read', signal })) parts.push(part)
  return Buffer.concat(parts)
}
