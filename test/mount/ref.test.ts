import assert from 'node:assert/strict'
import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { pseudoRandom, until } from '../support/peers.js'
import { annexfs, mountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

test('a moved branch shows within 2 s, and a file that is open keeps its content', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  const [old, fresh] = [pseudoRandom(700_000, 'old'), pseudoRandom(700_000, 'new')]
  await world.addAnnexed('a', { 'd/file': old })
  const mount = await mountSession(t, [repository])
  const path = join(mount.path, 'd/file')
  assert.ok(old.equals(await readFile(path)))
  const handle = await open(path)
  try {
    const own = Buffer.alloc(1000)
    await handle.read(own, 0, own.length, 0)
    await world.annex('a', 'unlock', '--quiet', 'd/file')
    await world.addAnnexed('a', { 'd/file': fresh, 'd/more': 'more' })
    await until('the new name shows', async () => (await readdir(join(mount.path, 'd'))).includes('more'))
    await handle.read(own, 0, own.length, 600_000)
    assert.ok(own.equals(old.subarray(600_000, 601_000)), 'the open file is the old one')
  } finally {
    await handle.close()
  }
  await until('the new content shows', async () => fresh.equals(await readFile(path)))
  await world.git('a', 'rm', '--quiet', 'd/more')
  await world.git('a', 'commit', '--quiet', '-m', 'less')
  await until('the name is gone', async () => !(await readdir(join(mount.path, 'd'))).includes('more'))
})

test('--ref shows a tag, a commit or a branch instead of HEAD', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { one: 'first' })
  await world.git('a', 'tag', 'v1')
  const commit = await world.git('a', 'rev-parse', 'HEAD')
  await world.git('a', 'checkout', '--quiet', '-b', 'side')
  await world.addAnnexed('a', { two: 'second' })
  await world.git('a', 'checkout', '--quiet', 'main')
  await world.addAnnexed('a', { three: 'third' })
  for (const [ref, names] of [
    ['v1', ['one']],
    [commit, ['one']],
    [commit.slice(0, 10), ['one']],
    ['side', ['one', 'two']],
    ['refs/heads/side', ['one', 'two']],
    ['main', ['one', 'three']],
  ] as const) {
    const { stdout, stderr } = await annexfs(t, ['ls', repository, '--ref', ref])
    assert.deepEqual(stdout.toString().trim().split('\n'), names, `${ref}: ${stderr}`)
  }
  const mount = await mountSession(t, [repository], { options: ['--ref', 'side'] })
  assert.deepEqual((await readdir(mount.path)).sort(), ['one', 'two'])
  assert.equal(await readFile(join(mount.path, 'two'), 'utf8'), 'second')
  await world.git('a', 'checkout', '--quiet', 'side')
  await world.addAnnexed('a', { four: 'fourth' })
  await until('the branch is followed', async () => (await readdir(mount.path)).includes('four'))
})

test('a ref that is not there is said so, in a line', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { one: 'first' })
  for (const ref of ['nowhere', '--upload-pack=x', 'a..b', '']) {
    const { code, stderr } = await annexfs(t, ['ls', repository, `--ref=${ref}`])
    assert.ok(code === 2 || code === 3, `${ref}: ${code} ${stderr}`)
    assert.match(stderr, /^annexfs: .+\n(See .+\n)?$/)
  }
})
