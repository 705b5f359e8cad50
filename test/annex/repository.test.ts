import assert from 'node:assert/strict'
import { chmod, lstat, mkdir, readdir, rename, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { hashDirLower } from '../../lib/annex/hash-dirs.js'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import type { Content } from '../../lib/engine/content.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { GitTree } from '../../lib/tree/git-tree.js'
import type { FileNode } from '../../lib/tree/tree.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { measured } from '../support/marks.js'

const { signal } = new AbortController()

async function open(t: TestContext, path: string): Promise<AnnexRepository> {
  const git = await GitRepository.open(path, silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  t.after(() => annex.close())
  return annex
}

/** All files of a tree, by path. */
async function files(tree: GitTree, folder = '/'): Promise<Map<string, FileNode<Content>>> {
  const found = new Map<string, FileNode<Content>>()
  for (const { name, node } of await tree.list(folder, signal)) {
    const path = `${folder === '/' ? '' : folder}/${name}`
    if (node.kind === 'file') found.set(path.slice(1), node)
    if (node.kind === 'dir') for (const [inner, file] of await files(tree, path)) found.set(inner, file)
  }
  return found
}

async function keyOf(world: AnnexWorld, repository: string, path: string): Promise<Key> {
  const key = parseKey(await world.annex(repository, 'lookupkey', path))
  assert.ok(key)
  return key
}

interface Whereis {
  readonly file: string
  readonly key: string
  readonly whereis: readonly { uuid: string; urls: readonly string[] }[]
  readonly untrusted: readonly { uuid: string }[]
}

/** Compares files, keys, sizes, locations and URLs with what git-annex says of the same repository. */
async function compare(t: TestContext, world: AnnexWorld, repository: string, path = join(world.folder, repository)) {
  const annex = await open(t, path)
  const tree = await GitTree.open({ git: annex.git, annex, ref: undefined, log: silentLog })
  t.after(() => tree.close())
  const ours = await files(tree)
  // Afterwards, because these make a repository out of a mere clone.
  const found = await world.run(repository, 'git', [
    'annex',
    'find',
    '--anything',
    '--branch',
    'HEAD',
    String.raw`--format=${'${file}\\000${key}\\000${bytesize}\\000'}`,
  ])
  const fields = found.toString('latin1').split('\0')
  let count = 0
  for (let index = 0; index + 2 < fields.length; index += 3) {
    const [file = '', key = '', size = ''] = fields.slice(index, index + 3)
    const node = ours.get(Buffer.from(file.replace(/^HEAD:/, ''), 'latin1').toString())
    assert.equal(node?.content.kind, 'key', file)
    assert.ok(node?.content.kind === 'key')
    assert.equal(node.content.key.raw, key)
    assert.equal(String(node.size ?? 'unknown'), size)
    count++
  }
  assert.equal([...ours.values()].filter(({ content }) => content.kind === 'key').length, count)
  // Exit code 1: some file has no copy at all.
  const args = ['annex', 'whereis', '--json', '--branch', 'HEAD']
  const whereis = await world.run(repository, 'git', args, { accept: [1] })
  for (const line of whereis
    .toString()
    .split('\n')
    .filter((text) => text !== '')) {
    const said = JSON.parse(line) as Whereis
    const key = parseKey(Buffer.from(said.key).toString('latin1'))
    assert.ok(key, said.key)
    const uuids = [...said.whereis, ...said.untrusted].map(({ uuid }) => uuid)
    assert.deepEqual([...(await annex.locations(key))].sort(), uuids.sort(), said.file)
    const urls = said.whereis.flatMap((place) => place.urls)
    assert.deepEqual([...(await annex.urls(key))].filter((url) => !url.startsWith(':')).sort(), urls.sort())
  }
  return { annex, ours }
}

/** Everything below `folder` with times and modes. */
async function listing(folder: string): Promise<string[]> {
  const found: string[] = []
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const status = await lstat(join(folder, name))
    found.push(`${name} ${status.mode.toString(8)} ${status.size} ${status.mtimeMs} ${status.ctimeMs}`)
  }
  return found
}

/** A repository with most of what there is: locked, unlocked, plain, URLs, a special remote. */
async function furnished(t: TestContext): Promise<AnnexWorld> {
  const world = await annexWorld(t)
  await world.repository('a')
  await world.addAnnexed('a', {
    'one.txt': 'one',
    'dir/two.bin': 'two two',
    'dir/é 日本.dat': 'three',
    'same.txt': 'one',
  })
  await world.write('a', 'plain.txt', 'kept in git itself')
  await world.git('a', 'add', 'plain.txt')
  await world.annex('a', 'unlock', '--quiet', 'dir/two.bin')
  await mkdir(join(world.folder, 'store'))
  await world.annex('a', 'initremote', '--quiet', 'store', 'type=directory', 'directory=../store', 'encryption=none')
  await world.annex('a', 'copy', '--quiet', '--to', 'store', 'one.txt', 'dir')
  await world.annex('a', 'drop', '--quiet', '--force', '--from', 'store', 'dir/two.bin')
  for (const [key, file] of [
    ['URL--http://h.example/a%20b?x=1', 'url'],
    ['URL-s77--http://h.example/sized', 'sized'],
    ['WORM-s3-m1289672605--worm', 'worm'],
  ] as const) {
    await world.annex('a', 'fromkey', '--quiet', '--force', key, file)
  }
  await world.annex('a', 'registerurl', '--quiet', 'URL--http://h.example/a%20b?x=1', 'http://h.example/a%20b?x=1')
  await world.annex('a', 'registerurl', '--quiet', 'URL-s77--http://h.example/sized', 'http://mirror.example/a b')
  await world.git('a', 'commit', '--quiet', '-m', 'more')
  return world
}

test('files, keys, sizes, locations and URLs are those that git-annex gives', async (t) => {
  const world = await furnished(t)
  const { annex, ours } = await compare(t, world, 'a')
  assert.equal(annex.uuid, await world.git('a', 'config', 'annex.uuid'))
  assert.equal(ours.get('plain.txt')?.content.kind, 'blob')
  const store = (await annex.remotes()).find(({ name }) => name === 'store')
  assert.equal(store?.directory, join(world.folder, 'store'))
  assert.match((await annex.describe(annex.uuid ?? '')) ?? '', /^a/)
})

test('a clone where git-annex never ran is read as well, and nothing is left in it', async (t) => {
  const world = await furnished(t)
  await world.git('.', 'clone', '--quiet', 'a', 'clone')
  const path = join(world.folder, 'clone')
  const before = await listing(path)
  const annex = await open(t, path)
  assert.equal(annex.uuid, undefined)
  const tree = await GitTree.open({ git: annex.git, annex, ref: undefined, log: silentLog })
  t.after(() => tree.close())
  for (const { content } of (await files(tree)).values()) {
    if (content.kind !== 'key') continue
    await annex.locations(content.key)
    await annex.urls(content.key)
    assert.equal(await annex.objectPath(content.key), undefined)
  }
  const origin = (await annex.remotes()).find(({ name }) => name === 'origin')
  assert.equal(origin?.uuid, await world.git('a', 'config', 'annex.uuid'), 'the uuid is asked of the repository itself')
  assert.equal(origin?.directory, join(world.folder, 'a'))
  await annex.changed()
  assert.deepEqual(await listing(path), before)
  await compare(t, world, 'clone')
})

test('a bare clone, a linked worktree and a git directory give the same', async (t) => {
  const world = await furnished(t)
  await world.git('.', 'clone', '--quiet', '--bare', 'a', 'bare')
  await world.annex('bare', 'init', '--quiet', 'bare')
  await world.annex('a', 'sync', '--quiet', '--no-commit')
  await world.git('a', 'worktree', 'add', '--quiet', '../worktree', '-b', 'other')
  await world.annex('worktree', 'init', '--quiet')
  for (const [repository, path] of [
    ['bare', 'bare'],
    ['worktree', 'worktree'],
    ['a', 'a/.git'],
  ] as const) {
    const { annex } = await compare(t, world, repository, join(world.folder, path))
    const key = await keyOf(world, 'a', 'one.txt')
    assert.equal((await annex.objectPath(key)) !== undefined, repository !== 'bare', repository)
  }
})

test('journals count: what was not committed, and what is private', async (t) => {
  const world = await furnished(t)
  await world.git('a', 'config', 'annex.alwayscommit', 'false')
  await world.addAnnexed('a', { 'late_%&:.txt': 'late', 'private.txt': 'private' })
  await world.annex('a', 'registerurl', '--quiet', 'WORM-s3-m1289672605--worm', 'http://h.example/late')
  const { annex } = await compare(t, world, 'a')
  assert.ok((await readdir(join(world.folder, 'a/.git/annex/journal'))).length > 0)
  assert.deepEqual(await annex.locations(await keyOf(world, 'a', 'late_%&:.txt')), [annex.uuid])
  // A line that was being written when the machine went down does not count.
  const key = parseKey('SHA256--torn')
  assert.ok(key)
  const name = `${hashDirLower(key).replace(/\//g, '_')}SHA256--torn.log`
  await writeFile(join(world.folder, 'a/.git/annex/journal', name), '1s 1 whole\n2s 1 to')
  assert.deepEqual(await annex.locations(key), ['whole'])
  await world.repository('b', { plain: true })
  await world.git('b', 'config', 'annex.private', 'true')
  await world.annex('b', 'init', '--quiet')
  await world.addAnnexed('b', { 'f.txt': 'of a private repository' })
  const hidden = await open(t, join(world.folder, 'b'))
  assert.deepEqual(await hidden.locations(await keyOf(world, 'b', 'f.txt')), [hidden.uuid])
})

test('dead repositories do not count, and what is learned later does', async (t) => {
  const world = await furnished(t)
  const annex = await open(t, join(world.folder, 'a'))
  const key = await keyOf(world, 'a', 'one.txt')
  const store = await world.git('a', 'config', 'remote.store.annex-uuid')
  assert.deepEqual(new Set(await annex.locations(key)), new Set([annex.uuid, store]))
  assert.equal(await annex.changed(), false)
  await world.annex('a', 'dead', '--quiet', 'store')
  assert.equal(await annex.changed(), true)
  assert.deepEqual(await annex.locations(key), [annex.uuid])
  assert.equal(await annex.trust(store), 'dead')
  await world.annex('a', 'semitrust', '--quiet', 'store')
  await annex.changed()
  assert.deepEqual(new Set(await annex.locations(key)), new Set([annex.uuid, store]))
  await world.annex('a', 'drop', '--quiet', '--force', 'one.txt')
  await world.annex('a', 'setpresentkey', key.raw, store, '0')
  await world.annex('a', 'dead', '--quiet', '--key', key.raw)
  assert.equal(await annex.changed(), true)
  assert.deepEqual(await annex.locations(key), [])
})

test('tuned repositories are read, before and after git-annex ran in a clone', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r', { plain: true })
  const tuning = ['objecthash1', 'objecthashlower', 'branchhash1'].flatMap((name) => ['-c', `annex.tune.${name}=true`])
  await world.git('r', ...tuning, 'annex', 'init', '--quiet', 'tuned')
  await world.addAnnexed('r', { 'f.txt': 'tuned' })
  const { annex } = await compare(t, world, 'r')
  const key = await keyOf(world, 'r', 'f.txt')
  const object = await annex.objectPath(key)
  assert.match(object?.path.toString() ?? '', /objects\/[0-9a-f]{3}\/SHA256E/)
  await world.git('.', 'clone', '--quiet', 'r', 'clone')
  const clone = await open(t, join(world.folder, 'clone'))
  assert.deepEqual(await clone.locations(key), [annex.uuid])
})

test('names and keys that are not UTF-8', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  const file = Buffer.concat([Buffer.from(`${world.folder}/r/y.`), Buffer.from([0xe9])])
  await writeFile(file, 'latin')
  await world.git('r', 'annex', 'add', '--quiet', '.')
  await world.git('r', 'commit', '--quiet', '-m', 'x')
  const annex = await open(t, join(world.folder, 'r'))
  const tree = await GitTree.open({ git: annex.git, annex, ref: undefined, log: silentLog })
  t.after(() => tree.close())
  const node = await tree.lookup('/y.\\xe9', signal)
  assert.ok(node?.kind === 'file' && node.content.kind === 'key')
  assert.match(node.content.key.raw, /^SHA256E-s5--[0-9a-f]{64}\.\u00e9$/)
  assert.match(node.content.id, /^key:SHA256E-s5--[0-9a-f]{64}\.%e9$/)
  assert.deepEqual(await annex.locations(node.content.key), [annex.uuid])
  assert.equal((await annex.objectPath(node.content.key))?.size, 5)
})

test('an object that may have been edited is said to be so; one of another size is not there', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.git('r', 'config', 'annex.thin', 'true')
  await world.addAnnexed('r', { locked: 'locked', thin: 'thin' })
  await world.annex('r', 'unlock', '--quiet', 'thin')
  const annex = await open(t, join(world.folder, 'r'))
  const locked = await annex.objectPath(await keyOf(world, 'r', 'locked'))
  assert.deepEqual([locked?.writable, locked?.hardLinked, locked?.executable], [false, false, false])
  const key = await keyOf(world, 'r', 'thin')
  const thin = await annex.objectPath(key)
  assert.deepEqual([thin?.writable, thin?.hardLinked], [true, true])
  await writeFile(join(world.folder, 'r/thin'), 'edited in place')
  assert.equal(await annex.objectPath(key), undefined)
})

test('goal 37: an object behind a symbolic link is not followed', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { one: 'one', two: 'two' })
  const annex = await open(t, join(world.folder, 'r'))
  const paths: string[] = []
  for (const name of ['one', 'two']) {
    const path = (await annex.objectPath(await keyOf(world, 'r', name)))?.path.toString()
    assert.ok(path)
    paths.push(path)
  }
  const [one = '', two = ''] = paths
  await mkdir(join(world.folder, 'outside'))
  await chmod(join(one, '..'), 0o755)
  await rename(one, join(world.folder, 'outside/one'))
  await symlink(join(world.folder, 'outside/one'), one)
  assert.equal(await annex.objectPath(await keyOf(world, 'r', 'one')), undefined)
  await rename(join(two, '../../..'), join(world.folder, 'outside/two'))
  await symlink(join(world.folder, 'outside/two'), join(two, '../../..'))
  assert.equal(await annex.objectPath(await keyOf(world, 'r', 'two')), undefined)
})

test(
  'goal 38: a hostile git-annex branch is read in bounded time, bad uuids left out',
  { timeout: 180_000 },
  async (t) => {
    const world = await annexWorld(t)
    await world.repository('r')
    const key = parseKey('SHA256-s1--../../x')
    assert.ok(key)
    const lines = Array.from({ length: 1_000_000 }, (_, index) => `${index}s 1 u${index % 1000}\n`)
    const log = `${lines.join('')}99999999999s 1 good\n1s 1 -oProxyCommand=x\n1s 1 ../../etc\n1s 1 a b\n1s 1 \n`
    const path = `${hashDirLower(key)}SHA256-s1--..%..%x.log`
    const remotes =
      '--upload-pack=x name=a type=git location=-x timestamp=1s\ngood name=../../x type=directory timestamp=1s\n'
    const input = [
      'commit refs/heads/git-annex\ncommitter T <t@e> 1700000000 +0000\ndata 0\nfrom refs/heads/git-annex^0\n',
      `M 100644 inline ${path}\ndata ${log.length}\n${log}\n`,
      `M 100644 inline remote.log\ndata ${remotes.length}\n${remotes}\n`,
    ].join('')
    await world.run('r', 'git', ['fast-import', '--quiet'], { input })
    const annex = await open(t, join(world.folder, 'r'))
    const began = performance.now()
    const locations = await annex.locations(key)
    measured(t, 'read in', performance.now() - began, { mark: 2000, alarm: 30_000 })
    assert.equal(locations.length, 1001)
    assert.ok(locations.every((uuid) => /^[a-z0-9]+$/.test(uuid)))
    assert.ok((await annex.remotes()).every(({ uuid }) => !uuid.startsWith('-')))
    assert.equal(await annex.objectPath(key), undefined)
  },
)
