import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, test, type TestContext } from 'node:test'
import { keyFile, parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexfsError } from '../../lib/errors.js'
import type { ObjectStore, StoredObject } from '../../lib/stores/store.js'
import { readAll, sourceContract, spaceOf } from './contract.js'
import { reads, RemoteWorld } from './remote-key-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

type Life = Pick<TestContext, 'after'>

async function one(t: Life, ...settings: string[]): Promise<{ world: RemoteWorld; content: Buffer; key: Key }> {
  const world = await RemoteWorld.make(t)
  const content = randomBytes(550_000)
  await world.annex.addAnnexed('here', { 'f.bin': content })
  await world.initremote('d', ...settings)
  await world.copy('d', 'f.bin')
  return { world, content, key: await world.keyOf('f.bin') }
}

for (const [kind, ...settings] of [
  ['a remote with chunks', 'encryption=none', 'chunk=100KB'],
  ['an encrypted remote with chunks', 'encryption=shared', 'chunk=200KB'],
  ['an encrypted remote without chunks', 'encryption=shared'],
] as const) {
  let made: ReturnType<typeof one> | undefined
  const cleanups: (() => unknown)[] = []
  after(async () => {
    for (const cleanup of cleanups) await cleanup()
  })
  const life: Life = { after: (cleanup) => void cleanups.push(cleanup as () => unknown) }
  sourceContract(kind, async (t) => {
    // One for all tests of the contract, which only read.
    made ??= one(life, ...settings)
    const { world, content, key } = await made
    return { source: await world.source(await world.open(t), 'd', key), content }
  })
}

test(
  'several chunk sizes and a whole object left over: any that is complete is read',
  { timeout: 180_000 },
  async (t) => {
    const { world, content, key } = await one(t, 'encryption=none', 'chunk=100KB')
    const uuid = await world.annex.git('here', 'config', 'remote.d.annex-uuid')
    const again = async (setting: string): Promise<void> => {
      await world.annex.annex('here', 'enableremote', '--quiet', 'd', `directory=${world.folder('d')}`, setting)
      await world.annex.annex('here', 'setpresentkey', key.raw, uuid, '0')
      await rm(world.folder('away'), { recursive: true, force: true })
      // git-annex would find the chunks that are there already.
      await world.annex.run('.', 'mv', [world.folder('d'), world.folder('away')])
      await world.annex.run('.', 'mkdir', [world.folder('d')])
      await world.copy('d', 'f.bin')
      await world.annex.run('.', 'cp', ['-a', `${world.folder('away')}/.`, world.folder('d')])
    }
    await again('chunk=64KiB')
    await again('chunk=0')
    const annex = await world.open()
    assert.equal((await annex.stateOf(key, '.log.cnk')).size, 2)
    const labels = { whole: keyFile(key), small: '-S65536-', large: '-S100000-' }
    const removed = async (part: string): Promise<void> => {
      for (const file of await filesOf(world.folder('d'))) {
        const matches = part === labels.whole ? file.endsWith(part) && !file.includes('-S') : file.includes(part)
        if (matches) await world.annex.run('.', 'rm', ['-f', file])
      }
    }
    assert.ok(await reads(await world.source(annex, 'd', key), content), 'all are there')
    await removed(labels.whole)
    assert.ok(await reads(await world.source(annex, 'd', key), content), 'two lists')
    await removed(labels.small)
    assert.ok(await reads(await world.source(annex, 'd', key), content), 'the larger chunks')
    await removed(labels.large)
    assert.equal(await reads(await world.source(annex, 'd', key), content), false)
  },
)

test('chunks that no log records are found by the setting of the remote', { timeout: 180_000 }, async (t) => {
  const { world, content, key } = await one(t, 'encryption=shared', 'chunk=100KB')
  const annex = await world.open()
  annex.stateOf = () => Promise.resolve(new Map())
  assert.ok(await reads(await world.source(annex, 'd', key), content))
})

for (const encryption of ['none', 'shared']) {
  test(`chunks of old versions are read (encryption=${encryption})`, { timeout: 180_000 }, async (t) => {
    const { world, content, key } = await one(t, `encryption=${encryption}`, 'chunksize=100KB')
    assert.ok((await filesOf(world.folder('d'))).some((file) => file.endsWith('.chunk2')))
    assert.ok(await reads(await world.source(await world.open(), 'd', key), content))
  })
}

test('names are made with each MAC that git-annex has', { timeout: 180_000 }, async (t) => {
  const world = await RemoteWorld.make(t)
  const content = randomBytes(1000)
  await world.annex.addAnnexed('here', { 'f.bin': content })
  const macs = ['HMACSHA1', 'HMACSHA224', 'HMACSHA256', 'HMACSHA384', 'HMACSHA512']
  for (const mac of macs) {
    await world.initremote(mac, 'encryption=shared', `mac=${mac}`)
    await world.copy(mac, 'f.bin')
  }
  const annex = await world.open()
  const key = await world.keyOf('f.bin')
  for (const mac of macs) assert.ok(await reads(await world.source(annex, mac, key), content), mac)
})

test('keys beyond ASCII are found whichever locale they were stored under', { timeout: 180_000 }, async (t) => {
  const world = await RemoteWorld.make(t)
  const content = randomBytes(150_000)
  await world.annex.addAnnexed('here', { 'x.é': content })
  const raw = (await world.annex.git('here', 'annex', 'lookupkey', 'x.é')).trim()
  const key = parseKey(Buffer.from(raw).toString('latin1'))
  assert.ok(key)
  assert.ok(key.raw.endsWith('\xc3\xa9'))
  for (const [remote, locale] of [
    ['utf8', 'C.UTF-8'],
    ['c', 'C'],
  ] as const) {
    await world.initremote(remote, 'encryption=shared', 'chunk=100KB')
    await world.annex.run('here', 'git', ['annex', 'copy', '--quiet', '--to', remote, '--all'], {
      env: { LC_ALL: locale },
    })
  }
  const [inUtf8, inC] = await Promise.all(['utf8', 'c'].map((name) => filesOf(world.folder(name))))
  assert.equal(inUtf8?.length, 2)
  assert.equal(inC?.length, 2)
  const annex = await world.open()
  for (const remote of ['utf8', 'c']) assert.ok(await reads(await world.source(annex, remote, key), content), remote)
})

test('files of an exported tree are read by their paths', { timeout: 180_000 }, async (t) => {
  const world = await RemoteWorld.make(t)
  const content = randomBytes(300_000)
  await world.annex.addAnnexed('here', { 'sub/f é.bin': content })
  await world.initremote('x', 'encryption=none', 'exporttree=yes')
  await world.annex.annex('here', 'export', '--quiet', 'main', '--to', 'x')
  const annex = await world.open()
  const key = await world.keyOf('sub/f é.bin')
  const paths = [Buffer.from('elsewhere'), Buffer.from('sub/f é.bin')]
  assert.ok(await reads(await world.source(annex, 'x', key, { paths }), content))
  assert.equal(await reads(await world.source(annex, 'x', key, { paths: [] }), content), false)
  await writeFile(join(world.folder('x'), 'sub/f é.bin'), 'replaced')
  await assert.rejects(reads(await world.source(annex, 'x', key, { paths }), content), { code: 'CORRUPT' })
  const worm = parseKey('WORM-s300000-m1--f')
  assert.ok(worm)
  await assert.rejects(reads(await world.source(annex, 'x', worm, { paths }), content), { code: 'FORBIDDEN' })
})

/** As HTTP stores do it: every object opens, and reads tell that it is not there. */
function unasked(store: ObjectStore): ObjectStore {
  return {
    open: (name) => {
      const found = async (signal: AbortSignal): Promise<StoredObject> => {
        const object = await store.open(name, signal)
        if (object === undefined) throw new AnnexfsError('NOT_FOUND', 'status 404')
        return object
      }
      return Promise.resolve({
        unit: 4096,
        longest: 1_000_000,
        parallel: 4,
        read: async function* (range, demand) {
          yield* (await found(demand.signal)).read(range, demand)
        },
        all: async function* (most, demand) {
          yield* (await found(demand.signal)).all(most, demand)
        },
      })
    },
  }
}

test(
  'a store that opens what it has not shows it at the first read, and the next place is taken',
  { timeout: 180_000 },
  async (t) => {
    for (const settings of [
      ['encryption=none', 'chunk=100KB'],
      ['encryption=shared', 'chunk=100KB'],
      ['encryption=none'],
    ]) {
      const { world, content, key } = await one(t, ...settings)
      const annex = await world.open()
      // Without `chunk=` the whole is looked for first.
      const change = <T extends { config: ReadonlyMap<string, string> }>(remote: T): T => ({
        ...remote,
        config: new Map([...remote.config].filter(([name]) => name !== 'chunk')),
      })
      assert.ok(await reads(await world.source(annex, 'd', key, { change, wrap: unasked }), content))
      for (const file of await filesOf(world.folder('d'))) await world.annex.run('.', 'rm', ['-f', file])
      const source = await world.source(annex, 'd', key, { change, wrap: unasked })
      const holding = await source.find(spaceOf(content.length), soon())
      assert.ok(holding)
      await assert.rejects(readAll(holding, { start: 0, end: 10 }), { code: 'UNAVAILABLE' })
    }
  },
)

test(
  'what cannot be checked is not taken from an encrypted remote unless the user allows it',
  { timeout: 180_000 },
  async (t) => {
    const { world } = await one(t, 'encryption=shared')
    const content = randomBytes(1000)
    await world.annex.write('here', 'w.bin', content)
    await world.annex.annex('here', 'add', '--quiet', '--backend=WORM', 'w.bin')
    await world.copy('d', 'w.bin')
    const key = await world.keyOf('w.bin')
    assert.equal(key.backend, 'WORM')
    await assert.rejects(reads(await world.source(await world.open(), 'd', key), content), {
      code: 'FORBIDDEN',
      message: /ACKTHPPT/,
    })
    const change = <T extends { config: ReadonlyMap<string, string> }>(remote: T): T => ({
      ...remote,
      config: new Map([...remote.config, ['annex-security-allow-unverified-downloads', 'ACKTHPPT']]),
    })
    await assert.rejects(reads(await world.source(await world.open(), 'd', key, { change }), content), {
      code: 'FORBIDDEN',
    })
    for (const name of [
      'remote.d.annex-security-allow-unverified-downloads',
      'annex.security.allow-unverified-downloads',
    ]) {
      await world.annex.git('here', 'config', name, 'ACKTHPPT')
      assert.ok(await reads(await world.source(await world.open(), 'd', key), content))
      await world.annex.git('here', 'config', '--unset', name)
    }
  },
)
