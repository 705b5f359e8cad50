import assert from 'node:assert/strict'
import { chmod, lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld, COMMIT_TIME } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { makeTorrent, pseudoRandom, startLibtorrent } from '../support/peers.js'
import { makeSample, REACH_NGINX } from '../support/sample.js'
import { mountSession, runProgram, within } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

/** Every name under `folder`, sorted; files by their path, folders with a slash at the end. */
async function walk(folder: string): Promise<string[]> {
  const entries = await within(60_000, `listing ${folder}`, readdir(folder, { recursive: true, withFileTypes: true }))
  return entries
    .map((entry) => `${join(entry.path, entry.name).slice(folder.length + 1)}${entry.isDirectory() ? '/' : ''}`)
    .sort()
}

test('files at every kind of place have the right names, sizes, times and bytes', LIMIT, async (t) => {
  const sample = await makeSample(t)
  const mount = await mountSession(t, [sample.repository], { options: REACH_NGINX })
  const names = await walk(mount.path)
  const tracked = (await sample.world.git('a', 'ls-tree', '-r', '--name-only', 'HEAD')).split('\n')
  assert.deepEqual(
    names.filter((name) => !name.endsWith('/')),
    tracked.sort(),
  )
  for (const [path, content] of sample.files) {
    const stats = await lstat(join(mount.path, path))
    assert.equal(stats.size, content.length, path)
    assert.equal(stats.isFile(), true, path)
    assert.equal(Math.floor(stats.mtimeMs / 1000), COMMIT_TIME / 1000, path)
    assert.equal(stats.mode & 0o7777, 0o444, path)
    assert.ok(content.equals(await within(60_000, path, readFile(join(mount.path, path)))), `${path}: wrong bytes`)
  }
  const known = await sample.world.annex('a', 'find', '--anything', '--format=${file} ${bytesize}\\n')
  for (const line of known.split('\n')) {
    const [file = '', size] = line.split(' ')
    assert.equal(String((await lstat(join(mount.path, file))).size), size, `${file}: git-annex says so`)
  }
  assert.equal(await mount.stop(), 0)
})

test('unlocked, executable, linked and git files look as in a checkout', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  const program = pseudoRandom(300_000, 'program')
  await world.write('a', 'bin/run', program)
  await chmod(join(repository, 'bin/run'), 0o755)
  await world.write('a', 'bin/script', '#!/bin/sh\n')
  await chmod(join(repository, 'bin/script'), 0o755)
  await world.write('a', 'data/unlocked', pseudoRandom(200_000, 'unlocked'))
  await symlink('../bin/script', join(repository, 'data/link'))
  await symlink('/etc/passwd', join(repository, 'data/out'))
  await symlink('nowhere', join(repository, 'data/broken'))
  await mkdir(join(world.folder, 'shelf'))
  await world.git('a', 'add', 'bin/script', 'data/link', 'data/out', 'data/broken')
  await world.annex('a', 'add', '--quiet', 'bin/run', 'data/unlocked')
  await world.annex('a', 'unlock', '--quiet', 'data/unlocked', 'bin/run')
  await world.git('a', 'commit', '--quiet', '-m', 'files')
  await world.annex('a', 'initremote', '--quiet', 's', 'type=directory', 'directory=../shelf', 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 's', 'bin/run', 'data/unlocked')

  const mount = await mountSession(t, [repository])
  const at = (path: string): string => join(mount.path, path)
  assert.equal((await lstat(at('bin/run'))).mode & 0o7777, 0o555)
  assert.equal((await lstat(at('bin/run'))).size, program.length)
  assert.ok(program.equals(await readFile(at('bin/run'))))
  assert.equal((await lstat(at('bin/script'))).mode & 0o7777, 0o555)
  assert.equal((await lstat(at('data/unlocked'))).mode & 0o7777, 0o444)
  assert.ok(pseudoRandom(200_000, 'unlocked').equals(await readFile(at('data/unlocked'))))
  assert.equal(await readlink(at('data/link')), '../bin/script')
  assert.equal(await readFile(at('data/link'), 'utf8'), '#!/bin/sh\n')
  assert.equal(await readlink(at('data/out')), '/etc/passwd')
  assert.equal(await readlink(at('data/broken')), 'nowhere')
  await assert.rejects(readFile(at('data/broken')), { code: 'ENOENT' })
  await assert.rejects(readdir(at('bin/run')), { code: 'ENOTDIR' })
  await assert.rejects(writeFile(at('bin/new'), 'x'), { code: 'EROFS' })
})

test('a key without a size shows 0 until it is opened, then its size, for good', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const content = pseudoRandom(1_234_567, 'video')
  await writeFile(join(nginx.root, 'video'), content)
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=video', `${nginx.url}/video`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  assert.match(await world.annex('a', 'lookupkey', 'video'), /^URL--/)

  const before = (await nginx.log()).length
  const mount = await mountSession(t, [repository], { options: REACH_NGINX })
  const file = join(mount.path, 'video')
  assert.equal((await lstat(file)).size, 0)
  assert.equal((await nginx.log()).length, before, 'stat asks nobody')
  const { stdout, code } = await runProgram('cat', [file])
  assert.equal(code, 0)
  assert.ok(content.equals(stdout), 'cat gives all of it')
  assert.equal((await lstat(file)).size, content.length)
  const questions = (await nginx.log()).length
  assert.ok(questions > before)
  await mount.stop()

  const again = await mount.again()
  assert.equal((await lstat(file)).size, content.length, 'remembered')
  assert.ok(content.equals(await readFile(file)), 'and so is what was fetched')
  assert.equal((await nginx.log()).length, questions, 'nothing was asked again')
  await again.stop()
})

test(
  'content that is only at a kind of remote that cannot be read is EIO, and the log names the kind',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('a')
    await world.addAnnexed('a', { file: pseudoRandom(50_000, 'file') })
    // What git-annex itself would have recorded after a copy to a glacier.
    const uuid = '11111111-2222-3333-4444-555555555555'
    const worktree = join(world.folder, 'branch')
    await world.git('a', 'worktree', 'add', '--quiet', worktree, 'git-annex')
    await writeFile(join(worktree, 'remote.log'), `${uuid} name=ice type=glacier timestamp=1714979289s\n`)
    await world.git('branch', 'add', 'remote.log')
    await world.git('branch', 'commit', '--quiet', '-m', 'ice')
    await world.annex('a', 'setpresentkey', await world.annex('a', 'lookupkey', 'file'), uuid, '1')
    await world.annex('a', 'drop', '--quiet', '--force', 'file')

    const mount = await mountSession(t, [repository])
    assert.equal((await lstat(join(mount.path, 'file'))).size, 50_000)
    await assert.rejects(within(60_000, 'read', readFile(join(mount.path, 'file'))), { code: 'EIO' })
    await mount.logged(/glacier/)
  },
)

test('two SOURCEs become folders named after them', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const one = await world.repository('films')
  const two = await world.repository('other/films')
  await world.addAnnexed('films', { a: 'first' })
  await world.addAnnexed('other/films', { b: 'second' })
  const torrents = join(world.folder, 'torrents')
  await mkdir(torrents)
  const mount = await mountSession(t, [one, two, torrents])
  assert.deepEqual(await walk(mount.path), ['films (2)/', 'films (2)/b', 'films/', 'films/a', 'torrents/'])
  assert.equal(await readFile(join(mount.path, 'films (2)/b'), 'utf8'), 'second')
  assert.equal(await readFile(join(mount.path, 'films/a'), 'utf8'), 'first')
})

test('a folder of torrents and a repository in one mount, read from a peer and from a remote', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 3_000_000, pieceLength: 65_536, name: 'film.bin' })
  const peer = await startLibtorrent(t, { host: '127.0.0.41', torrent, seed: true })
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'annexed' })
  await mkdir(join(world.folder, 'torrents'))
  await writeFile(join(world.folder, 'torrents', 'film.torrent'), await readFile(torrent.file))
  const mount = await mountSession(t, [repository, join(world.folder, 'torrents')], {
    options: ['--peer', peer.address, ...REACH_NGINX],
  })
  assert.deepEqual(
    (await walk(mount.path)).filter((name) => !name.endsWith('/')),
    ['a/file', 'torrents/film.bin'],
  )
  assert.ok(torrent.content.equals(await within(60_000, 'torrent', readFile(join(mount.path, 'torrents/film.bin')))))
  assert.equal(await readFile(join(mount.path, 'a/file'), 'utf8'), 'annexed')
})
