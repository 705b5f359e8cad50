import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { appendFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { hashDirLower, hashDirMixed } from '../../lib/annex/hash-dirs.js'
import { keyFile, type Key } from '../../lib/annex/key.js'
import { isAnnexfsError } from '../../lib/errors.js'
import type { StoreContext } from '../../lib/stores/context.js'
import { rsyncDaemonStore } from '../../lib/stores/rsync-daemon.js'
import { rsyncPlace } from '../../lib/stores/rsync-url.js'
import { rsyncStore } from '../../lib/stores/rsync.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { measured } from '../support/marks.js'
import { startRsyncDaemon } from '../support/rsync-daemon.js'
import { startSshd, type SshdOptions } from '../support/sshd.js'
import { addOddKey, bytesOf, contents, contextOf, environment, keyOf, keysOf, named } from './ssh-world.js'
import { storeContract } from './store-contract.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)
const ODD = ['WORM-s9-m5--a b&c%d:e/f', "WORM-s9-m6--x'y$(z)é[a]*?.txt", 'URL--http://h/-x?a=%20b;']

interface Setup {
  readonly world: AnnexWorld
  /** The folder of the remote. */
  readonly folder: string
  readonly keys: ReadonlyMap<string, Key>
  readonly files: Readonly<Record<string, Buffer>>
  readonly context: (url: string) => Promise<StoreContext>
}

/** A repository that stored its content in an rsync remote in a folder; `url` says how it is reached later. */
async function setUp(t: TestContext, options: { exporttree?: boolean } = {}): Promise<Setup> {
  const world = await annexWorld(t)
  await world.repository('here')
  const files = contents()
  await world.addAnnexed('here', files)
  const keys = new Map(await keysOf(world, 'here', Object.keys(files)))
  const folder = join(world.folder, 'store')
  await mkdir(folder)
  const tree = options.exporttree === true ? ['exporttree=yes'] : []
  await world.annex(
    'here',
    'initremote',
    '--quiet',
    'r',
    'type=rsync',
    `rsyncurl=${folder}`,
    'encryption=none',
    ...tree,
  )
  if (options.exporttree === true) await world.annex('here', 'export', '--quiet', 'main', '--to', 'r')
  else {
    for (const raw of ODD) {
      keys.set(raw, await addOddKey(world, 'here', raw, Buffer.from('odd bytes')))
      files[raw] = Buffer.from('odd bytes')
    }
    await world.annex('here', 'copy', '--quiet', '--to', 'r', '--all')
  }
  const context = async (url: string): Promise<StoreContext> => {
    await world.git('here', 'config', 'remote.r.annex-rsyncurl', url)
    return contextOf(t, world, 'here', 'r')
  }
  return { world, folder, keys, files, context }
}

async function behindSsh(t: TestContext, folder: string, options: SshdOptions): Promise<string> {
  const sshd = await startSshd(t, options)
  environment(t, { GIT_SSH_COMMAND: sshd.command })
  return `${sshd.user}@[${sshd.host}:${sshd.port}]:${folder}`
}

const ABSENT = keyOf('SHA256E-s1--absent')

for (const [kind, options] of [
  ['rsync, local', undefined],
  ['rsync, ssh with sftp', {}],
  ['rsync, ssh without sftp', { sftp: false }],
] as readonly [string, SshdOptions | undefined][]) {
  const storeOf = async (t: TestContext, setup: Setup): ReturnType<typeof rsyncStore> => {
    const url = options === undefined ? setup.folder : await behindSsh(t, setup.folder, options)
    const store = await rsyncStore(await setup.context(url))
    t.after(() => store.close())
    return store
  }

  storeContract(kind, async (t) => {
    const world = await annexWorld(t)
    await world.repository('here', { plain: true })
    const content = randomBytes(1_500_000)
    const key = keyOf(`SHA256E-s${content.length}--made.bin`)
    await world.write('store', `${hashDirLower(key)}${keyFile(key)}/${keyFile(key)}`, content)
    const folder = join(world.folder, 'store')
    const url = options === undefined ? folder : await behindSsh(t, folder, options)
    await world.git('here', 'config', 'remote.r.annex-rsyncurl', url)
    const store = await rsyncStore(await contextOf(t, world, 'here', 'r'))
    return { store, name: named(key), content, absent: named(ABSENT) }
  })

  test(`${kind}: all that git-annex stored there, whatever its name`, { timeout: 180_000 }, async (t) => {
    const setup = await setUp(t)
    const store = await storeOf(t, setup)
    for (const [name, content] of Object.entries(setup.files)) {
      const key = setup.keys.get(name)
      assert.ok(key)
      const object = await store.open(named(key), soon())
      assert.ok(object, name)
      assert.equal(object.size, content.length)
      assert.ok((await bytesOf(object, { start: 0, end: content.length })).equals(content), name)
      object.close?.()
    }
    // As old versions of git-annex stored it, and a name that is no UTF-8.
    const raw = Buffer.concat([Buffer.from('WORM-s9-m7--'), Buffer.from([0xe9, 0xff])]).toString('latin1')
    const key = { ...ABSENT, raw, backend: 'WORM', name: raw.slice(12), size: 9 }
    const within = `${hashDirMixed(key)}${keyFile(key)}`
    await mkdir(Buffer.from(`${Buffer.from(setup.folder).toString('latin1')}/${within}`, 'latin1'), { recursive: true })
    const file = `${Buffer.from(setup.folder).toString('latin1')}/${within}/${keyFile(key)}`
    await writeFile(Buffer.from(file, 'latin1'), 'odd bytes')
    const object = await store.open(named(key), soon())
    assert.ok(object)
    assert.equal((await bytesOf(object, { start: 4, end: 9 })).toString(), 'bytes')
  })

  test(`${kind}: a file that has changed is an error, not a mixture`, { timeout: 180_000 }, async (t) => {
    const setup = await setUp(t, { exporttree: true })
    const store = await storeOf(t, setup)
    const key = setup.keys.get('some.bin')
    assert.ok(key)
    const name = { ...named(key), path: Buffer.from('some.bin') }
    const object = await store.open(name, soon())
    assert.ok(object)
    await appendFile(join(setup.folder, 'some.bin'), 'more')
    await assert.rejects(bytesOf(object, { start: 0, end: 100_003 }), (error) => isAnnexfsError(error, 'CORRUPT'))
    await assert.rejects(store.open(name, soon()), (error) => isAnnexfsError(error, 'CORRUPT'))
  })

  test(`${kind}: an exported tree, and nothing outside of it`, { timeout: 180_000 }, async (t) => {
    const setup = await setUp(t, { exporttree: true })
    const store = await storeOf(t, setup)
    for (const [name, content] of Object.entries(setup.files)) {
      const key = setup.keys.get(name)
      assert.ok(key)
      const object = await store.open({ ...named(key), path: Buffer.from(name) }, soon())
      assert.ok(object, name)
      assert.ok((await bytesOf(object, { start: 0, end: content.length })).equals(content), name)
    }
    await writeFile(join(setup.world.folder, 'secret'), 'x')
    for (const path of ['../secret', 'a/../../secret', '/etc/passwd', '', './one.bin']) {
      const opened = store.open({ ...named(ABSENT, 1), path: Buffer.from(path) }, soon())
      await assert.rejects(opened, (error) => isAnnexfsError(error, 'INVALID'), path)
    }
  })
}

test('places are told apart as rsync does', () => {
  const place = (url: string, configured = true): unknown => {
    const remote = { uuid: 'u', name: 'r', kind: 'rsync', cost: 200, trust: 'semitrusted', ignore: false } as const
    return rsyncPlace({ ...remote, configured, config: new Map([['annex-rsyncurl', url]]) })
  }
  assert.deepEqual(place('/a/b:c'), { how: 'local', path: '/a/b:c' })
  assert.deepEqual(place('h:/a'), { how: 'ssh', url: 'h:/a' })
  assert.deepEqual(place('me@[::1]:a'), { how: 'ssh', url: 'me@[::1]:a' })
  assert.deepEqual(place('h::m/a'), { how: 'daemon', url: 'rsync://h/m/a' })
  assert.deepEqual(place('rsync://h:1/m'), { how: 'daemon', url: 'rsync://h:1/m' })
  for (const url of ['', '-e sh', 'h:/a\nb'])
    assert.throws(
      () => place(url),
      (error) => isAnnexfsError(error, 'INVALID'),
      url,
    )
  assert.throws(
    () => place('/etc', false),
    (error) => isAnnexfsError(error, 'FORBIDDEN'),
  )
})

test('a folder inside the mount is refused', { timeout: 180_000 }, async (t) => {
  const { folder, context } = await setUp(t)
  const store = await rsyncStore({ ...(await context(folder)), forbid: (path) => path.startsWith(folder) })
  await assert.rejects(store.open(named(ABSENT), soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
})

test(
  'rsync daemon: whole objects, whatever their names, and none that is not there',
  { timeout: 180_000 },
  async (t) => {
    const { world, folder, keys, files, context } = await setUp(t)
    const store = await rsyncDaemonStore(await context(await startRsyncDaemon(t, folder)))
    t.after(() => store.close?.())
    for (const [index, [name, content]] of Object.entries(files).entries()) {
      const key = keys.get(name)
      assert.ok(key)
      assert.equal(await store.has(named(key), soon()), true, name)
      const file = join(world.folder, `got ${index}`)
      let told = 0
      await store.retrieve(named(key), file, { signal: soon(), progress: (bytes) => (told = bytes) })
      assert.ok((await readFile(file)).equals(content), name)
      assert.equal(told, content.length)
      assert.equal((await stat(file)).mode & 0o777, 0o600)
    }
    const got = store.retrieve(named(ABSENT), join(world.folder, 'none'), { signal: soon(), progress: () => undefined })
    await assert.rejects(got, (error) => isAnnexfsError(error, 'NOT_FOUND'))
    assert.equal(await store.has(named(ABSENT), soon()), false)
  },
)

test(
  'rsync daemon: goes on where an earlier try ended, and mends what was wrong there',
  { timeout: 180_000 },
  async (t) => {
    const { world, folder, keys, files, context } = await setUp(t)
    const store = await rsyncDaemonStore(await context(await startRsyncDaemon(t, folder)))
    const [key, content] = [keys.get('large.bin'), files['large.bin']]
    assert.ok(key && content)
    const file = join(world.folder, 'got')
    for (const beginning of [content.subarray(0, 3_000_000), randomBytes(3_000_000), randomBytes(6_000_000)]) {
      await writeFile(file, beginning)
      await store.retrieve(named(key), file, { signal: soon(), progress: () => undefined })
      assert.ok((await readFile(file)).equals(content))
      await rm(file)
    }
    const other = store.retrieve(named(key, 100), file, { signal: soon(), progress: () => undefined })
    await assert.rejects(other, (error) => isAnnexfsError(error, 'CORRUPT'))
  },
)

test(
  'rsync daemon: an exported tree; a password from the environment, seen nowhere',
  { timeout: 180_000 },
  async (t) => {
    const { world, folder, keys, files, context } = await setUp(t, { exporttree: true })
    const url = await startRsyncDaemon(t, folder, { password: 'canary' })
    const store = await rsyncDaemonStore(await context(url))
    const key = keys.get('some.bin')
    assert.ok(key)
    const name = { ...named(key), path: Buffer.from('some.bin') }
    await assert.rejects(store.has(name, soon()), (error) => {
      assert.ok(isAnnexfsError(error, 'UNAVAILABLE'), String(error))
      return !error.message.includes('canary')
    })
    environment(t, { RSYNC_PASSWORD: 'canary' })
    const file = join(world.folder, 'got')
    await store.retrieve(name, file, { signal: soon(), progress: () => undefined })
    assert.ok((await readFile(file)).equals(files['some.bin'] ?? Buffer.alloc(0)))
  },
)

test('rsync daemon: a fired signal ends the transfer, and no process is left', { timeout: 180_000 }, async (t) => {
  const { world, folder, keys, context } = await setUp(t)
  const store = await rsyncDaemonStore(await context(await startRsyncDaemon(t, folder, { bandwidth: 200 })))
  const key = keys.get('large.bin')
  assert.ok(key)
  const stop = new AbortController()
  const started = performance.now()
  let told = 0
  const progress = (bytes: number): void => {
    told = bytes
    if (bytes > 0) stop.abort()
  }
  const got = store.retrieve(named(key), join(world.folder, 'got'), { signal: stop.signal, progress })
  await assert.rejects(got, (error) => isAnnexfsError(error, 'ABORTED'))
  assert.ok(told > 0 && told < 5_000_000)
  measured(t, 'ended after', performance.now() - started, { mark: 5000, alarm: 60_000 })
})

test('rsync daemon: ranges come out of whole transfers', { timeout: 180_000 }, async (t) => {
  const { folder, keys, files, context } = await setUp(t)
  const store = await rsyncStore(await context(await startRsyncDaemon(t, folder)))
  t.after(() => store.close())
  const [key, content] = [keys.get('large.bin'), files['large.bin']]
  assert.ok(key && content)
  const object = await store.open(named(key), soon())
  assert.ok(object?.whole)
  const range = { start: 3_000_000, end: 3_100_000 }
  assert.ok((await bytesOf(object, range)).equals(content.subarray(range.start, range.end)))
})
