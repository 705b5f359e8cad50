import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, realpath, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { hashDirLower, hashDirMixed } from '../../lib/annex/hash-dirs.js'
import { keyFile, parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { privateRoom, Scratch } from '../../lib/cache/scratch.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { sourcesForKey, type KeySources } from '../../lib/sources/annex.js'
import { ownDisk } from '../../lib/sources/disk.js'
import { annexUuid, foreignRepository } from '../../lib/sources/git-remote.js'
import type { Source } from '../../lib/sources/source.js'
import { Stores, type StoresOptions } from '../../lib/stores/stores.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, misbehaving } from '../support/http.js'
import { startNginx } from '../support/nginx.js'
import { until } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'
import { readAll, spaceOf } from './contract.js'

const CONTENT = randomBytes(200_000)

/** Repository `origin` with one annexed file, and `here`, a clone of it without content. */
async function cloned(t: TestContext, bare = false): Promise<{ world: AnnexWorld; key: Key }> {
  const world = await annexWorld(t)
  await world.repository('origin')
  await world.addAnnexed('origin', { 'f.bin': CONTENT })
  const from = bare ? 'bare' : 'origin'
  if (bare) {
    await world.git('.', 'clone', '--quiet', '--bare', 'origin', 'bare')
    await world.annex('bare', 'init', '--quiet', 'bare')
    await world.git('origin', 'remote', 'add', 'bare', '../bare')
    await world.annex('origin', 'copy', '--quiet', '--to', 'bare')
  }
  await world.git('.', 'clone', '--quiet', from, 'here')
  await world.annex('here', 'init', '--quiet', 'here')
  const key = parseKey(await world.annex('origin', 'lookupkey', 'f.bin'))
  assert.ok(key)
  return { world, key }
}

type Options = Partial<Pick<StoresOptions, 'forbid' | 'log' | 'allowAddresses'>>

async function sources(t: TestContext, world: AnnexWorld, key: Key, options: Options = {}): Promise<KeySources> {
  const git = await GitRepository.open(join(world.folder, 'here'), silentLog)
  const annex = await AnnexRepository.open(git, silentLog)
  const { log = silentLog, forbid = () => false, allowAddresses = ['127.0.0.0/8'] } = options
  const cacheFolder = await temporaryFolder(t)
  const scratch = new Scratch(cacheFolder, privateRoom(64 * 1024 * 1024), log)
  const stores = new Stores(annex, { allowAddresses, cacheFolder, scratch, log, forbid })
  t.after(async () => {
    await stores.close()
    await scratch.close()
    await annex.close()
    await git.close()
  })
  const found = await sourcesForKey({ annex, key, stores, log })
  t.after(() => found.sources.forEach((source) => source.close?.()))
  return found
}

const names = (found: KeySources): string[] => found.sources.map((source) => source.name)

async function reads(source: Source | undefined, content = CONTENT): Promise<boolean> {
  const holding = await source?.find(spaceOf(content.length), AbortSignal.timeout(60_000))
  if (holding === undefined) return false
  assert.ok((await readAll(holding, { start: 0, end: content.length })).equals(content))
  assert.ok((await readAll(holding, { start: 1000, end: 2000 })).equals(content.subarray(1000, 2000)))
  return true
}

for (const bare of [false, true]) {
  test(`a ${bare ? 'bare' : 'non-bare'} git remote on this machine is read from`, { timeout: 180_000 }, async (t) => {
    const { world, key } = await cloned(t, bare)
    const found = await sources(t, world, key)
    assert.equal(found.known, true)
    assert.deepEqual(names(found), ['origin (git)'])
    assert.equal(found.sources[0]?.cost, 100)
    assert.ok(await reads(found.sources[0]))
    await world.git('here', 'remote', 'set-url', 'origin', `file://${join(world.folder, bare ? 'bare' : 'origin')}`)
    assert.ok(await reads((await sources(t, world, key)).sources[0]))
  })
}

test('a git remote where another repository lies by now is not read from', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  const found = await sources(t, world, key)
  await rename(join(world.folder, 'origin'), join(world.folder, 'moved'))
  await assert.rejects(reads(found.sources[0]), { code: 'UNAVAILABLE', message: /is not there: is its disk mounted/ })
  await world.run('.', 'cp', ['-a', 'moved', 'origin'])
  await world.git('origin', 'config', 'annex.uuid', '11111111-2222-3333-4444-555555555555')
  await assert.rejects(reads(found.sources[0]), { code: 'UNAVAILABLE', message: /is the repository 11111111/ })
})

test('linked work trees and repositories with a gitdir file are found', { timeout: 180_000 }, async (t) => {
  const { world } = await cloned(t)
  await world.git('origin', 'branch', 'side')
  await world.git('origin', 'worktree', 'add', '--quiet', '../linked', 'side')
  await world.git('.', 'clone', '--quiet', '--separate-git-dir', 'separate.git', 'origin', 'split')
  const uuid = await world.git('origin', 'config', 'annex.uuid')
  const linked = await foreignRepository(join(world.folder, 'linked'), silentLog, ownDisk)
  assert.equal(linked?.uuid, uuid)
  assert.equal(await realpath(linked?.objects ?? ''), join(world.folder, 'origin/.git/annex/objects'))
  const split = await foreignRepository(join(world.folder, 'split'), silentLog, ownDisk)
  assert.equal(split?.objects, join(world.folder, 'separate.git/annex/objects'))
  assert.equal(split?.uuid, undefined)
  assert.equal(await foreignRepository('/proc', silentLog, ownDisk), undefined)
})

test('directory remotes are read from: plain, chunked, encrypted, exported', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  for (const [name, ...settings] of [
    ['plain', 'encryption=none'],
    ['chunked', 'encryption=none', 'chunk=50KiB'],
    ['secret', 'encryption=shared'],
    ['export', 'encryption=none', 'exporttree=yes'],
  ] as const) {
    const directory = join(world.folder, `dir ${name}`)
    await mkdir(directory)
    await world.annex('here', 'initremote', '--quiet', name, 'type=directory', `directory=${directory}`, ...settings)
  }
  await world.annex('here', 'get', '--quiet', 'f.bin')
  for (const name of ['plain', 'chunked', 'secret']) await world.annex('here', 'copy', '--quiet', '--to', name)
  await world.annex('here', 'export', '--quiet', 'main', '--to', 'export')
  const found = await sources(t, world, key)
  // By cost: encryption adds 50, and what lies in an exported tree is not to be trusted.
  assert.deepEqual(names(found), [
    'chunked (directory)',
    'origin (git)',
    'plain (directory)',
    'secret (directory)',
    'export (directory)',
  ])
  for (const source of found.sources) assert.ok(await reads(source), source.name)
})

test('both kinds of hash directory are looked in', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  const directory = join(world.folder, 'store')
  await mkdir(directory)
  await world.annex('here', 'initremote', '--quiet', 'd', 'type=directory', `directory=${directory}`, 'encryption=none')
  await world.annex('here', 'setpresentkey', key.raw, await world.git('here', 'config', 'remote.d.annex-uuid'), '1')
  const file = keyFile(key)
  await mkdir(join(directory, hashDirMixed(key), file), { recursive: true })
  await writeFile(join(directory, hashDirMixed(key), file, file), CONTENT)
  const found = await sources(t, world, key)
  assert.ok(await reads(found.sources.find((source) => source.name === 'd (directory)')))
})

test(
  'cost, trust, annex-ignore and annex-speculate-present decide which and in what order',
  { timeout: 180_000 },
  async (t) => {
    const { world, key } = await cloned(t)
    for (const name of ['cheap', 'dear', 'doubtful', 'ignored', 'perhaps', 'without', 'dead']) {
      const directory = join(world.folder, name)
      await mkdir(directory)
      await world.annex(
        'here',
        'initremote',
        '--quiet',
        name,
        'type=directory',
        `directory=${directory}`,
        'encryption=none',
      )
      if (name === 'perhaps' || name === 'without') continue
      await world.annex(
        'here',
        'setpresentkey',
        key.raw,
        await world.git('here', 'config', `remote.${name}.annex-uuid`),
        '1',
      )
    }
    await world.git('here', 'config', 'remote.cheap.annex-cost', '10')
    await world.git('here', 'config', 'remote.dear.annex-cost', '300')
    await world.git('here', 'config', 'remote.perhaps.annex-cost', '400')
    await world.git('here', 'config', 'remote.doubtful.annex-cost', '1')
    await world.annex('here', 'untrust', '--quiet', 'doubtful')
    await world.annex('here', 'dead', '--quiet', 'dead')
    await world.git('here', 'config', 'remote.ignored.annex-ignore', 'true')
    await world.git('here', 'config', 'remote.perhaps.annex-speculate-present', 'true')
    const found = await sources(t, world, key)
    assert.deepEqual(
      names(found),
      ['cheap', 'origin', 'dear', 'perhaps', 'doubtful'].map((name) => {
        return `${name} (${name === 'origin' ? 'git' : 'directory'})`
      }),
    )
  },
)

test('a remote inside the mount is not read, also through a link, and says so', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  const mount = join(world.folder, 'origin')
  await symlink('origin', join(world.folder, 'alias'))
  await world.git('here', 'remote', 'set-url', 'origin', '../alias')
  const forbid = (path: string): boolean => path === mount || path.startsWith(`${mount}/`)
  const found = await sources(t, world, key, { forbid })
  await assert.rejects(reads(found.sources[0]), { code: 'FORBIDDEN', message: /inside the mount/ })
})

test('URLs become sources, torrents are told, other kinds are named', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  const server = await httpServer(t, misbehaving(CONTENT, 'none'))
  const magnet = 'magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef01234567'
  for (const url of [`${server.url}/a b?secret=1`, `${server.url}/second`, 'yt:https://video.example/1']) {
    await world.annex('here', 'registerurl', key.raw, url)
  }
  // As addurl of a torrent records it, which would need aria2 to be run.
  const log = (await world.git('here', 'show', `git-annex:${webLog(key)}`)) + '\n'
  await commitLog(world, webLog(key), `${log}9s 1 :http://127.0.0.1/x.torrent#2\n9s 1 :${magnet}\n`)
  const found = await sources(t, world, key)
  assert.deepEqual(
    names(found).map((name) => name.replace(/ [0-9a-f]{6}\)/, ' SIGN)')),
    ['origin (git)', `web (${server.url}/a%20b?… SIGN)`, `web (${server.url}/second)`],
  )
  assert.deepEqual(
    [...found.torrents],
    [
      { kind: 'torrent', url: 'http://127.0.0.1/x.torrent', file: 2 },
      { kind: 'torrent', url: magnet, file: 1 },
    ],
  )
  assert.deepEqual(
    found.unsupported.map(({ source }) => source),
    ['yt:https://video.example/1'],
  )
  assert.ok(await reads(found.sources[1]))
})

function webLog(key: Key): string {
  return `${hashDirLower(key)}${keyFile(key)}.log.web`
}

/** Puts a file on the git-annex branch without git-annex. */
async function commitLog(world: AnnexWorld, path: string, content: string): Promise<void> {
  const env = { GIT_INDEX_FILE: join(world.folder, 'index-of-test') }
  const git = async (args: string[], input = ''): Promise<string> =>
    (await world.run('here', 'git', args, { env, input })).toString().trim()
  await git(['read-tree', 'git-annex'])
  const sha = await git(['hash-object', '-w', '--stdin'], content)
  await git(['update-index', '--add', '--cacheinfo', `100644,${sha},${path}`])
  const commit = await git(['commit-tree', await git(['write-tree']), '-p', 'git-annex', '-m', 'test'])
  await git(['update-ref', 'refs/heads/git-annex', commit])
}

test(
  'goal 38: hostile keys and URLs reach no path outside the store and no request',
  { timeout: 180_000 },
  async (t) => {
    const { world } = await cloned(t)
    const directory = join(world.folder, 'store')
    await mkdir(directory)
    await writeFile(join(world.folder, 'secret'), 'secret')
    const canary = await httpServer(t, (_, response) => response.end('secret'))
    await world.annex(
      'here',
      'initremote',
      '--quiet',
      'd',
      'type=directory',
      `directory=${directory}`,
      'encryption=none',
    )
    await world.git('here', 'config', 'remote.d.annex-speculate-present', 'true')
    for (const raw of ['SHA256-s6--../../../../secret', 'SHA256-s6--/etc/passwd', 'XX-s6--..', 'XX-s6--%2e%2e&a']) {
      const key = parseKey(raw)
      assert.ok(key)
      await commitLog(
        world,
        webLog(key),
        [`http://127.0.0.1:${canary.port}\u0007/x`, 'file:///etc/passwd', '-oProxyCommand=x', 'http://']
          .map((url) => `9s 1 ${url}\n`)
          .join(''),
      )
      const found = await sources(t, world, key)
      for (const source of found.sources)
        assert.equal(await reads(source, Buffer.from('secret')).catch(() => false), false)
    }
    assert.equal(canary.connections, 0)
  },
)

test('a git remote behind HTTP and an httpalso store are read from', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  const nginx = await startNginx(t, { root: world.folder })
  const store = join(world.folder, 'store')
  await mkdir(store)
  await world.annex('origin', 'initremote', '--quiet', 'd', 'type=directory', `directory=${store}`, 'encryption=none')
  await world.annex('origin', 'copy', '--quiet', '--to', 'd')
  await world.git('here', 'fetch', '--quiet', 'origin')
  const uuid = await world.git('origin', 'config', 'annex.uuid')
  await world.git('here', 'remote', 'set-url', 'origin', `${nginx.url}/origin/.git`)
  await world.git('here', 'config', 'remote.origin.annex-uuid', uuid)
  await world.annex('here', 'initremote', '--quiet', '--sameas=d', 'also', 'type=httpalso', `url=${nginx.url}/store`)
  const found = await sources(t, world, key)
  assert.deepEqual(names(found), ['also (httpalso)', 'origin (git)'])
  for (const source of found.sources) {
    assert.equal((await source.measure?.(AbortSignal.timeout(60_000)))?.size, CONTENT.length)
    assert.ok(await reads(source), source.name)
  }
  await rename(join(world.folder, 'origin'), join(world.folder, 'moved'))
  assert.equal(await reads((await sources(t, world, key)).sources[1]), false)
})

test('a clone over HTTP where git-annex was never run is read from', { timeout: 180_000 }, async (t) => {
  const world = await annexWorld(t)
  await world.repository('origin')
  await world.addAnnexed('origin', { 'f.bin': CONTENT })
  await world.git('origin', 'update-server-info')
  const nginx = await startNginx(t, { root: world.folder })
  await world.git('.', 'clone', '--quiet', `${nginx.url}/origin/.git`, 'here')
  const key = parseKey(await world.annex('origin', 'lookupkey', 'f.bin'))
  assert.ok(key)
  const before = (await nginx.log()).length
  const [source] = (await sources(t, world, key)).sources
  assert.ok(await reads(source))
  // nginx writes its log when an answer is done.
  await until('it is logged', async () => (await nginx.log()).length > before)
  const asked = (await nginx.log())
    .slice(before)
    .map(({ method, status, path }) => `${method} ${status} ${path.slice(0, 20)}`)
  assert.equal(asked[0], 'GET 200 /origin/.git/config')
  await world.git('origin', 'config', 'annex.uuid', '11111111-2222-3333-4444-555555555555')
  assert.equal(await reads((await sources(t, world, key)).sources[0]), false, 'another repository')
})

test('a repository that has it but that there is no way to is told', { timeout: 180_000 }, async (t) => {
  const { world, key } = await cloned(t)
  await world.git('here', 'remote', 'remove', 'origin')
  await world.annex('here', 'merge', '--quiet')
  const found = await sources(t, world, key)
  assert.equal(found.known, true)
  assert.deepEqual(names(found), [])
  assert.deepEqual(
    found.elsewhere.map(({ source }) => source),
    ['origin'],
  )
})

test('annex.uuid is read from a configuration without running git', async (t) => {
  for (const [config, expected] of [
    ['[annex]\n\tuuid = abc-1\n', 'abc-1'],
    ['[core]\n\tuuid = no\n[Annex]\n  UUID=abc-2 ; comment\n', 'abc-2'],
    ['[annex] uuid = "abc-3"\n', 'abc-3'],
    ['[annex "x"]\n uuid = no\n', undefined],
    ['[annex]\n uuid =\n', undefined],
    ['[annex]\n#uuid = no\n', undefined],
    ['', undefined],
  ] as const) {
    assert.equal(annexUuid(config), expected, config)
  }
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, '.git'))
  await symlink('/dev/zero', join(folder, '.git/config'))
  assert.equal(await foreignRepository(folder, silentLog, ownDisk), undefined)
})
