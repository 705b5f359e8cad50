import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { chown, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseKey } from '../../lib/annex/key.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog, textLog } from '../../lib/log/log.js'
import { encodeManifest } from '../../lib/manifest/format.js'
import { Manifests } from '../../lib/manifest/manifests.js'
import { mergeManifests, type MergeReport } from '../../lib/manifest/merge.js'
import { ManifestRecorder } from '../../lib/manifest/record.js'
import { canHaveManifest, manifestPath, type ManifestKey } from '../../lib/manifest/rule.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'

const LIMIT = { timeout: 180_000 }
const REF = 'refs/annexfs/manifests'
const signal = new AbortController().signal

/** A key of one piece. */
function keyOf(name: string, extension = ''): ManifestKey {
  const key = parseKey(`SHA256E-s1000--${createHash('sha256').update(name).digest('hex')}${extension}`)
  assert.ok(key !== undefined && canHaveManifest(key))
  return key
}

function piecesOf(name: string): Buffer {
  return createHash('sha1').update(name).digest()
}

async function repository(t: TestContext, world: AnnexWorld, name: string): Promise<GitRepository> {
  const path = await world.repository(name, { plain: true })
  await world.git(name, 'config', 'user.name', 'Test')
  await world.git(name, 'config', 'user.email', 'test@example.com')
  const git = await GitRepository.open(path, silentLog)
  t.after(() => git.close())
  return git
}

async function record(git: GitRepository, entries: readonly (readonly [ManifestKey, Buffer])[]): Promise<number> {
  const recorder = new ManifestRecorder({ git, sign: false, signal })
  for (const [key, pieces] of entries) recorder.add(key, pieces)
  return recorder.commit()
}

function merge(git: GitRepository): Promise<MergeReport> {
  return mergeManifests({ git, sign: false, signatures: 'ignore', signal, log: silentLog })
}

async function fetchFrom(world: AnnexWorld, to: string, from: string): Promise<void> {
  await world.git(to, 'fetch', '--quiet', join(world.folder, from), `+${REF}:refs/remotes/${from}/annexfs/manifests`)
}

/** Puts a blob into a ref of manifests, whatever it is. */
async function plant(world: AnnexWorld, name: string, ref: string, path: string, content: Buffer): Promise<void> {
  const blob = (await world.run(name, 'git', ['hash-object', '-w', '--stdin'], { input: content })).toString().trim()
  const index = { GIT_INDEX_FILE: join(world.folder, `index-${name}-${ref.replaceAll('/', '-')}`) }
  await world.run(name, 'git', ['update-index', '--add', '--cacheinfo', `100644,${blob},${path}`], { env: index })
  const tree = (await world.run(name, 'git', ['write-tree'], { env: index })).toString().trim()
  await world.git(name, 'update-ref', ref, await world.git(name, 'commit-tree', '-m', 'planted', tree))
}

async function infohash(git: GitRepository, key: ManifestKey): Promise<readonly string[]> {
  const manifests = new Manifests(git, { signatures: 'ignore', log: silentLog })
  return (await manifests.find(key)).map((one) => one.infohash)
}

test('what is recorded is found, in a ref of its own that is all that changes', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const git = await repository(t, world, 'a')
  await world.git('a', 'commit', '--quiet', '--allow-empty', '-m', 'x')
  const before = await world.git('a', 'for-each-ref')
  // Names in git are bytes.
  const keys = [keyOf('one', '.mp3'), keyOf('two', '.\xff\xfe'), keyOf('three', '.a b')]
  assert.equal(
    await record(
      git,
      keys.map((key) => [key, piecesOf(key.raw)]),
    ),
    3,
  )
  const manifests = new Manifests(git, { signatures: 'ignore', log: silentLog })
  for (const key of keys) {
    const found = await manifests.find(key)
    assert.equal(found.length, 1, key.raw)
    assert.deepEqual(Buffer.from(found[0]?.space.hashes.at(0) ?? []), piecesOf(key.raw))
  }
  assert.deepEqual(await manifests.find(keyOf('four')), [])
  const after = await world.git('a', 'for-each-ref')
  assert.equal(after.replace(/^.*refs\/annexfs\/manifests\n?/m, '').trim(), before)
  assert.equal(await world.git('a', 'status', '--porcelain'), '')
  assert.equal(await world.git('a', 'fsck', '--strict', '--no-dangling'), '')
  // The same again is nothing new: no commit is made.
  const tip = await world.git('a', 'rev-parse', REF)
  assert.equal(
    await record(
      git,
      keys.map((key) => [key, piecesOf(key.raw)]),
    ),
    0,
  )
  assert.equal(await world.git('a', 'rev-parse', REF), tip)
})

test('writers at the same time lose nothing', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const git = await repository(t, world, 'a')
  const writers = 5
  const rounds = 4
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      for (let round = 0; round < rounds; round++) {
        const names = Array.from({ length: 5 }, (__, index) => `${writer} ${round} ${index}`)
        await record(
          git,
          names.map((name) => [keyOf(name), piecesOf(name)]),
        )
      }
    }),
  )
  const listing = await world.git('a', 'ls-tree', '-r', '--name-only', REF)
  assert.equal(listing.split('\n').length, writers * rounds * 5)
  assert.equal(await world.git('a', 'rev-list', '--count', REF), String(writers * rounds))
  assert.equal(await world.git('a', 'rev-list', '--count', '--min-parents=2', REF), '0')
})

test('two clones merge into the union, and agree afterwards', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const [a, b] = [await repository(t, world, 'a'), await repository(t, world, 'b')]
  const [shared, ofA, ofB] = [keyOf('shared'), keyOf('of a'), keyOf('of b')]
  await record(
    a,
    [shared, ofA].map((key) => [key, piecesOf(key.raw)]),
  )
  await record(
    b,
    [shared, ofB].map((key) => [key, piecesOf(key.raw)]),
  )
  await fetchFrom(world, 'a', 'b')
  assert.deepEqual((await infohash(a, ofB)).length, 1, 'a fetched ref is read without a merge')
  const report = await merge(a)
  assert.deepEqual(report, {
    refs: ['refs/remotes/b/annexfs/manifests'],
    added: 1,
    replaced: 0,
    disputed: 0,
    refused: 0,
  })
  await fetchFrom(world, 'b', 'a')
  await merge(b)
  assert.equal(await world.git('b', 'rev-parse', REF), await world.git('a', 'rev-parse', REF), 'fast-forward')
  assert.equal((await world.git('a', 'ls-tree', '-r', '--name-only', REF)).split('\n').length, 3)
  assert.equal((await world.git('a', 'log', '-1', '--format=%P', REF)).split(' ').length, 2)
  const tip = await world.git('a', 'rev-parse', REF)
  await merge(a)
  assert.equal(await world.git('a', 'rev-parse', REF), tip, 'merging again changes nothing')
  // Into a repository that has none: the very commit.
  const c = await repository(t, world, 'c')
  await fetchFrom(world, 'c', 'a')
  assert.equal((await merge(c)).added, 3)
  assert.equal(await world.git('c', 'rev-parse', REF), tip)
})

test(
  'of two manifests of a key the own one is kept, unless it is none, and strangers are not taken',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    const [a, b] = [await repository(t, world, 'a'), await repository(t, world, 'b')]
    const [disputed, broken, fresh, foreign] = [keyOf('disputed'), keyOf('broken'), keyOf('fresh'), keyOf('foreign')]
    await plant(world, 'a', REF, manifestPath(broken).join('/'), Buffer.from('garbage'))
    await record(a, [[disputed, piecesOf('right')]])
    await plant(world, 'b', REF, manifestPath(foreign).join('/'), encodeManifest(keyOf('other'), piecesOf('x')))
    await plant(world, 'b', REF, 'abc/README', Buffer.from('hello'))
    await plant(world, 'b', REF, `000/000/${manifestPath(fresh)[2]}`, encodeManifest(fresh, piecesOf('elsewhere')))
    await record(b, [
      [disputed, piecesOf('false')],
      [broken, piecesOf('mended')],
      [fresh, piecesOf('fresh')],
    ])
    const own = await infohash(a, disputed)
    await fetchFrom(world, 'a', 'b')
    assert.equal((await infohash(a, disputed)).length, 2, 'both are there to be tried, the own first')
    assert.equal((await infohash(a, disputed))[0], own[0])
    const report = await merge(a)
    assert.deepEqual({ ...report, refs: [] }, { refs: [], added: 1, replaced: 1, disputed: 1, refused: 3 })
    await world.git('a', 'update-ref', '-d', 'refs/remotes/b/annexfs/manifests')
    assert.deepEqual(await infohash(a, disputed), own)
    assert.equal((await infohash(a, broken)).length, 1)
    assert.equal((await infohash(a, fresh)).length, 1)
    assert.deepEqual(await infohash(a, foreign), [])
  },
)

test('hostile refs of manifests are left out with a line in the log', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const git = await repository(t, world, 'a')
  const lines: string[] = []
  const log = textLog('debug', (line) => lines.push(line))
  const key = keyOf('one')
  // A ref to a blob, to a tag of a tree, and to a tree with a folder where the manifest should be.
  const blob = (await world.run('a', 'git', ['hash-object', '-w', '--stdin'], { input: 'x' })).toString().trim()
  await world.git('a', 'update-ref', 'refs/remotes/blob/annexfs/manifests', blob)
  const folder = [...manifestPath(key), 'inside'].join('/')
  await plant(world, 'a', 'refs/remotes/folder/annexfs/manifests', folder, Buffer.from('x'))
  await plant(world, 'a', 'refs/remotes/x/y/annexfs/manifests', 'abc', Buffer.from('x'))
  const manifests = new Manifests(git, { signatures: 'ignore', log })
  assert.deepEqual(await manifests.find(key), [])
  await plant(
    world,
    'a',
    'refs/remotes/long/annexfs/manifests',
    manifestPath(key).join('/'),
    Buffer.alloc(200_000, 'd'),
  )
  manifests.refs.expire()
  assert.deepEqual(await manifests.find(key), [])
  assert.match(lines.join(''), /a manifest is not used/)
  await record(git, [[key, piecesOf('one')]])
  manifests.refs.expire()
  assert.equal((await manifests.find(key)).length, 1, 'and the right one is found beside them')
  assert.equal((await merge(git)).added, 0)
})

test('a ref that moves, and one that a fetch makes, is noticed within about a second', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const [a, b] = [await repository(t, world, 'a'), await repository(t, world, 'b')]
  await world.git('b', 'remote', 'add', 'origin', join(world.folder, 'a'))
  const reader = await GitRepository.open(join(world.folder, 'b'), silentLog)
  t.after(() => reader.close())
  const manifests = new Manifests(reader, { signatures: 'ignore', log: silentLog })
  const soon = async (key: ManifestKey): Promise<boolean> => {
    for (const end = Date.now() + 60_000; Date.now() < end;) {
      if ((await manifests.find(key)).length > 0) return true
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    return false
  }
  assert.deepEqual(await manifests.find(keyOf('one')), [])
  await record(b, [[keyOf('one'), piecesOf('one')]])
  assert.ok(await soon(keyOf('one')))
  await record(a, [[keyOf('two'), piecesOf('two')]])
  await world.git('b', 'fetch', '--quiet', 'origin', `${REF}:refs/remotes/origin/annexfs/manifests`)
  assert.ok(await soon(keyOf('two')))
  await world.git('b', 'pack-refs', '--all')
  await world.git('b', 'gc', '--quiet', '--prune=now')
  await record(b, [[keyOf('three'), piecesOf('three')]])
  assert.ok(await soon(keyOf('three')))
})

test("nothing that another user's repository names is run to write into it", LIMIT, async (t) => {
  if (process.geteuid?.() !== 0) {
    t.skip('needs to be root')
    return
  }
  const world = await annexWorld(t)
  const git = await repository(t, world, 'a')
  const marker = join(world.folder, 'was-run')
  const hook = join(git.gitDir, 'hooks', 'reference-transaction')
  await writeFile(hook, `#!/bin/sh\ntouch '${marker}'\n`, { mode: 0o755 })
  const owned = [git.workTree ?? '', git.gitDir, join(git.gitDir, 'config')]
  for (const path of [...owned, ...(await readdir(git.gitDir)).map((name) => join(git.gitDir, name))]) {
    await chown(path, 65_534, 65_534)
  }
  const key = keyOf('one')
  await assert.rejects(record(git, [[key, piecesOf('one')]]), /dubious ownership/)
  await assert.rejects(stat(marker), { code: 'ENOENT' })
})
