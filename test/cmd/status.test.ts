import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fit, widthOf, wrapText } from '../../cmd/columns.js'
import { showTime, statusText } from '../../cmd/status-text.js'
import { controlFolders, ensureControlFolder, socketName } from '../../lib/control/folder.js'
import { startControl } from '../../lib/control/server.js'
import { silentLog } from '../../lib/log/log.js'
import type { Snapshot } from '../../lib/status/snapshot.js'
import { annexWorld } from '../support/annex.js'
import { pseudoRandom, until } from '../support/peers.js'
import { annexfs, homeOf, mountSession, PROGRAM } from '../support/session.js'
import { setStation } from '../support/station.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024

test('status tells what a mount does, in 80 columns, for people and as JSON', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('data set')
  const film = pseudoRandom(2 * MIB, 'film')
  await world.addAnnexed('data set', { 'a film with quite a long name, which goes on and on and on.mkv': film })
  await world.run('.', 'mkdir', ['shelf'])
  const shelf = join(world.folder, 'shelf')
  await world.annex('data set', 'initremote', '-q', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('data set', 'move', '--quiet', '--to', 'shelf', '.')
  const env = homeOf(await temporaryFolder(t))
  const mount = await mountSession(t, [repository], { env })
  const path = join(mount.path, 'a film with quite a long name, which goes on and on and on.mkv')
  const handle = await open(path)
  try {
    await handle.read(Buffer.alloc(1000), 0, 1000, 0)
    const { code, stdout, stderr } = await annexfs(t, ['status', mount.path], { env })
    assert.equal(code, 0, stderr)
    const text = stdout.toString()
    for (const line of text.split('\n')) assert.ok(widthOf(line) <= 80, line)
    assert.ok(text.includes(`mount    ${mount.path}\n`))
    assert.match(text, /shelf \(directory\)/)
    assert.match(text, /mkv +2\.0 MiB [#.]{10} +\d+ % +pending +1\n/)

    const json = await annexfs(t, ['status', '--json'], { env })
    assert.equal(json.code, 0, json.stderr)
    const snapshot = JSON.parse(json.stdout.toString()) as Snapshot
    assert.equal(snapshot.mountpoint, mount.path)
    assert.equal(snapshot.pid, mount.process.pid)
    assert.equal(snapshot.files[0]?.size, film.length)

    const inside = await annexfs(t, ['status', '--json', path], { env })
    assert.equal(inside.code, 0, 'a path in the mount means the mount')
  } finally {
    await handle.close()
  }
  const other = await annexfs(t, ['status', world.folder], { env })
  assert.equal(other.code, 3)
  assert.match(other.stderr, /is not in a mount of annexfs/)
  assert.equal(await mount.stop(), 0)
  const none = await annexfs(t, ['status'], { env })
  assert.equal(none.code, 3)
  assert.match(none.stderr, /nothing of yours is running/)
})

test(
  'status --watch goes on until the mount ends, a line for each look where there is no terminal',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('a')
    await world.addAnnexed('a', { file: 'content' })
    const env = homeOf(await temporaryFolder(t))
    const mount = await mountSession(t, [repository], { env })
    const watching = spawn(process.execPath, [PROGRAM, 'status', '--watch', '--json', '--interval', '200ms'], {
      env,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => watching.kill('SIGKILL'))
    const ended = once(watching, 'close')
    let shown = ''
    watching.stdout.on('data', (text: Buffer) => (shown += text.toString()))
    await readFile(join(mount.path, 'file'))
    const bytes = (): readonly number[] =>
      shown
        .split('\n')
        .slice(0, -1)
        .filter((line) => line !== '')
        .map((line) => (JSON.parse(line) as Snapshot).readBytes)
    await until('two lines, the last with the read', () => bytes().length >= 2 && (bytes().at(-1) ?? 0) >= 7)
    assert.equal(await mount.stop(), 0)
    assert.deepEqual(await ended, [0, null])
  },
)

test('status says why nothing is cached on a disk with little free space', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { film: pseudoRandom(MIB, 'film') })
  await world.run('.', 'mkdir', ['shelf'])
  const shelf = join(world.folder, 'shelf')
  await world.annex('a', 'initremote', '-q', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', '.')
  const env = homeOf(await temporaryFolder(t))
  const mount = await mountSession(t, [repository], { env, minFree: '1000TiB' })
  await readFile(join(mount.path, 'film'))
  await mount.logged(/nothing can be cached: .*--min-free/)
  const { code, stdout, stderr } = await annexfs(t, ['status', mount.path], { env })
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /^ {9}nothing can be cached: \d\S* .iB free there, and --min-free is 1000 TiB$/m)
  const json = await annexfs(t, ['status', '--json'], { env })
  const { cache } = JSON.parse(json.stdout.toString()) as Snapshot
  assert.equal(cache.lowDisk?.minFree, 1000 * 2 ** 40)
  assert.equal(cache.used, 0)
})

test('a dead mount leaves nothing that status would see, and the next one can be asked', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const env = homeOf(await temporaryFolder(t))
  const mount = await mountSession(t, [repository], { env })
  const missing = await annexfs(t, ['whereis', join(mount.path, 'nothing')], { env })
  assert.equal(missing.code, 3)
  assert.match(missing.stderr, /there is no .*nothing\n$/)
  const got = await annexfs(t, ['get', join(mount.path, 'file')], { env })
  assert.equal(got.code, 2)
  assert.match(got.stderr, /lies in a mount: annexfs prefetch fetches it/)
  await mount.kill()
  assert.equal((await annexfs(t, ['status'], { env })).code, 3)
  for (const command of ['status', 'ui', 'whereis', 'ls']) {
    const dead = await annexfs(t, [command, mount.path], { env })
    assert.equal(dead.code, 3, dead.stderr)
    assert.match(dead.stderr, /lies in a mount whose process is dead; annexfs unmount clears/)
  }
  const again = await mountSession(t, [repository], { env, mountpoint: mount.path, cache: mount.cache })
  const { code, stdout } = await annexfs(t, ['status', '--json'], { env })
  assert.equal(code, 0)
  assert.equal((JSON.parse(stdout.toString()) as Snapshot).pid, again.process.pid)
})

test('hostile names cannot leave their line, nor speak to the terminal', async () => {
  const name = `/evil\x1b[2J\n${'x'.repeat(300)}`
  const state: Partial<Snapshot> = {
    files: [
      {
        path: name,
        id: 'x',
        size: 10,
        cached: 5,
        verified: 'piece',
        readers: 1,
        positions: [],
        lastRead: 0,
        origins: [],
      },
      {
        path: '/漢字'.repeat(40),
        id: 'y',
        size: 0,
        cached: 0,
        verified: 'none',
        readers: 1,
        positions: [],
        lastRead: 0,
        origins: [],
      },
    ],
    waiting: [
      { path: name, range: { start: 0, end: 1 }, since: Date.now(), what: `piece 1: ${name} ${'word '.repeat(500)}` },
    ],
    errors: [{ time: Date.now(), path: name, reason: name }],
    peers: [{ torrent: 't', address: '[::1]:6881', client: name, down: 1e6, up: 0, choked: true, kind: 'tcp' }],
  }
  const snapshot = await setStation(state).snapshot()
  for (const width of [60, 80, 132]) {
    const text = statusText(snapshot, width)
    // oxlint-disable-next-line no-control-regex -- just these must not be there
    assert.doesNotMatch(text, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
    for (const line of text.split('\n')) assert.ok(widthOf(line) <= width, line)
    assert.ok(text.split('\n').length < 60)
  }
  assert.ok(statusText(snapshot, 80, 10).trimEnd().split('\n').length <= 10)
})

test('peers stand under the name of their torrent, or its infohash', async () => {
  const peer = { client: 'x', down: 0, up: 0, choked: false, kind: 'tcp' }
  const named = { ...peer, torrent: '0'.repeat(40), name: 'night films' }
  const peers = [
    { ...named, address: '127.0.0.2:1', down: 2048 },
    { ...peer, address: '127.0.0.3:1', torrent: '1'.repeat(40) },
    { ...named, address: '127.0.0.4:1' },
  ]
  const text = statusText(await setStation({ peers }).snapshot(), 80)
  assert.match(text, /\nPEERS of night films +client .*\n127\.0\.0\.2:1 .* 2\.0 KiB\/s.*\n127\.0\.0\.4:1 /)
  assert.match(text, /\nPEERS of 1…1+ +client .*\n127\.0\.0\.3:1 /)
})

test('text is cut to columns, and times are told in words', () => {
  assert.equal(fit('abc', 5), 'abc  ')
  assert.equal(fit('abc', 5, { right: true }), '  abc')
  assert.equal(fit('abcdefgh', 5), 'abcd…')
  assert.equal(fit('/folder/file.name', 10, { middle: true }), '/fo…e.name')
  assert.equal(widthOf(fit('漢字漢字', 6)), 6)
  assert.equal(widthOf('e\u0301'), 1)
  assert.deepEqual(wrapText('one two three', 7), ['one two', 'three'])
  assert.deepEqual(wrapText('one two three four', 7, 2), ['one two', 'three …'])
  const rows: [number, string][] = [
    [0, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_600_000, '1 h'],
    [12_000_000, '3 h 20 min'],
  ]
  for (const [duration, text] of [...rows, [180_000_000, '2 d 2 h']] as [number, string][])
    assert.equal(showTime(duration), text)
})

test('a mount whose socket another process has works all the same, and says so', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const env = homeOf(await temporaryFolder(t))
  const path = join(await temporaryFolder(t), 'mnt')
  const folder = ensureControlFolder(controlFolders(env))
  const taken = await startControl({ folder, name: socketName(path), methods: new Map(), log: silentLog })
  t.after(() => taken.close())
  const mount = await mountSession(t, [repository], { env, mountpoint: path })
  await mount.logged(/there is no control socket.*another process answers/)
  assert.equal(await readFile(join(path, 'file'), 'utf8'), 'content')
  assert.equal(await mount.stop(), 0)
})
