import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog, type Log } from '../../lib/log/log.js'
import { anyAddress, type AddressPolicy } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import type { StoreContext } from '../../lib/stores/context.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'

export const UUID = '11111111-2222-4333-8444-555555555555'

export interface ContextOptions {
  readonly kind: string
  readonly url?: string
  readonly config?: Readonly<Record<string, string>>
  readonly uuid?: string
  /** False: known from remote.log alone. */
  readonly configured?: boolean
  readonly policy?: AddressPolicy
  readonly ca?: readonly string[]
  readonly log?: Log
  /** Where the annex repository is, and what it is called there; default: a new, empty one. */
  readonly world?: AnnexWorld
  readonly repository?: string
}

/** The context of a remote of a real repository. */
export async function storeContext(t: TestContext, options: ContextOptions): Promise<StoreContext> {
  const { log = silentLog, url } = options
  const world = options.world ?? (await annexWorld(t))
  const repository = options.repository ?? 'mounted'
  if (options.repository === undefined) await world.repository(repository)
  const git = await GitRepository.open(join(world.folder, repository), log)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, log)
  t.after(() => annex.close())
  const remote: AnnexRemote = {
    uuid: options.uuid ?? UUID,
    name: 'there',
    kind: options.kind,
    cost: 200,
    trust: 'semitrusted',
    ignore: false,
    config: new Map(Object.entries(options.config ?? (url === undefined ? {} : { url }))),
    configured: options.configured ?? true,
    ...(url === undefined ? {} : { url }),
  }
  const client = testClient(t, options)
  return {
    remote,
    annex,
    client,
    urls: client,
    credentials: () => Promise.resolve(undefined),
    folder: join(world.folder, 'store'),
    log,
    forbid: () => false,
  }
}

export function testClient(t: TestContext, options: Pick<ContextOptions, 'policy' | 'ca' | 'log'> = {}): HttpClient {
  const client = new HttpClient({
    policy: options.policy ?? anyAddress,
    log: options.log ?? silentLog,
    idleTimeout: 5_000,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  })
  t.after(() => client.close())
  return client
}

export function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key, raw)
  return key
}

/** What the real `git credential` of the user would say: a helper of theirs, in a configuration of the test's own. */
export async function credentialHelper(t: TestContext, world: AnnexWorld, script: string): Promise<void> {
  await world.write('.', 'helper.sh', `#!/bin/sh\n${script}\n`)
  await world.run('.', 'chmod', ['+x', 'helper.sh'])
  await world.write('.', 'helpers', `[credential]\n  helper = ${join(world.folder, 'helper.sh')}\n`)
  const before = process.env['GIT_CONFIG_GLOBAL']
  process.env['GIT_CONFIG_GLOBAL'] = join(world.folder, 'helpers')
  t.after(() => {
    if (before === undefined) delete process.env['GIT_CONFIG_GLOBAL']
    else process.env['GIT_CONFIG_GLOBAL'] = before
  })
}
