import assert from 'node:assert/strict'
import { mkdir, rename, rm, symlink, unlink, utimes, writeFile, truncate } from 'node:fs/promises'
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { SingleTorrent } from '../../lib/tree/torrent-single.js'
import type { WatchFolder } from '../../lib/tree/torrent-watch.js'
import { infohashOf, makeTorrent, type MadeInfo } from '../support/metainfo.js'
import { temporaryFolder } from '../support/temp.js'
import { MemoryFacts, names, never, openFolder, recordingLog, until, walk } from './torrent-support.js'

const ALBUM: MadeInfo = {
  name: 'Album',
  files: [
    { path: ['cd 1', 'a.flac'], length: 20_000 },
    { path: ['cd 1', 'b.flac'], length: 5, attr: 'x' },
    { path: ['.pad', '1'], length: 100, attr: 'p' },
    { path: ['cover.jpg'], length: 7 },
    { path: ['front.jpg'], length: 0, attr: 'l', symlinkPath: ['cover.jpg'] },
  ],
}

test('a single-file torrent is a file, a multi-file torrent a folder, a sub-folder a folder', async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'more', '.hidden'), { recursive: true })
  await writeFile(
    join(folder, 'x.torrent'),
    makeTorrent({ name: 'film.mkv', length: 12_345 }, { 'creation date': 1_500_000_000 }),
  )
  await writeFile(join(folder, 'more', 'y.TORRENT'), makeTorrent(ALBUM))
  await writeFile(join(folder, '.z.torrent'), makeTorrent({ name: 'hidden' }))
  await writeFile(join(folder, 'more', '.hidden', 'z.torrent'), makeTorrent({ name: 'hidden' }))
  await writeFile(join(folder, 'notes.txt'), 'no torrent')
  const tree = await openFolder(t, folder)
  assert.deepEqual(await walk(tree), [
    '/film.mkv',
    '/more/',
    '/more/Album/',
    '/more/Album/cd 1/',
    '/more/Album/cd 1/a.flac',
    '/more/Album/cd 1/b.flac',
    '/more/Album/cover.jpg',
    '/more/Album/front.jpg',
  ])
  const film = await tree.lookup('/film.mkv', never)
  assert.ok(film?.kind === 'file' && film.content.kind === 'torrent')
  assert.equal(film.size, 12_345)
  assert.equal(film.mtime, 1_500_000_000_000)
  assert.equal(film.content.id, `btih:${infohashOf({ name: 'film.mkv', length: 12_345 })}/0`)
  const track = tree.lookup('/more/Album/cd 1/b.flac', never)
  assert.ok(track !== undefined && !(track instanceof Promise), 'lookups look only into memory')
  assert.ok(track.kind === 'file' && track.content.kind === 'torrent')
  assert.deepEqual([track.size, track.executable, track.content.file], [5, true, 1])
  const metainfo = await track.content.torrent.load()
  assert.equal(metainfo.files[track.content.file]?.offset, 20_000)
  assert.equal(metainfo.infohash, infohashOf(ALBUM))
  assert.deepEqual(await tree.lookup('/more/Album/front.jpg', never), {
    kind: 'link',
    mtime: track.mtime,
    target: 'cover.jpg',
  })
  for (const path of ['/nothing', '/film.mkv/x', '/more/Album/x', '/more/x/y', '/more/Album/cover.jpg/x']) {
    assert.equal(await tree.lookup(path, never), undefined, path)
  }
  await assert.rejects(tree.list('/nothing', never), (error) => isAnnexfsError(error, 'NOT_FOUND'))
  await assert.rejects(tree.list('/film.mkv', never), (error) => isAnnexfsError(error, 'NOT_A_DIRECTORY'))
  await assert.rejects(tree.list('/more/Album/none', never), (error) => isAnnexfsError(error, 'NOT_FOUND'))
})

test('clashing names get a short infohash, whatever the order; the same torrent twice is one, with all trackers', async (t) => {
  const folder = await temporaryFolder(t)
  const file = (seed: string): MadeInfo => ({ name: 'same.txt', seed })
  const dir = (seed: string): MadeInfo => ({ name: 'dir.d', seed, files: [{ path: ['a'], length: 5 }] })
  const short = (options: MadeInfo): string => infohashOf(options).slice(0, 8)
  await mkdir(join(folder, 'dir.d'))
  await writeFile(join(folder, '1.torrent'), makeTorrent(file('1'), { announce: 'udp://127.0.0.1:1/' }))
  await writeFile(join(folder, '2.torrent'), makeTorrent(file('2')))
  await writeFile(
    join(folder, '3.torrent'),
    makeTorrent(file('1'), { announce: 'udp://127.0.0.1:3/', 'url-list': 'http://127.0.0.1/' }),
  )
  await writeFile(join(folder, '4.torrent'), makeTorrent(dir('4')))
  await writeFile(join(folder, '5.torrent'), makeTorrent({ name: `same (${short(file('2'))}).txt` }))
  const tree = await openFolder(t, folder)
  const one = `same (${short(file('1'))}).txt`
  assert.deepEqual(
    await names(tree),
    [
      'dir.d',
      `dir.d (${short(dir('4'))})`,
      one,
      `same (${short(file('2'))}).txt`,
      `same (${infohashOf(file('2'))}).txt`,
    ].sort(),
  )
  const node = await tree.lookup(`/${one}`, never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  const metainfo = await node.content.torrent.load()
  assert.deepEqual(metainfo.trackers, [['udp://127.0.0.1:1/'], ['udp://127.0.0.1:3/']])
  assert.deepEqual(metainfo.webSeeds, ['http://127.0.0.1/'])

  await unlink(join(folder, '2.torrent'))
  await until(async () => (await names(tree)).includes('same.txt'))
})

test('what is added, replaced, renamed or removed appears, changes and vanishes; open files keep their torrent', async (t) => {
  const folder = await temporaryFolder(t)
  const tree = await openFolder(t, folder)
  assert.deepEqual(await walk(tree), [])
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'a' }))
  await until(async () => (await names(tree)).join() === 'a')
  const node = await tree.lookup('/a', never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  const opened = await node.content.torrent.load()

  await mkdir(join(folder, 'sub', 'sub'), { recursive: true })
  await writeFile(join(folder, 'sub', 'sub', 'b.torrent'), makeTorrent(ALBUM))
  await until(async () => (await walk(tree)).includes('/sub/sub/Album/cover.jpg'))
  await rename(join(folder, 'sub'), join(folder, 'moved'))
  await until(async () => (await walk(tree)).includes('/moved/sub/Album/cover.jpg'))
  assert.equal(await tree.lookup('/sub', never), undefined)
  await writeFile(join(folder, 'moved', 'sub', 'c.torrent'), makeTorrent({ name: 'c' }))
  await until(async () => (await names(tree, '/moved/sub')).includes('c'))

  await writeFile(join(folder, 'new'), makeTorrent({ name: 'replaced' }))
  await rename(join(folder, 'new'), join(folder, 'a.torrent'))
  await until(async () => (await names(tree)).join() === 'moved,replaced')
  assert.equal(opened.name, 'a')
  assert.equal((await node.content.torrent.load()).infohash, opened.infohash)

  await rm(join(folder, 'moved'), { recursive: true })
  await unlink(join(folder, 'a.torrent'))
  await until(async () => (await walk(tree)).length === 0)
})

test('a torrent that has gone or changed before it was opened is not found', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'a' }))
  const tree = await openFolder(t, folder, { watch: deaf, rescanInterval: 60_000 })
  const node = await tree.lookup('/a', never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'b' }))
  await assert.rejects(node.content.torrent.load(), (error) => isAnnexfsError(error, 'NOT_FOUND'))
  await unlink(join(folder, 'a.torrent'))
  await assert.rejects(node.content.torrent.load(), (error) => isAnnexfsError(error, 'NOT_FOUND'))
})

test('a half-written torrent appears once it is whole, without a complaint', async (t) => {
  const folder = await temporaryFolder(t)
  const log = recordingLog()
  const tree = await openFolder(t, folder, { log })
  const bytes = makeTorrent({ name: 'slow', length: 10_000_000 })
  const path = join(folder, 'slow.torrent')
  for (const end of [0, 1, 50, 1000, bytes.length - 1, bytes.length]) {
    await writeFile(path, bytes.subarray(0, end))
    await sleep(100)
  }
  await until(async () => (await names(tree)).join() === 'slow')
  assert.deepEqual(log.warnings, [])
})

test('a file that changes twice within one tick of the file system’s clock shows its last content', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'a.torrent')
  const now = new Date()
  await writeFile(path, makeTorrent({ name: 'one' }))
  await utimes(path, now, now)
  const tree = await openFolder(t, folder, { watch: deaf, rescanInterval: 60_000 })
  assert.deepEqual(await names(tree), ['one'])
  await writeFile(path, makeTorrent({ name: 'two' }))
  await utimes(path, now, now)
  await until(async () => (await names(tree)).join() === 'two')
})

test('unusable files are said once each and do not keep the others from being shown', async (t) => {
  const folder = await temporaryFolder(t)
  const log = recordingLog()
  const old = new Date(Date.now() - 3_600_000)
  const put = async (name: string, bytes: string | Buffer): Promise<void> => {
    await writeFile(join(folder, name), bytes)
    await utimes(join(folder, name), old, old)
  }
  await put('html.torrent', '<html>')
  await put('empty.torrent', '')
  await put('list.magnet', '# a comment\nnonsense\n')
  await put('good.torrent', makeTorrent({ name: 'good' }))
  await put('huge.torrent', '')
  await truncate(join(folder, 'huge.torrent'), 2 ** 40)
  await utimes(join(folder, 'huge.torrent'), old, old)
  await mkdir(join(folder, 'folder.torrent'))
  execFileSync('mkfifo', [join(folder, 'pipe.torrent')])
  await symlink('pipe.torrent', join(folder, 'to-pipe.torrent'))
  await symlink('/nowhere', join(folder, 'dangling.torrent'))
  await symlink('good.torrent', join(folder, 'linked.torrent'))
  await symlink('.', join(folder, 'circle'))
  const tree = await openFolder(t, folder, { log, rescanInterval: 50 })
  await until(() => log.warnings.length >= 4)
  await sleep(400)
  assert.deepEqual(await walk(tree), ['/folder.torrent/', '/good'])
  assert.deepEqual(log.warnings.map((line) => /[a-z]+\.(?:torrent|magnet)/.exec(line)?.[0]).sort(), [
    'empty.torrent',
    'html.torrent',
    'huge.torrent',
    'list.magnet',
  ])
})

test('folder and file names that are not UTF-8 are followed like any other', async (t) => {
  const folder = await temporaryFolder(t)
  const raw = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from('ff6f', 'hex')])
  await mkdir(raw)
  await writeFile(Buffer.concat([raw, Buffer.from('/\xfe.torrent', 'latin1')]), makeTorrent({ name: 'x' }))
  const tree = await openFolder(t, folder, { rescanInterval: 100 })
  assert.deepEqual(await walk(tree), ['/\\xffo/', '/\\xffo/x'])
  await rm(raw, { recursive: true })
  await until(async () => (await walk(tree)).length === 0)
})

/** A watcher that tells of nothing, as when the kernel’s queue has overflowed. */
const deaf: WatchFolder = () => ({ close: () => Promise.resolve() })

test('what a watcher does not tell is found all the same', async (t) => {
  const folder = await temporaryFolder(t)
  const tree = await openFolder(t, folder, { watch: deaf, rescanInterval: 100 })
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'a' }))
  await until(async () => (await names(tree)).join() === 'a')
  await rm(folder, { recursive: true })
  await until(async () => (await names(tree)).length === 0)
  await mkdir(folder)
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'b' }))
  await until(async () => (await names(tree)).join() === 'b')
})

test('a watcher that fails is made up for at once, and said once', async (t) => {
  const folder = await temporaryFolder(t)
  const log = recordingLog()
  let fail: (error: unknown) => void = () => undefined
  const failing: WatchFolder = (_folder, { onError }) => {
    fail = onError
    return deaf(_folder, { depth: 1, onChange: () => undefined, onError })
  }
  const tree = await openFolder(t, folder, { log, watch: failing, rescanInterval: 60_000 })
  await writeFile(join(folder, 'a.torrent'), makeTorrent({ name: 'a' }))
  fail(new Error('ENOSPC: no more watches'))
  fail(new Error('ENOSPC: no more watches'))
  await until(async () => (await names(tree)).join() === 'a')
  assert.equal(log.warnings.length, 1)
})

test('a folder that is not there is refused', async (t) => {
  const folder = await temporaryFolder(t)
  await assert.rejects(openFolder(t, join(folder, 'none')), (error) => isAnnexfsError(error, 'NOT_FOUND'))
  await writeFile(join(folder, 'file'), '')
  await assert.rejects(openFolder(t, join(folder, 'file')), (error) => isAnnexfsError(error, 'NOT_A_DIRECTORY'))
})

test('a single torrent file is a folder with that torrent', async (t) => {
  const folder = await temporaryFolder(t)
  const path = join(folder, 'a.torrent')
  const options = { log: silentLog, facts: new MemoryFacts(), resolveMagnet: () => Promise.reject(new Error('no')) }
  await writeFile(path, makeTorrent(ALBUM))
  const tree = await SingleTorrent.open({ source: { file: path }, ...options })
  t.after(() => tree.close())
  await tree.ready(never)
  assert.deepEqual(await walk(tree), [
    '/Album/',
    '/Album/cd 1/',
    '/Album/cd 1/a.flac',
    '/Album/cd 1/b.flac',
    '/Album/cover.jpg',
    '/Album/front.jpg',
  ])
  await unlink(path)
  const node = await tree.lookup('/Album/cover.jpg', never)
  assert.ok(node?.kind === 'file' && node.content.kind === 'torrent')
  assert.equal((await node.content.torrent.load()).infohash, infohashOf(ALBUM))
  await writeFile(path, '<html>')
  await assert.rejects(SingleTorrent.open({ source: { file: path }, ...options }), (error) =>
    isAnnexfsError(error, 'INVALID'),
  )
  await unlink(path)
  await assert.rejects(SingleTorrent.open({ source: { file: path }, ...options }), (error) =>
    isAnnexfsError(error, 'NOT_FOUND'),
  )
})
