import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { localFolder, rewriteUrl } from '../../lib/annex/git-remote-url.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { listRemotes } from '../../lib/annex/remotes.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitConfig } from '../../lib/git/config.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { annexWorld } from '../support/annex.js'

const A = '11111111-1111-1111-1111-111111111111'
const B = '22222222-2222-2222-2222-222222222222'

async function remotes(
  config: Readonly<Record<string, string>>,
  log: Readonly<Record<string, string>> = {},
): Promise<Map<string, AnnexRemote>> {
  const listing = Object.entries(config).map(([name, value]) => `${name}\n${value}\0`)
  const found = await listRemotes({
    config: new GitConfig(Buffer.from(listing.join(''))),
    base: '/nowhere',
    log: new Map(Object.entries(log)),
    trust: (uuid) => (uuid === B ? 'dead' : 'semitrusted'),
  })
  return new Map(found.map((remote) => [remote.name, remote]))
}

test('the web and bittorrent are always there, with what the user set for them', async () => {
  const found = await remotes({ 'remote.web.annex-cost': '150', 'remote.bittorrent.annex-ignore': 'true' })
  assert.deepEqual([...found.keys()], ['web', 'bittorrent'])
  assert.equal(found.get('web')?.uuid, '00000000-0000-0000-0000-000000000001')
  assert.equal(found.get('web')?.cost, 150)
  assert.equal(found.get('bittorrent')?.ignore, 'annex-ignore')
})

test('a remote of which the configuration has no more than a uuid is not taken for enabled', async () => {
  const found = await remotes(
    { 'remote.s.annex-uuid': A, 'remote.s.annex-cost': '7' },
    { [A]: 'name=s type=rsync rsyncurl=/root/.ssh encryption=none' },
  )
  const s = found.get('s')
  assert.deepEqual([s?.kind, s?.cost, s?.configured], ['rsync', 7, false])
})

test('configured remotes join the git configuration with remote.log', async () => {
  const found = await remotes(
    {
      'remote.s.annex-s3': 'true',
      'remote.s.annex-uuid': A,
      'remote.s.annex-trustlevel': 'trusted',
      'remote.e.annex-externaltype': 'toy',
      'remote.e.annex-uuid': B,
      'remote.h.url': 'https://h.example/r/.git',
      'remote.h.annex-ignore': 'true',
      'remote.t.url': 'tor-annex::x.onion:1',
      'remote.plain.fetch': 'x',
    },
    { [A]: 'bucket=b encryption=shared name=old type=S3', [B]: 'name=e type=external externaltype=toy exporttree=yes' },
  )
  const s = found.get('s')
  assert.deepEqual(
    [s?.kind, s?.cost, s?.trust, s?.config.get('bucket'), s?.configured],
    ['S3', 250, 'trusted', 'b', true],
  )
  assert.equal(found.get('e')?.trust, 'dead')
  const h = found.get('h')
  assert.deepEqual(
    [h?.kind, h?.uuid, h?.cost, h?.ignore, h?.url],
    ['git', '', 200, 'annex-ignore', 'https://h.example/r/.git'],
  )
  assert.equal(found.get('t')?.cost, 1000)
  assert.ok(!found.has('plain') && !found.has('old'))
})

test('what only remote.log remembers is there too; sameas entries stand for their store', async () => {
  const found = await remotes(
    {},
    {
      [A]: 'encryption=shared cipher=abc chunk=1MiB name=store type=rsync rsyncurl=h:/x',
      [B]: `sameas-name=also sameas-uuid=${A} type=httpalso url=http://h.example/x`,
      '-oProxyCommand=x': 'name=bad type=rsync',
      c: 'exporttree=yes name=tree type=directory',
    },
  )
  const also = found.get('also')
  assert.deepEqual([also?.uuid, also?.configUuid, also?.kind, also?.configured], [A, B, 'httpalso', false])
  assert.deepEqual([also?.config.get('cipher'), also?.config.get('chunk')], ['abc', undefined])
  assert.equal(found.get('tree')?.trust, 'untrusted')
  assert.ok(!found.has('bad'))
})

test('URLs of git remotes: insteadOf, and which are folders here', () => {
  const config = new GitConfig(Buffer.from('url.https://h/.insteadof\nh:\0url.https://g/.insteadof\nh:g/\0'))
  assert.equal(rewriteUrl('h:r', config), 'https://h/r')
  assert.equal(rewriteUrl('h:g/r', config), 'https://g/r')
  assert.equal(rewriteUrl('x', config), 'x')
  const table: readonly (readonly [string, string | undefined])[] = [
    ['/a/b', '/a/b'],
    ['../b', '/base/b'],
    ['./a:b', '/base/r/a:b'],
    ['file:///a%20b', '/a b'],
    ['file://host/a', undefined],
    ['host:path', undefined],
    ['ssh://h/p', undefined],
    ['gcrypt::/a', undefined],
    ['', undefined],
  ]
  for (const [url, folder] of table) assert.equal(localFolder(url, '/base/r'), folder, url)
})

test('remotes are those that git-annex lists, with its costs and types', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.repository('other')
  await mkdir(join(world.folder, 'd1'))
  await mkdir(join(world.folder, 'd2'))
  await mkdir(join(world.folder, 'd3'))
  const init = async (...args: string[]): Promise<unknown> => world.annex('r', 'initremote', '--quiet', ...args)
  await init('plain', 'type=directory', 'directory=../d1', 'encryption=none', 'chunk=1MiB')
  await init('secret', 'type=directory', 'directory=../d2', 'encryption=shared')
  await init('tree', 'type=directory', 'directory=../d3', 'encryption=none', 'exporttree=yes')
  await init('far', 'type=rsync', 'rsyncurl=h.example:/x', 'encryption=none')
  await init('also', '--sameas=plain', 'type=httpalso', 'url=http://127.0.0.1:1/x')
  await world.git('r', 'remote', 'add', 'other', '../other')
  await world.annex('r', 'untrust', '--quiet', 'far')
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  const found = new Map((await annex.remotes()).map((remote) => [remote.name, remote]))
  for (const name of ['plain', 'secret', 'tree', 'far', 'also', 'other']) {
    const said = JSON.parse(await world.annex('r', 'info', '--json', '--fast', name)) as Record<string, string>
    const remote = found.get(name)
    assert.equal(remote?.uuid, said['uuid'], name)
    assert.equal(remote?.kind, said['type'], name)
    assert.equal(remote?.cost, Number(said['cost']), name)
    assert.equal(remote?.trust, said['trust'], name)
    assert.equal(remote?.configured, true)
  }
  assert.equal(found.get('other')?.directory, join(world.folder, 'other'))
  assert.equal(found.get('also')?.configUuid, await world.git('r', 'config', 'remote.also.annex-config-uuid'))
  await world.git('.', 'clone', '--quiet', 'r', 'clone')
  const clone = await GitRepository.open(join(world.folder, 'clone'), silentLog)
  t.after(() => clone.close())
  const remembered = await (await AnnexRepository.open(clone, silentLog)).remotes()
  const names = remembered.filter(({ configured }) => !configured).map(({ name }) => name)
  assert.deepEqual(names.sort(), ['also', 'far', 'plain', 'secret', 'tree'])
})
