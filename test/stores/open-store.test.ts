import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseKey, type Key } from '../../lib/annex/key.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { privateRoom, Scratch } from '../../lib/cache/scratch.js'
import { AnnexfsError } from '../../lib/errors.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { sourcesForKey, type KeySources } from '../../lib/sources/annex.js'
import { LazyStore } from '../../lib/stores/lazy-store.js'
import { wayTo } from '../../lib/stores/open-store.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { Stores } from '../../lib/stores/stores.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer } from '../support/http.js'
import { startNginx } from '../support/nginx.js'
import { temporaryFolder } from '../support/temp.js'
import { readAll, spaceOf } from '../sources/contract.js'

function remoteOf(
  kind: string,
  options: Partial<Omit<AnnexRemote, 'config'>> & { settings?: Readonly<Record<string, string>> } = {},
): AnnexRemote {
  const { settings = {}, ...rest } = options
  return {
    uuid: '11111111-1111-1111-1111-111111111111',
    name: 'r',
    kind,
    cost: 200,
    trust: 'semitrusted',
    ignore: false,
    config: new Map(Object.entries(settings)),
    configured: true,
    ...rest,
  }
}

/** What becomes of a remote: the store's function, `git-annex`, or why it is not read from. */
function outcome(remote: AnnexRemote): string {
  const way = wayTo(remote)
  if ('unusable' in way) return way.unusable
  return way.byGitAnnex ? 'git-annex' : way.open.name
}

test('every kind of remote has its way', () => {
  const table: readonly (readonly [AnnexRemote, string])[] = [
    [remoteOf('directory', { directory: '/d' }), 'openDirectory'],
    [remoteOf('rsync'), 'rsyncStore'],
    [remoteOf('S3'), 's3Store'],
    [remoteOf('webdav'), 'webdavStore'],
    [remoteOf('httpalso'), 'httpalsoStore'],
    [remoteOf('git-lfs'), 'gitLfsStore'],
    [remoteOf('external'), 'externalStore'],
    [remoteOf('git', { directory: '/d', url: '/d' }), 'gitLocalStore'],
    [remoteOf('git', { url: 'https://h.example/r/.git' }), 'gitWebStore'],
    [remoteOf('git', { url: 'annex+https://h.example/git-annex/' }), 'gitWebStore'],
    [remoteOf('git', { url: 'ssh://h.example/r' }), 'gitSshStore'],
    [remoteOf('git', { url: 'h.example:r' }), 'gitSshStore'],
    [remoteOf('git', { url: 'git://h.example/r' }), 'git:// carries no annexed content'],
    [remoteOf('git', { url: 'tor-annex::x.onion:1' }), 'git-annex'],
    ...['adb', 'bup', 'borg', 'ddar', 'gcrypt', 'glacier', 'hook', 'tahoe', 'of-the-future'].map(
      (kind) => [remoteOf(kind), 'git-annex'] as const,
    ),
  ]
  for (const [remote, expected] of table) assert.equal(outcome(remote), expected, `${remote.kind} ${remote.url ?? ''}`)
})

test('of remotes that only the branch names, those that everybody can read from over the web are used', () => {
  const auto = (kind: string, settings: Readonly<Record<string, string>>, url?: string): string =>
    outcome(
      remoteOf(kind, {
        configured: false,
        settings: { autoenable: 'true', ...settings },
        ...(url === undefined ? {} : { url }),
      }),
    )
  assert.equal(auto('httpalso', { url: 'https://h.example/x' }), 'httpalsoStore')
  assert.equal(auto('httpalso', { url: 'https://h.example/x', encryption: 'shared' }), 'httpalsoStore')
  assert.equal(auto('S3', { public: 'yes', bucket: 'b' }), 's3Store')
  assert.equal(auto('S3', { publicurl: 'https://b.example' }), 's3Store')
  assert.equal(auto('git', {}, 'https://h.example/r.git'), 'gitWebStore')
  for (const [kind, settings, url] of [
    ['external', { externaltype: 'toy' }],
    ['directory', { directory: '/etc' }],
    ['rsync', { rsyncurl: '/etc' }],
    ['S3', { bucket: 'b' }],
    ['webdav', { url: 'https://h.example/x' }],
    ['httpalso', { url: 'file:///etc' }],
    ['hook', {}],
    ['git', {}, 'ssh://-oProxyCommand=x/y'],
    ['git', {}, '/etc'],
  ] as const) {
    assert.match(auto(kind, settings, url), /must be \(git annex enableremote r\)/, kind)
  }
  assert.match(auto('S3', { public: 'yes', encryption: 'hybrid' }), /needs a secret key/)
  const not = remoteOf('httpalso', { configured: false, settings: { url: 'https://h.example/x' } })
  assert.match(outcome(not), /is not enabled in this repository \(git annex enableremote r\)/)
})

test('a store that could not be opened is not asked for again at once; a closed one opens no more', async () => {
  let opened = 0
  const lazy = new LazyStore('r', () => {
    opened++
    return Promise.reject(new AnnexfsError('UNAVAILABLE', 'no disk'))
  })
  const key = parseKey('SHA256-s1--a')
  assert.ok(key)
  const signal = AbortSignal.timeout(60_000)
  const ask = async (store: ObjectStore): Promise<unknown> => store.open({ key, content: key }, signal)
  for (let count = 0; count < 3; count++) await assert.rejects(ask(lazy), { code: 'UNAVAILABLE', message: 'no disk' })
  assert.equal(opened, 1)
  await lazy.close()
  await assert.rejects(ask(lazy), { code: 'ABORTED' })
  const slow = new LazyStore('s', () => new Promise(() => undefined))
  const controller = new AbortController()
  setTimeout(() => controller.abort(), 50)
  await assert.rejects(slow.open({ key, content: key }, controller.signal), { code: 'ABORTED' })
})

const CONTENT = Buffer.alloc(300_000, 'content')

interface Open {
  readonly annex: AnnexRepository
  readonly stores: Stores
  readonly find: (key: Key) => Promise<KeySources>
}

async function opened(
  t: TestContext,
  world: AnnexWorld,
  repository: string,
  allow: readonly string[] = [],
): Promise<Open> {
  const git = await GitRepository.open(join(world.folder, repository), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  const cacheFolder = await temporaryFolder(t)
  const scratch = new Scratch(cacheFolder, privateRoom(64 * 1024 * 1024), silentLog)
  const stores = new Stores(annex, { allowAddresses: allow, cacheFolder, scratch, log: silentLog, forbid: () => false })
  t.after(async () => {
    await stores.close()
    await scratch.close()
    await annex.close()
    await git.close()
  })
  const find = async (key: Key): Promise<KeySources> => sourcesForKey({ annex, key, stores, log: silentLog })
  return { annex, stores, find }
}

async function reads(found: KeySources, name: string): Promise<boolean> {
  const source = found.sources.find((one) => one.name === name)
  assert.ok(source, `${name} of ${found.sources.map((one) => one.name).join(', ')}`)
  const holding = await source.find(spaceOf(CONTENT.length), AbortSignal.timeout(60_000))
  if (holding === undefined) return false
  return (await readAll(holding, { start: 0, end: CONTENT.length })).equals(CONTENT)
}

/** `origin` with `f`, that is in the directory remote `d` too, which nginx serves. */
async function published(t: TestContext): Promise<{ world: AnnexWorld; key: Key; url: string }> {
  const world = await annexWorld(t)
  const nginx = await startNginx(t, { root: world.folder })
  await world.repository('origin')
  await world.addAnnexed('origin', { f: CONTENT })
  await mkdir(join(world.folder, 'd'))
  await world.annex('origin', 'initremote', '--quiet', 'd', 'type=directory', 'directory=../d', 'encryption=none')
  await world.annex('origin', 'copy', '--quiet', '--to', 'd')
  const key = parseKey(await world.annex('origin', 'lookupkey', 'f'))
  assert.ok(key)
  return { world, key, url: nginx.url }
}

test(
  'a clone where git-annex never ran reads by autoenable; addresses go by its git configuration',
  { timeout: 180_000 },
  async (t) => {
    const { world, key, url } = await published(t)
    await world.annex(
      'origin',
      'initremote',
      '--quiet',
      '--sameas=d',
      'also',
      'type=httpalso',
      `url=${url}/d`,
      'autoenable=true',
    )
    await world.git('.', 'clone', '--quiet', 'origin', 'clone')
    await world.git('clone', 'remote', 'remove', 'origin')
    await world.git('clone', 'fetch', '--quiet', '../origin', 'git-annex:refs/remotes/o/git-annex')
    const refused = await (await opened(t, world, 'clone')).find(key)
    assert.deepEqual(
      refused.unsupported.map(({ source }) => source),
      ['d (directory)'],
    )
    await assert.rejects(reads(refused, 'also (httpalso)'), { code: 'FORBIDDEN' })
    await world.git('clone', 'config', 'annex.security.allowed-ip-addresses', '127.0.0.1')
    assert.equal(await reads(await (await opened(t, world, 'clone')).find(key), 'also (httpalso)'), true)
    await world.git('clone', 'config', 'remote.also.annex-ignore', 'true')
    const ignored = await (await opened(t, world, 'clone')).find(key)
    assert.deepEqual(ignored.sources, [])
  },
)

test('headers and the user agent of the git configuration go with every request', { timeout: 180_000 }, async (t) => {
  const { world, key } = await published(t)
  const server = await httpServer(t, (_, response) =>
    response.writeHead(200, { 'content-length': CONTENT.length }).end(CONTENT),
  )
  await world.annex('origin', 'registerurl', key.raw, `${server.url}/f`)
  await world.git('origin', 'config', 'annex.http-headers', 'X-Mine: yes')
  await world.git('origin', 'config', 'annex.user-agent', 'mine/1')
  const found = await (await opened(t, world, 'origin', ['127.0.0.0/8'])).find(key)
  assert.equal(await reads(found, `web (${server.url}/f)`), true)
  const { headers } = server.requests.at(-1) ?? {}
  assert.deepEqual([headers?.['x-mine'], headers?.['user-agent']], ['yes', 'mine/1'])
  await world.git('origin', 'config', 'annex.security.allowed-url-schemes', 'https')
  const strict = await (await opened(t, world, 'origin', ['127.0.0.0/8'])).find(key)
  assert.deepEqual(
    strict.unsupported.map(({ source, reason }) => [source, /allowed-url-schemes/.test(reason)]),
    [[`web (${server.url}/f)`, true]],
  )
})

test(
  'a remote that is configured anew is opened anew, without opening the repository again',
  { timeout: 180_000 },
  async (t) => {
    const { world, key } = await published(t)
    await world.git('origin', 'config', 'remote.d.annex-directory', join(world.folder, 'nowhere'))
    const { annex, find } = await opened(t, world, 'origin')
    await assert.rejects(reads(await find(key), 'd (directory)'), { code: 'UNAVAILABLE', message: /nowhere/ })
    await new Promise((resolve) => setTimeout(resolve, 20))
    await world.git('origin', 'config', 'remote.d.annex-directory', join(world.folder, 'd'))
    assert.equal(await annex.changed(), true)
    assert.equal(await reads(await find(key), 'd (directory)'), true)
  },
)

/** A file of a folder that git-annex imported, last written at `time` (or now). */
async function imported(t: TestContext, time?: string): Promise<{ world: AnnexWorld; key: Key }> {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.git('r', 'commit', '--quiet', '--allow-empty', '-m', 'start')
  await world.write('.', 'd/sub/f', CONTENT)
  if (time !== undefined) await world.run('.', 'touch', ['-d', time, 'd/sub/f'])
  const settings = ['type=directory', 'directory=../d', 'encryption=none', 'importtree=yes', 'exporttree=yes']
  await world.annex('r', 'initremote', '--quiet', 'd', ...settings)
  await world.annex('r', 'import', '--quiet', 'main', '--from', 'd')
  await world.git('r', 'merge', '--quiet', '--allow-unrelated-histories', 'd/main')
  const key = parseKey(await world.annex('r', 'lookupkey', 'sub/f'))
  assert.ok(key)
  return { world, key }
}

for (const [when, time] of [
  ['at a full second', '2026-11-01 10:00:00'],
  ['with a few digits behind the second', '2026-11-01 10:00:00.0123'],
] as const) {
  test(`a file that was imported as written ${when} is read`, { timeout: 180_000 }, async (t) => {
    const { world, key } = await imported(t, time)
    const { find } = await opened(t, world, 'r')
    assert.equal(await reads(await find(key), 'd (directory)'), true)
    await world.run('.', 'touch', ['-d', '2026-11-01 10:00:00.00123', 'd/sub/f'])
    await assert.rejects(reads(await find(key), 'd (directory)'), { code: 'CORRUPT' })
  })
}

test('imported files that have changed since are not read', { timeout: 180_000 }, async (t) => {
  const { world, key } = await imported(t)
  const { find } = await opened(t, world, 'r')
  assert.equal(await reads(await find(key), 'd (directory)'), true)
  // Moved with its time: still the same. Written again: something else.
  await world.run('.', 'sh', ['-c', 'cp -p d/sub/f d/x && mv d/x d/sub/f'])
  assert.equal(await reads(await find(key), 'd (directory)'), true)
  await world.write('.', 'd/sub/f', CONTENT)
  await assert.rejects(reads(await find(key), 'd (directory)'), {
    code: 'CORRUPT',
    message: /changed since it was imported/,
  })
})

test('of many remotes of one name each has a name of its own', { timeout: 180_000 }, async (t) => {
  const { world, key } = await published(t)
  const uuid = await world.git('origin', 'config', 'remote.d.annex-uuid')
  const [one, two] = ['33333333-3333-3333-3333-333333333333', '44444444-4444-4444-4444-444444444444']
  const remembered = (id: string): string =>
    `${id} autoenable=true sameas-name=x sameas-uuid=${uuid} type=httpalso url=http://127.0.0.1:1/ timestamp=9s\n`
  await world.write('origin', '.git/annex/journal/remote.log', `${remembered(one ?? '')}${remembered(two ?? '')}`)
  const found = await (await opened(t, world, 'origin')).find(key)
  const names = found.sources.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
  assert.deepEqual(names, ['d (directory)', 'x (httpalso)', `x (httpalso, ${two})`])
})
