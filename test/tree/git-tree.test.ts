import assert from 'node:assert/strict'
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { AnnexRepository } from '../../lib/annex/repository.js'
import type { Content } from '../../lib/engine/content.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { GitTree } from '../../lib/tree/git-tree.js'
import type { Node } from '../../lib/tree/tree.js'
import { annexWorld, COMMIT_TIME, type AnnexWorld } from '../support/annex.js'

const { signal } = new AbortController()

/** Following a ref is promised within 2 s; machines that test are busy. */
const FOLLOWED = 60_000

interface Mounted {
  readonly tree: GitTree
  readonly moves: () => number
}

async function mountTree(t: TestContext, world: AnnexWorld, repository: string, ref?: string): Promise<Mounted> {
  const git = await GitRepository.open(join(world.folder, repository), silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  t.after(() => annex.close())
  let moves = 0
  const tree = await GitTree.open({ git, annex, ref, log: silentLog, onMoved: () => moves++ })
  t.after(() => tree.close())
  return { tree, moves: () => moves }
}

async function names(tree: GitTree, folder = '/'): Promise<string[]> {
  return (await tree.list(folder, signal)).map(({ name }) => name).sort()
}

/** What a node is, in a word or two. */
function describe(node: Node<Content> | undefined): string {
  if (node?.kind === 'link') return `link ${node.target}`
  if (node?.kind !== 'file') return node?.kind ?? 'nothing'
  return `${node.content.kind} ${node.size ?? 'unknown'}${node.executable ? ' x' : ''}`
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + FOLLOWED
  while (!(await holds())) {
    assert.ok(Date.now() < end, `${what} within ${FOLLOWED} ms`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

test('each kind of entry is told from the others', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { locked: 'locked', unlocked: 'unlocked', 'd/e/deep': 'deep', run: '#!/bin/sh\n' })
  await world.annex('r', 'unlock', '--quiet', 'unlocked', 'run')
  await world.run('r', 'chmod', ['+x', 'run'])
  await world.write('r', 'plain', 'plain')
  await world.write('r', 'script', '#!/bin/sh\n')
  await world.write('r', 'almost', '/annex/objects/nokey\n')
  await world.write('r', 'large', Buffer.alloc(100_000))
  await world.run('r', 'chmod', ['+x', 'script'])
  await symlink('d/e', join(world.folder, 'r/link'))
  await world.git('r', 'add', 'plain', 'script', 'link', 'run', 'almost', 'large')
  await world.git('r', 'commit', '--quiet', '-m', 'x')
  const { tree } = await mountTree(t, world, 'r')
  const expected = {
    locked: 'key 6',
    unlocked: 'key 8',
    run: 'key 10 x',
    plain: 'blob 5',
    script: 'blob 10 x',
    almost: 'blob 21',
    large: 'blob 100000',
    link: 'link d/e',
    d: 'dir',
    'd/e/deep': 'key 4',
    'd/x': 'nothing',
    'plain/x': 'nothing',
  }
  for (const [path, what] of Object.entries(expected)) {
    const node = await tree.lookup(`/${path}`, signal)
    assert.equal(describe(node), what, path)
    if (node !== undefined) assert.equal(node.mtime, COMMIT_TIME)
  }
  assert.equal(describe(await tree.lookup('/', signal)), 'dir')
  assert.ok(!(tree.lookup('/d/e/deep', signal) instanceof Promise), 'what is in memory is answered at once')
  assert.ok(!(tree.lookup('/d/e/none', signal) instanceof Promise))
  await assert.rejects(tree.list('/plain', signal), (error) => isAnnexfsError(error, 'NOT_A_DIRECTORY'))
  await assert.rejects(tree.list('/none', signal), (error) => isAnnexfsError(error, 'NOT_FOUND'))
  const stop = new AbortController()
  stop.abort()
  await assert.rejects(tree.list('/', stop.signal), (error) => isAnnexfsError(error, 'ABORTED'))
})

test('adjusted branches show the same keys', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { 'a.txt': 'aaa', 'd/b.txt': 'bbbb' })
  const keys = async (): Promise<string[]> => {
    const { tree } = await mountTree(t, world, 'r')
    return Promise.all(['/a.txt', '/d/b.txt'].map(async (path) => describe(await tree.lookup(path, signal))))
  }
  const before = await keys()
  await world.annex('r', 'adjust', '--quiet', '--unlock')
  assert.match(await world.git('r', 'symbolic-ref', 'HEAD'), /adjusted\/main\(unlocked\)/)
  assert.deepEqual(await keys(), before)
  assert.deepEqual(before, ['key 3', 'key 4'])
})

test('a ref that moves is followed, one that vanishes leaves an empty tree until it is back', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  const { tree, moves } = await mountTree(t, world, 'r')
  assert.deepEqual(await names(tree), [], 'a branch without a commit')
  assert.equal(await tree.lookup('/a', signal), undefined)
  await world.addAnnexed('r', { a: 'a', 'd/x': 'x' })
  await until('the first commit is seen', async () => (await names(tree)).join() === 'a,d')
  assert.equal(moves(), 1)
  await world.addAnnexed('r', { b: 'b' })
  await until('a commit is seen', async () => (await names(tree)).join() === 'a,b,d')
  await world.git('r', 'pack-refs', '--all', '--prune')
  await world.git('r', 'repack', '-a', '-d', '-q')
  await world.addAnnexed('r', { c: 'c' })
  await until('a commit after packing is seen', async () => (await names(tree)).join() === 'a,b,c,d')
  const old = await mountTree(t, world, 'r', 'HEAD~1')
  assert.deepEqual(await names(old.tree), ['a', 'b', 'd'])
  await world.git('r', 'checkout', '--quiet', '-b', 'other', 'HEAD~2')
  await until('another branch is seen', async () => (await names(tree)).join() === 'a,d')
  await world.git('r', 'symbolic-ref', 'HEAD', 'refs/heads/none')
  await until('the tree is empty', async () => (await names(tree)).length === 0)
  await world.git('r', 'symbolic-ref', 'HEAD', 'refs/heads/main')
  await until('the tree is back', async () => (await names(tree)).length === 4)
})

test('what git-annex learns is known after the next look', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { a: 'a' })
  const { tree } = await mountTree(t, world, 'r')
  const node = await tree.lookup('/a', signal)
  assert.ok(node?.kind === 'file' && node.content.kind === 'key')
  const { annex, key } = node.content
  await world.annex('r', 'registerurl', '--quiet', key.raw, 'http://h.example/a')
  await until('the URL is known', async () => (await annex.urls(key)).length === 1)
})

test('branches, tags, commits and full names of refs can be shown; what is none is refused', async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { a: 'a' })
  await world.git('r', 'tag', '-a', '-m', 'x', 'v1')
  await world.addAnnexed('r', { b: 'b' })
  const commit = await world.git('r', 'rev-parse', 'v1^{commit}')
  for (const ref of ['v1', 'refs/tags/v1', commit, `${commit}^{tree}`, 'main~1']) {
    const { tree } = await mountTree(t, world, 'r', ref)
    assert.deepEqual(await names(tree), ['a'], ref)
  }
  for (const ref of ['none', '-x', ':a', ':/x', 'main^{/x}', 'a b', 'main:a', '']) {
    await assert.rejects(mountTree(t, world, 'r', ref), (error) => isAnnexfsError(error, 'INVALID'), ref)
  }
})

async function withSubmodule(t: TestContext): Promise<AnnexWorld> {
  const world = await annexWorld(t)
  await world.repository('inner')
  await world.addAnnexed('inner', { 'in.txt': 'inside' })
  await world.repository('r')
  await world.addAnnexed('r', { 'out.txt': 'out' })
  await mkdir(join(world.folder, 'r/d'))
  await world.git('r', 'submodule', '--quiet', 'add', '../inner', 'd/sub')
  await world.git('r', 'commit', '--quiet', '-m', 'sub')
  return world
}

test('a submodule that is here is entered, at the recorded commit, with its own git-annex', async (t) => {
  const world = await withSubmodule(t)
  await world.git('r/d/sub', 'commit', '--quiet', '--allow-empty', '-m', 'not recorded')
  for (const initialised of [false, true]) {
    // Afterwards its .git is a symbolic link instead of a file.
    if (initialised) await world.annex('r/d/sub', 'init', '--quiet')
    const { tree } = await mountTree(t, world, 'r')
    assert.deepEqual(await names(tree, '/d/sub'), ['in.txt'])
    const node = await tree.lookup('/d/sub/in.txt', signal)
    assert.equal(describe(node), 'key 6')
    assert.ok(!(tree.lookup('/d/sub/in.txt', signal) instanceof Promise))
    assert.ok(node?.kind === 'file' && node.content.kind === 'key')
    const uuid = await world.git('inner', 'config', 'annex.uuid')
    assert.deepEqual(await node.content.annex.locations(node.content.key), [uuid])
  }
  // Without a work tree it is found below the git directory.
  const bare = await mountTree(t, world, 'r/.git')
  assert.deepEqual(await names(bare.tree, '/d/sub'), ['in.txt'])
})

test('a submodule that is not here is an empty folder until it is', async (t) => {
  const world = await withSubmodule(t)
  await world.git('.', 'clone', '--quiet', 'r', 'clone')
  const { tree } = await mountTree(t, world, 'clone')
  assert.deepEqual(await names(tree, '/d/sub'), [])
  assert.equal(await tree.lookup('/d/sub/in.txt', signal), undefined)
  assert.equal(describe(await tree.lookup('/d/sub', signal)), 'dir')
  await world.git('clone', 'submodule', '--quiet', 'update', '--init')
  await until('the submodule is seen', async () => (await names(tree, '/d/sub')).length === 1)
})

test('goal 37: a submodule never leads out of the repository', async (t) => {
  const world = await withSubmodule(t)
  const sub = join(world.folder, 'r/d/sub')
  const commit = await world.git('r/d/sub', 'rev-parse', 'HEAD')
  await rename(join(world.folder, 'r/.git/modules'), join(world.folder, 'stolen'))
  await world.git('.', 'config', '--file', 'stolen/d/sub/config', '--unset', 'core.worktree')
  const gitlink = async (path: string, module: string): Promise<void> => {
    await writeFile(join(world.folder, 'r/.gitmodules'), `[submodule "${module}"]\n\tpath = ${path}\n\turl = x\n`)
    await world.git('r', 'update-index', '--add', '--cacheinfo', `160000,${commit},${path}`)
    await world.git('r', 'add', '.gitmodules')
    await world.git('r', 'commit', '--quiet', '-m', 'x')
  }
  const shows = async (path: string): Promise<string[]> => names((await mountTree(t, world, 'r')).tree, path)
  await writeFile(join(sub, '.git'), `gitdir: ${world.folder}/stolen/d/sub\n`)
  assert.deepEqual(await shows('/d/sub'), [], 'a .git file that points elsewhere')
  await rm(join(sub, '.git'))
  await symlink('../../../stolen/d/sub', join(sub, '.git'))
  assert.deepEqual(await shows('/d/sub'), [], 'a .git link that points elsewhere')
  await rm(sub, { recursive: true })
  for (const module of ['../../stolen/d/sub', 'x/../../../stolen/d/sub', `${world.folder}/stolen/d/sub`]) {
    await gitlink('d/sub', module)
    assert.deepEqual(await shows('/d/sub'), [], module)
  }
  await symlink('../inner', join(world.folder, 'r/elsewhere'))
  await gitlink('elsewhere', 'elsewhere')
  assert.deepEqual(await shows('/elsewhere'), [], 'a folder that is a link')
  assert.ok((await readdir(join(world.folder, 'inner'))).includes('in.txt'))
})
