import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { textLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import type { Credentials, StoreContext } from '../../lib/stores/context.js'
import type { AnnexWorld } from '../support/annex.js'

export interface RealRemote {
  readonly context: StoreContext
  /** What was logged, one line each. */
  readonly lines: readonly string[]
}

/** What a store is made from, for a remote of a repository that git-annex has made. */
export async function realRemote(
  t: Pick<TestContext, 'after'>,
  world: AnnexWorld,
  remote: string,
  credentials: Credentials | undefined,
  options: { repository?: string; config?: Readonly<Record<string, string>> } = {},
): Promise<RealRemote> {
  const lines: string[] = []
  const log = textLog('debug', (line) => lines.push(line))
  const git = await GitRepository.open(join(world.folder, options.repository ?? 'here'), log)
  const annex = await AnnexRepository.open(git, log)
  const client = new HttpClient({ policy: anyAddress, log, idleTimeout: 5_000 })
  t.after(async () => {
    await client.close()
    await annex.close()
    await git.close()
  })
  const found = (await annex.remotes()).find(({ name }) => name === remote)
  assert.ok(found, `there is a remote ${remote}`)
  const context: StoreContext = {
    remote: { ...found, config: new Map([...found.config, ...Object.entries(options.config ?? {})]) },
    annex,
    client,
    urls: client,
    credentials: () => Promise.resolve(credentials),
    folder: join(world.folder, 'store'),
    log,
    forbid: () => false,
  }
  return { context, lines }
}

/** A key from text, as UTF-8. */
export function keyOf(text: string): Key {
  const key = parseKey(Buffer.from(text, 'utf8').toString('latin1'))
  assert.ok(key, text)
  return key
}

/** The key of an annexed file. */
export async function keyOfFile(world: AnnexWorld, path: string, repository = 'here'): Promise<Key> {
  return keyOf(await world.annex(repository, 'lookupkey', path))
}

/** Puts `content` into the repository under a key of one's own choice. */
export async function setKey(world: AnnexWorld, key: string, content: Uint8Array, repository = 'here'): Promise<void> {
  await world.write('.', 'setkey.tmp', content)
  await world.annex(repository, 'setkey', '--quiet', key, join(world.folder, 'setkey.tmp'))
}

/** Waits until a server has noted down what it was asked: it does so after its answer has gone. */
export async function until(noted: () => boolean): Promise<void> {
  for (let tries = 0; tries < 6_000 && !noted(); tries++) await sleep(10)
}

/** `git annex` in the repository `here`, with the credentials of a remote in the environment. */
export async function annexHere(world: AnnexWorld, env: NodeJS.ProcessEnv, ...args: string[]): Promise<void> {
  await world.run('here', 'git', ['annex', args[0] ?? '', '--quiet', ...args.slice(1)], { env })
}
