import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rename, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { gitLocalStore } from '../../lib/stores/git-local.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { readObject, storeContract } from './store-contract.js'

type Life = Parameters<typeof annexWorld>[0]

const CONTENT = randomBytes(700_000)
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface Made {
  readonly world: AnnexWorld
  readonly key: Key
  readonly absent: Key
}

/** `here`, a clone of the repository `origin` or of its bare copy, which has one annexed file. */
async function cloned(t: Life, bare: boolean): Promise<Made> {
  const world = await annexWorld(t)
  await world.repository('origin')
  await world.addAnnexed('origin', { 'f.bin': CONTENT })
  if (bare) {
    await world.git('.', 'clone', '--quiet', '--bare', 'origin', 'bare')
    await world.annex('bare', 'init', '--quiet', 'bare')
    await world.git('origin', 'remote', 'add', 'bare', '../bare')
    await world.annex('origin', 'copy', '--quiet', '--to', 'bare')
  }
  await world.git('.', 'clone', '--quiet', bare ? 'bare' : 'origin', 'here')
  await world.annex('here', 'init', '--quiet', 'here')
  const key = parseKey(await world.annex('origin', 'lookupkey', 'f.bin'))
  const absent = parseKey('SHA256-s5--absent')
  assert.ok(key && absent)
  return { world, key, absent }
}

async function storeOf(
  t: Life,
  world: AnnexWorld,
  forbid: (path: string) => boolean = () => false,
): Promise<ObjectStore> {
  const git = await GitRepository.open(join(world.folder, 'here'), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  t.after(async () => {
    await annex.close()
    await git.close()
  })
  const remote = (await annex.remotes()).find(({ name }) => name === 'origin')
  assert.ok(remote)
  return gitLocalStore({ remote, annex, forbid, log: silentLog })
}

for (const bare of [false, true]) {
  const cleanups: (() => unknown)[] = []
  after(async () => {
    for (const cleanup of cleanups) await cleanup()
  })
  let made: Promise<Made> | undefined
  storeContract(bare ? 'bare git remote' : 'git remote', async (t) => {
    // One for all tests of the contract, which only read.
    made ??= cloned({ after: (cleanup) => void cleanups.push(cleanup as () => unknown) }, bare)
    const { world, key, absent } = await made
    return {
      store: await storeOf(t, world),
      name: { key, content: key, size: CONTENT.length },
      content: CONTENT,
      absent: { key: absent, content: absent, size: 5 },
    }
  })
}

test(
  'a folder where another repository lies by now is not read, until the right one is back',
  { timeout: 180_000 },
  async (t) => {
    const { world, key } = await cloned(t, false)
    const store = await storeOf(t, world)
    const name = { key, content: key }
    const uuid = await world.git('origin', 'config', 'annex.uuid')
    await world.git('origin', 'config', 'annex.uuid', '11111111-2222-3333-4444-555555555555')
    await assert.rejects(store.open(name, soon()), { code: 'UNAVAILABLE', message: /11111111.*not/ })
    await rename(join(world.folder, 'origin'), join(world.folder, 'away'))
    await assert.rejects(store.open(name, soon()), { code: 'UNAVAILABLE', message: /is its disk mounted/ })
    await rename(join(world.folder, 'away'), join(world.folder, 'origin'))
    await world.git('origin', 'config', 'annex.uuid', uuid)
    const object = await store.open(name, soon())
    assert.ok(object)
    t.after(() => object.close?.())
    assert.ok((await readObject(object, { start: 7, end: 1000 })).equals(CONTENT.subarray(7, 1000)))
  },
)

test(
  'a remote that was never asked for its uuid is read when the location log names it',
  { timeout: 180_000 },
  async (t) => {
    const { world, key, absent } = await cloned(t, false)
    await world.git('here', 'config', '--unset', 'remote.origin.annex-uuid')
    const git = await GitRepository.open(join(world.folder, 'here'), silentLog)
    const annex = await AnnexRepository.open(git, silentLog)
    t.after(async () => {
      await annex.close()
      await git.close()
    })
    const remote = (await annex.remotes()).find(({ name }) => name === 'origin')
    assert.ok(remote)
    const store = gitLocalStore({ remote: { ...remote, uuid: '' }, annex, forbid: () => false, log: silentLog })
    const object = await store.open({ key, content: key }, soon())
    assert.ok(object)
    object.close?.()
    await assert.rejects(store.open({ key: absent, content: absent }, soon()), { code: 'UNAVAILABLE' })
  },
)

test('goal 12: objects that a link puts inside the mount are not read', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t, false)
  const inside = join(world.folder, 'mount')
  await rename(join(world.folder, 'origin/.git/annex/objects'), inside)
  await symlink(inside, join(world.folder, 'origin/.git/annex/objects'))
  const open = await (await storeOf(t, world)).open({ key, content: key }, soon())
  assert.ok(open, 'objects may lie elsewhere')
  open.close?.()
  const store = await storeOf(t, world, (path) => path.startsWith(inside))
  assert.equal(await store.open({ key, content: key }, soon()), undefined)
})

test('linked work trees and tuned hash directories are read', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t, false)
  await world.git('origin', 'branch', 'side')
  await world.git('origin', 'worktree', 'add', '--quiet', '../linked', 'side')
  await world.git('here', 'remote', 'set-url', 'origin', join(world.folder, 'linked'))
  const object = await (await storeOf(t, world)).open({ key, content: key }, soon())
  assert.ok(object)
  object.close?.()
  const tuned = await annexWorld(t)
  await tuned.repository('origin', { plain: true })
  await tuned.run('origin', 'git', [
    '-c',
    'annex.tune.objecthash1=true',
    '-c',
    'annex.tune.objecthashlower=true',
    'annex',
    'init',
    '--quiet',
    'o',
  ])
  await tuned.addAnnexed('origin', { 'f.bin': CONTENT })
  await tuned.git('.', 'clone', '--quiet', 'origin', 'here')
  const found = await (await storeOf(t, tuned)).open({ key, content: key, size: CONTENT.length }, soon())
  assert.ok(found, 'hash directories of one level')
  found.close?.()
})
