import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, lstat, mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { askedRange, httpServer } from '../support/http.js'
import { makeTorrent, pseudoRandom, startLibtorrent, until } from '../support/peers.js'
import { annexfs, AT_HOME, homeOf, PROGRAM, type CommandResult } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024

/** `annexfs get`, with one cache for a test. */
async function getter(t: TestContext): Promise<(...args: string[]) => Promise<CommandResult>> {
  const own = ['--cache-dir', join(await temporaryFolder(t), 'cache'), '--cache-size=16MiB', ...AT_HOME]
  return (...args) => annexfs(t, ['get', ...own, '--allow-address=127.0.0.0/8', ...args])
}

test('files and folders are written below DIR, as they are, with what is executable so', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.write('a', 'script', '#!/bin/sh\n')
  await chmod(join(repository, 'script'), 0o755)
  const files = { 'folder/deep/one': pseudoRandom(300_000, 'one'), two: 'two', 'folder/-x $(touch y)\n': 'odd' }
  await world.addAnnexed('a', files)
  await world.git('a', 'add', 'script')
  await symlink('/etc/passwd', join(repository, 'link'))
  await world.git('a', 'add', 'link')
  await world.git('a', 'commit', '-q', '-m', 'more')
  const get = await getter(t)
  const to = join(await temporaryFolder(t), 'new', 'dir')
  const { code, stdout, stderr } = await get(repository, '/', '--to', to)
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /^got {2}.*folder\/deep\/one {2}293 KiB, checked whole$/m)
  assert.match(stdout.toString(), /^4 of 4 files/m)
  assert.deepEqual((await readdir(to)).toSorted(), ['folder', 'script', 'two'])
  assert.deepEqual(await readFile(join(to, 'folder/deep/one')), files['folder/deep/one'])
  assert.equal((await stat(join(to, 'script'))).mode & 0o111, 0o111 & ~process.umask())
  assert.equal((await stat(join(to, 'two'))).mode & 0o111, 0)

  const again = await get(repository, 'folder', 'two', '--to', to)
  assert.equal(again.code, 0)
  assert.equal(again.stdout.toString().match(/^there /gm)?.length, 3, 'what is there and right is left alone')
  await writeFile(join(to, 'two'), 'owt')
  const other = await get(repository, 'two', '--to', to)
  assert.equal(other.code, 4)
  assert.match(other.stderr, /is there already and is something else/)
  assert.equal(await readFile(join(to, 'two'), 'utf8'), 'owt')
})

test('nothing is written through links in DIR, nor outside of it', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { 'folder/file': 'content', file: 'content 2' })
  const get = await getter(t)
  const home = await temporaryFolder(t)
  const [to, outside] = [join(home, 'to'), join(home, 'outside')]
  await mkdir(to)
  await mkdir(outside)
  await symlink(outside, join(to, 'folder'))
  await symlink(join(outside, 'planted'), join(to, 'file'))
  const { code, stderr } = await get(repository, 'folder', 'file', '--to', to)
  assert.equal(code, 4)
  assert.match(stderr, /is a symbolic link, which is not followed/)
  assert.deepEqual(await readdir(outside), [])
  assert.ok((await lstat(join(to, 'file'))).isSymbolicLink())
  const up = await get(repository, '../x', '--to', to)
  assert.equal(up.code, 2)
})

test('content that is not what its key says is an error, and nothing of it is left', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(MIB, 'x')
  const wrong = Buffer.from(content)
  wrong[500_000] = (wrong[500_000] ?? 0) ^ 1
  let lies = true
  const server = await httpServer(t, (request, response) => {
    const range = askedRange(request, content.length) ?? { start: 0, end: content.length }
    const head = { ETag: '"1"', 'Content-Range': `bytes ${range.start}-${range.end - 1}/${content.length}` }
    response.writeHead(request.headers.range === undefined ? 200 : 206, head)
    response.end(request.method === 'HEAD' ? undefined : (lies ? wrong : content).subarray(range.start, range.end))
  })
  const repository = await world.repository('a')
  await world.addAnnexed('a', { x: content, good: 'good' })
  const key = await world.annex('a', 'lookupkey', 'x')
  await world.annex('a', 'registerurl', key, `${server.url}/x`)
  await world.annex('a', 'drop', '--force', '--quiet', 'x')
  const get = await getter(t)
  const to = await temporaryFolder(t)
  const bad = await get(repository, '/', '--to', to)
  assert.equal(bad.code, 5, bad.stderr)
  assert.match(bad.stderr, /^annexfs: \/x: /m)
  assert.deepEqual(await readdir(to), ['good'], 'the other file came, and of the wrong one nothing is left')
  assert.equal((await get(repository, 'x')).code, 5, 'into the cache, too')
  lies = false
  const right = await get(repository, 'x', '--to', to)
  assert.equal(right.code, 0, right.stderr)
  assert.deepEqual(await readFile(join(to, 'x')), content)
})

test('what an interrupted run has left is gone on with, and checked', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(24 * MIB, 'x')
  let served = 0
  let stopAt = 9 * MIB
  const server = await httpServer(t, (request, response) => {
    const range = askedRange(request, content.length) ?? { start: 0, end: content.length }
    const head = { ETag: '"1"', 'Content-Range': `bytes ${range.start}-${range.end - 1}/${content.length}` }
    response.writeHead(request.headers.range === undefined ? 200 : 206, head)
    if (request.method === 'HEAD') {
      response.end()
      return
    }
    const end = Math.min(range.end, Math.max(range.start, stopAt))
    served += end - range.start
    response.write(content.subarray(range.start, end))
    if (end === range.end) response.end()
  })
  const repository = await world.repository('a')
  await world.addAnnexed('a', { x: content })
  await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', 'x'), `${server.url}/x`)
  await world.annex('a', 'drop', '--force', '--quiet', 'x')
  const home = await temporaryFolder(t)
  const to = join(home, 'to')
  const own = ['--cache-dir', join(home, 'cache'), '--cache-size=4MiB', '--allow-address=127.0.0.0/8', ...AT_HOME]
  const child = spawn(process.execPath, [PROGRAM, 'get', ...own, repository, 'x', '--to', to], { env: homeOf(home) })
  const gone = once(child, 'exit')
  t.after(() => child.kill('SIGKILL'))
  const part = async (): Promise<number> => {
    const [name] = await readdir(to).catch(() => [])
    return name === undefined ? 0 : (await stat(join(to, name))).size
  }
  await until('some of it is there', async () => (await part()) >= 6 * MIB)
  child.kill('SIGKILL')
  await gone
  const [name] = await readdir(to)
  assert.match(name ?? '', /^\.annexfs-[0-9a-f]{24}\.part$/)
  stopAt = Infinity
  served = 0
  const { code, stdout, stderr } = await annexfs(t, ['get', ...own, repository, 'x', '--to', to])
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /checked whole, \d+\.\d MiB of it from before/)
  assert.ok(served < 20 * MIB, `${served} bytes were fetched again`)
  assert.deepEqual(await readFile(join(to, 'x')), content)
  assert.deepEqual(await readdir(to), ['x'])

  const elsewhere = join(home, 'elsewhere')
  await mkdir(elsewhere)
  await writeFile(join(elsewhere, 'x'), '')
  const taken = await annexfs(t, ['get', ...own, repository, 'x', '--to', elsewhere])
  assert.equal(taken.code, 4)
})

test('a file of a torrent is fetched with each piece checked', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 800_000, pieceLength: 65_536 })
  const peer = await startLibtorrent(t, { torrent, host: '127.0.0.61', seed: true })
  const get = await getter(t)
  const to = await temporaryFolder(t)
  const { code, stdout, stderr } = await get(torrent.file, '/', '--to', to, '--peer', peer.address)
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /content\.bin {2}781 KiB, each piece checked/)
  assert.deepEqual(await readFile(join(to, 'content.bin')), torrent.content)
  const cached = await get(torrent.file, 'content.bin')
  assert.equal(cached.code, 0, cached.stderr)
  assert.match(cached.stdout.toString(), /781 KiB of 781 KiB cached, each piece checked/)
})

test('a folder that cannot be made is an error, also where it would be tried for ever', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const taken = join(world.folder, 'taken')
  await writeFile(taken, 'x')
  const cache = ['--cache-dir', join(world.folder, 'cache'), ...AT_HOME]
  for (const [to, why] of [
    ['/proc/annexfs-test', /cannot make the folder \/proc\/annexfs-test: ENOENT/],
    [taken, /cannot make the folder .*taken: something else is there/],
  ] as const) {
    const { code, stderr } = await annexfs(t, ['get', ...cache, repository, 'file', '--to', to], { timeout: 120_000 })
    assert.equal(code, 6, stderr)
    assert.match(stderr, why)
  }
})
