import assert from 'node:assert/strict'
import { chown } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseKey } from '../../lib/annex/key.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { privateRoom, Scratch } from '../../lib/cache/scratch.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { Stores, type OpenRemote } from '../../lib/stores/stores.js'
import { annexWorld } from '../support/annex.js'
import { httpServer } from '../support/http.js'
import { localTls } from '../support/lfs.js'

test(
  'goal 24: the configuration of another user opens no way to private addresses',
  { timeout: 180_000, skip: process.getuid?.() !== 0 },
  async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('here')
    await world.git('here', 'config', 'annex.security.allowed-ip-addresses', 'all')
    const allows = async (): Promise<boolean> => {
      const git = await GitRepository.open(repository, silentLog)
      const annex = await AnnexRepository.open(git, silentLog)
      const stores = new Stores(annex, {
        allowAddresses: [],
        cacheFolder: world.folder,
        scratch: new Scratch(world.folder, privateRoom(1), silentLog),
        log: silentLog,
        forbid: () => false,
      })
      const { policy } = await stores.reach()
      await stores.close()
      await annex.close()
      await git.close()
      return policy.allows('127.0.0.1')
    }
    assert.equal(await allows(), true)
    await chown(join(repository, '.git'), 12_345, 12_345)
    assert.equal(await allows(), false)
  },
)

test(
  "the authorities of git's http.sslCAInfo are trusted, but not when another user says which they are",
  { timeout: 180_000, skip: process.getuid?.() !== 0 },
  async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('here')
    const { key, cert } = await localTls(world.folder)
    const server = await httpServer(t, (_, response) => response.end('fine'), { tls: { key, cert } })
    const before = process.env['GIT_SSL_CAINFO']
    delete process.env['GIT_SSL_CAINFO']
    t.after(() => before !== undefined && (process.env['GIT_SSL_CAINFO'] = before))
    const status = async (): Promise<number> => {
      const git = await GitRepository.open(repository, silentLog)
      const annex = await AnnexRepository.open(git, silentLog)
      const stores = new Stores(annex, {
        allowAddresses: ['127.0.0.1'],
        cacheFolder: world.folder,
        scratch: new Scratch(world.folder, privateRoom(1), silentLog),
        log: silentLog,
        forbid: () => false,
      })
      try {
        const answer = await (await stores.client()).get(server.url, { signal: AbortSignal.timeout(60_000) })
        answer.cancel()
        return answer.status
      } finally {
        await stores.close()
        await annex.close()
        await git.close()
      }
    }
    await assert.rejects(status(), { code: 'FORBIDDEN', message: /certificate is refused/ })
    await world.git('here', 'config', 'http.sslCAInfo', join(world.folder, 'ca.pem'))
    assert.equal(await status(), 200)
    await chown(join(repository, '.git'), 12_345, 12_345)
    await assert.rejects(status(), { code: 'FORBIDDEN', message: /certificate is refused/ })
    process.env['GIT_SSL_CAINFO'] = join(world.folder, 'ca.pem')
    assert.equal(await status(), 200)
    if (before === undefined) delete process.env['GIT_SSL_CAINFO']
  },
)

test('a store whose remote is configured anew is read from for a while yet, and nobody waits for its end', async (t) => {
  const world = await annexWorld(t)
  const git = await GitRepository.open(await world.repository('here'), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  const stores = new Stores(annex, {
    allowAddresses: [],
    cacheFolder: world.folder,
    scratch: new Scratch(world.folder, privateRoom(1), silentLog),
    log: silentLog,
    forbid: () => false,
    closeReplacedAfter: 50,
  })
  const closed: string[] = []
  let onClosed: () => void = () => undefined
  const open = async (path: string): Promise<OpenRemote> => {
    const remote: AnnexRemote = {
      uuid: 'a-uuid',
      name: 'usb',
      kind: 'directory',
      cost: 100,
      trust: 'semitrusted',
      ignore: false,
      config: new Map([['directory', path]]),
      configured: true,
    }
    const opened = await stores.open(remote, () => ({
      open: async () => undefined,
      close: async () => {
        closed.push(path)
        onClosed()
        await new Promise(() => undefined)
      },
    }))
    assert.equal(await ask(opened), undefined)
    return opened
  }
  const first = await open('first')
  const itsEnd = new Promise<void>((resolve) => (onClosed = resolve))
  const second = await open('second')
  assert.deepEqual(closed, [])
  assert.equal(await ask(first), undefined)
  await Promise.all([itsEnd, sleep(60)])
  assert.deepEqual(closed, ['first'])
  await assert.rejects(ask(first), { code: 'ABORTED' })
  assert.equal(await ask(second), undefined)
  await open('third')
  await Promise.all([stores.close(), sleep(10)])
  assert.deepEqual(closed.sort(), ['first', 'second', 'third'])
  await annex.close()
  await git.close()
})

async function ask({ store }: OpenRemote): Promise<unknown> {
  const key = parseKey('WORM-s1--a')
  assert.ok(key)
  return store.open({ key, content: key }, new AbortController().signal)
}
