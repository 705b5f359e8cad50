import assert from 'node:assert/strict'
import { mkdir, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { processEnded } from '../../cmd/process-end.js'
import { unmountPath } from '../../lib/fuse/unmount.js'
import { annexWorld } from '../support/annex.js'
import { isMountedAt } from '../support/mount.js'
import { startNginx } from '../support/nginx.js'
import { annexfs, AT_HOME, homeOf, mountSession, runProgram, within } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  test(`${signal} unmounts while files are open, and ends with exit code 0`, LIMIT, async (t) => {
    const world = await annexWorld(t)
    const repository = await world.repository('a')
    await world.addAnnexed('a', { file: 'x'.repeat(100_000) })
    const mount = await mountSession(t, [repository])
    const handle = await open(join(mount.path, 'file'))
    try {
      const ended = new Promise((resolve) => mount.process.once('exit', resolve))
      mount.process.kill(signal)
      assert.equal(await within(60_000, 'the end', ended), 0, mount.log())
      assert.equal(await isMountedAt(mount.path), false)
      assert.match(mount.log(), /unmounted; fetched/)
    } finally {
      // The mount is gone: closing may say so.
      await handle.close().catch(() => undefined)
    }
  })
}

test('--daemon returns when the mount answers, and unmount ends it', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const mountpoint = join(world.folder, 'mnt')
  await mkdir(mountpoint)
  const options = ['--cache-dir', join(world.folder, 'cache'), ...AT_HOME]
  const env = homeOf(world.folder)
  t.after(async () => {
    if (await isMountedAt(mountpoint)) await unmountPath(mountpoint)
  })
  const started = await annexfs(t, ['mount', '--daemon', ...options, repository, mountpoint], { env })
  assert.equal(started.code, 0, started.stderr)
  const pid = Number(/process (\d+), log in/.exec(started.stderr)?.[1])
  const log = /log in (.*)\n/.exec(started.stderr)?.[1] ?? ''
  assert.equal(await readFile(join(mountpoint, 'file'), 'utf8'), 'content')
  assert.equal((await stat(log)).mode & 0o777, 0o600)

  const second = await annexfs(t, ['mount', '--daemon', ...options, join(world.folder, 'nowhere'), mountpoint], { env })
  assert.equal(second.code, 3, 'what failed in the background is told in front')
  assert.match(second.stderr, /nowhere/)

  const { code, stderr } = await annexfs(t, ['unmount', mountpoint], { env })
  assert.equal(code, 0, stderr)
  assert.equal(await isMountedAt(mountpoint), false)
  assert.ok(await processEnded(pid, 0), 'unmount returns when the process has ended')
  assert.match(await readFile(log, 'utf8'), /unmounted; fetched/)
})

test('the command line of a process in the background shows no password', LIMIT, async (t) => {
  let mounted: string | undefined
  // Before the folder that it lies in goes.
  t.after(async () => {
    if (mounted !== undefined && (await isMountedAt(mounted))) await unmountPath(mounted)
  })
  const world = await annexWorld(t)
  await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const mountpoint = join(world.folder, 'mnt')
  await mkdir(mountpoint)
  const env = homeOf(world.folder)
  await world.git('a', 'update-server-info')
  const nginx = await startNginx(t, { root: world.folder })
  const source = `${nginx.url.replace('//', '//joe:open-sesame@')}/a/.git`
  const options = ['--cache-dir', join(world.folder, 'cache'), ...AT_HOME]
  mounted = mountpoint
  const started = await annexfs(t, ['mount', '--daemon', ...options, source, mountpoint], { env })
  assert.equal(started.code, 0, started.stderr)
  const pid = /process (\d+), log in/.exec(started.stderr)?.[1] ?? ''
  const shown = await readFile(join('/proc', pid, 'cmdline'), 'utf8')
  assert.ok(shown.includes(mountpoint), shown)
  assert.ok(!shown.includes('sesame'), shown)
  assert.equal((await annexfs(t, ['unmount', mountpoint], { env })).code, 0)
})

test('a mount that follows another one at once can be controlled', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content' })
  const first = await mountSession(t, [repository], { env: homeOf(world.folder) })
  // Without waiting for its process, as `umount` and `fusermount -u` do.
  await unmountPath(first.path)
  const second = await mountSession(t, [repository], { mountpoint: first.path, env: homeOf(world.folder) })
  assert.doesNotMatch(second.log(), /no control socket/)
  const { code, stdout } = await annexfs(t, ['status', second.path], { env: homeOf(world.folder) })
  assert.equal(code, 0)
  assert.match(String(stdout), /\/a/)
})

test('mount.annexfs mounts as mount(8) would call it', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a b')
  await world.addAnnexed('a b', { file: 'content' })
  const mountpoint = join(world.folder, 'mnt')
  await mkdir(mountpoint)
  t.after(async () => {
    if (await isMountedAt(mountpoint)) await unmountPath(mountpoint)
  })
  const helper = fileURLToPath(new URL('../../cmd/mount.annexfs.cjs', import.meta.url))
  const options = `ro,noauto,no_dht,no-lsd,min-free=1MiB,cache-dir=${join(world.folder, 'cache')}`
  const args = [helper, repository.replaceAll(' ', '\\ '), mountpoint, '-n', '-o', options]
  const started = await runProgram(process.execPath, args, { env: homeOf(world.folder) })
  assert.equal(started.code, 0, started.stderr)
  assert.deepEqual(await readdir(mountpoint), ['file'])
  const { code } = await annexfs(t, ['unmount', mountpoint])
  assert.equal(code, 0)
  const wrong = await runProgram(process.execPath, [helper, repository, mountpoint, '-o', 'bogus'])
  assert.equal(wrong.code, 2)
  assert.match(wrong.stderr, /^mount\.annexfs: there is no mount option "bogus"/)
})

test('a second mount on the same mount point hides the first and comes off alone', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const one = await world.repository('one')
  const two = await world.repository('two')
  await world.addAnnexed('one', { first: '1' })
  await world.addAnnexed('two', { second: '2' })
  const lower = await mountSession(t, [one])
  const upper = await mountSession(t, [two], { mountpoint: lower.path }).catch((error: unknown) => String(error))
  if (typeof upper === 'string') {
    // Refusing is fine, too, when it is said.
    assert.match(upper, /mount/)
    assert.deepEqual(await readdir(lower.path), ['first'])
    return
  }
  assert.deepEqual(await readdir(lower.path), ['second'])
  assert.equal(await upper.stop(), 0)
  assert.deepEqual(await readdir(lower.path), ['first'])
  assert.equal(await lower.stop(), 0)
})
