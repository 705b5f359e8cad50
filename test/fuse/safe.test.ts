import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, readdir, readFile, readlink, stat, statfs, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { insideMount, mountTable, recoverStaleMount, unmountPath } from '../../lib/fuse/mount.js'
import { mountAt } from '../../lib/fuse/mount-table.js'
import { silentLog } from '../../lib/log/log.js'
import { isMountedAt, mountInChild } from '../support/mount.js'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
const MEMORY = new URL('./memory-module.js', import.meta.url)

/** Tries every call that changes something and prints the errno of each. */
const CHANGES = `
import os, sys, errno
root = sys.argv[1]; f = root + '/f'; d = root + '/dir'; new = root + '/new'
calls = {
  'open write': lambda: os.open(f, os.O_WRONLY), 'open read-write': lambda: os.open(f, os.O_RDWR),
  'open truncate': lambda: os.open(f, os.O_RDONLY | os.O_TRUNC), 'open append': lambda: os.open(f, os.O_WRONLY | os.O_APPEND),
  'create': lambda: os.open(new, os.O_RDONLY | os.O_CREAT), 'create exclusive': lambda: os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL),
  'temporary': lambda: os.open(d, os.O_TMPFILE | os.O_RDWR), 'truncate': lambda: os.truncate(f, 0),
  'mkdir': lambda: os.mkdir(new), 'rmdir': lambda: os.rmdir(d), 'unlink': lambda: os.unlink(f),
  'rename': lambda: os.rename(f, new), 'link': lambda: os.link(f, new), 'symlink': lambda: os.symlink('x', new),
  'mknod': lambda: os.mknod(new, 0o600 | 0o010000), 'mkfifo': lambda: os.mkfifo(new), 'chmod': lambda: os.chmod(f, 0o777),
  'chown': lambda: os.chown(f, 1, 1), 'utime': lambda: os.utime(f), 'setxattr': lambda: os.setxattr(f, 'user.x', b'1'),
  'removexattr': lambda: os.removexattr(f, 'user.note'), 'lchown': lambda: os.lchown(root + '/link', 1, 1),
}
for name, call in calls.items():
    try: call(); print(name, 'worked')
    except OSError as e: print(name, errno.errorcode[e.errno])
`

test('goal 5: every call that changes something is EROFS', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, {
    '/f': { size: 10, attributes: { 'user.note': 'x' } },
    '/dir/inner': { size: 1 },
    '/link': { link: 'f' },
  })
  const { stdout } = await run('/usr/bin/python3', ['-c', CHANGES, mount.path])
  const lines = stdout.trim().split('\n')
  assert.ok(lines.length >= 20)
  for (const line of lines) assert.match(line, / EROFS$/)
})

test('goal 5: odd times and sizes over 16 TiB come through', { timeout: 180_000 }, async (t) => {
  const TiB = 1024 ** 4
  const times = { '/before': -5000, '/epoch': 0, '/odd': 1_234_567_890_123, '/far': 8.64e15, '/nan': Number.NaN }
  const spec = Object.fromEntries(Object.entries(times).map(([name, mtime]) => [name, { size: 1, mtime }]))
  const mount = await mountInChild(t, MEMORY, { ...spec, '/huge': { size: 4 * 1024 * TiB } })
  assert.equal((await stat(`${mount.path}/before`)).mtimeMs, 0)
  assert.equal((await stat(`${mount.path}/epoch`)).mtimeMs, 0)
  assert.equal((await stat(`${mount.path}/odd`)).mtimeMs, 1_234_567_890_123)
  assert.ok((await stat(`${mount.path}/far`)).mtimeMs > 4e12)
  const huge = await stat(`${mount.path}/huge`)
  assert.equal(huge.size, 4 * 1024 * TiB)
  assert.equal(huge.blocks, huge.size / 512)
  for (const total of [0, 1000, 15 * TiB, 16 * TiB, 17 * TiB, 4096 * TiB, 8191 * TiB]) {
    await mount.command('capacity', { totalBytes: total, freeBytes: Math.floor(total / 3) })
    const shown = await statfs(mount.path)
    const unit = shown.bsize
    assert.ok(Math.abs(shown.blocks * unit - total) < unit, `${total}: ${shown.blocks} of ${unit}`)
    assert.ok(Math.abs(shown.bavail * unit - total / 3) <= unit)
  }
})

test(
  'extended attributes: size queries, short buffers, unknown names, names of the system',
  { timeout: 180_000 },
  async (t) => {
    const mount = await mountInChild(t, MEMORY, {
      '/f': {
        size: 1,
        attributes: { 'user.annexfs.key': 'SHA256E-s1--abc', 'user.long': 'x'.repeat(5000), 'user.leer': '' },
      },
    })
    const code = `
import os, sys, ctypes, errno
path = sys.argv[1]; libc = ctypes.CDLL(None, use_errno=True)
assert sorted(os.listxattr(path)) == ['user.annexfs.key', 'user.leer', 'user.long'], os.listxattr(path)
assert os.getxattr(path, 'user.long') == b'x' * 5000 and os.getxattr(path, 'user.leer') == b''
def ask(name, size):
    count = libc.getxattr(path.encode(), name.encode(), ctypes.create_string_buffer(max(1, size)), size)
    return count if count >= 0 else errno.errorcode[ctypes.get_errno()]
print(ask('user.long', 0), ask('user.long', 4999), ask('user.long', 5000), ask('user.none', 10), ask('system.posix_acl_access', 10),
  ask('security.capability', 10), libc.listxattr(path.encode(), ctypes.create_string_buffer(3), 3), errno.errorcode[ctypes.get_errno()])
`
    const { stdout } = await run('/usr/bin/python3', ['-c', code, `${mount.path}/f`])
    assert.equal(stdout.trim(), '5000 ERANGE 5000 ENODATA ENOTSUP ENOTSUP -1 ERANGE')
    assert.deepEqual(
      (
        await run('/usr/bin/python3', ['-c', 'import os,sys; print(os.listxattr(sys.argv[1]))', mount.path])
      ).stdout.trim(),
      '[]',
    )
  },
)

test(
  'one bad name does not spoil its folder, and the kinds of entries are known without a stat',
  { timeout: 180_000 },
  async (t) => {
    const long = 'ü'.repeat(127)
    const mount = await mountInChild(t, MEMORY, {
      '/good': { size: 1, executable: true },
      '/..': { size: 1 },
      [`/${'x'.repeat(256)}`]: { size: 1 },
      [`/${long}`]: { size: 1 },
      '/nul\0nul': { size: 1 },
      '/link': { link: 'nowhere/ü' },
      '/dir/file': { size: 1 },
    })
    const entries = await readdir(mount.path, { withFileTypes: true })
    assert.deepEqual(entries.map((entry) => entry.name).sort(), ['dir', 'good', 'link', long].sort())
    assert.equal(entries.find((entry) => entry.name === 'dir')?.isDirectory(), true)
    assert.equal(entries.find((entry) => entry.name === 'link')?.isSymbolicLink(), true)
    assert.equal(await readlink(`${mount.path}/link`), 'nowhere/ü')
    assert.equal((await stat(`${mount.path}/good`)).mode, 0o100555)
    await assert.rejects(stat(`${mount.path}/none`), { code: 'ENOENT' })
    await assert.rejects(readdir(`${mount.path}/good`), { code: 'ENOTDIR' })
    await assert.rejects(readFile(`${mount.path}/dir`), { code: 'EISDIR' })
  },
)

test('goal 12: what lies inside the mount point is found, through links and before it exists', async (t) => {
  const folder = await temporaryFolder(t)
  const at = (...names: string[]): string => join(folder, ...names)
  await mkdir(at('mnt'))
  await mkdir(at('mnt-beside'))
  await symlink('mnt', at('alias'))
  await symlink(at('mnt', 'later', 'cache'), at('dangling'))
  await symlink('loop', at('loop'))
  for (const inside of [
    'mnt',
    'mnt/cache',
    'mnt/a/b',
    'alias',
    'alias/cache/x',
    'dangling',
    'dangling/x',
    'mnt/../mnt/x',
  ]) {
    assert.equal(await insideMount(at(inside), at('mnt')), true, inside)
    assert.equal(await insideMount(at(inside), at('alias')), true, inside)
  }
  for (const outside of ['', 'mnt-beside', 'cache', 'mnt/../cache', 'alias/../other']) {
    assert.equal(await insideMount(at(outside), at('mnt')), false, outside)
  }
  assert.equal(await insideMount('/anything', '/'), true)
  await assert.rejects(insideMount(at('loop'), at('mnt')))
})

test(
  'goal 44: mount points and names with shell and option characters run nothing and inject nothing',
  { timeout: 180_000 },
  async (t) => {
    const folder = await temporaryFolder(t)
    const canary = join(folder, 'canary')
    const names = [
      `$(touch canary)`,
      '`touch canary`',
      '";touch canary;"',
      `'a'`,
      'a,suid,dev',
      'new\nline',
      'back\\slash',
      '-o rw',
      '*?[a]',
      'tab\tend',
      '#',
    ]
    for (const name of names) {
      const path = join(folder, name)
      const source = `${name},rw,suid,allow_other`
      const mount = await mountInChild(
        t,
        MEMORY,
        { [`/${name}`]: { size: 4, text: 'text' } },
        { mountpoint: path, name: source },
      )
      assert.equal(await readFile(join(path, name), 'utf8'), 'text')
      const entry = mountAt(await mountTable(), path)
      assert.equal(entry?.type, 'fuse.annexfs')
      assert.ok(
        entry.options.includes('ro') && entry.options.includes('nosuid') && entry.options.includes('nodev'),
        name,
      )
      const { stdout } = await run('/usr/bin/findmnt', ['-nro', 'OPTIONS', '--target', folder]).catch(() => ({
        stdout: '',
      }))
      assert.doesNotMatch(stdout, /allow_other/)
      if (name === names[0]) await unmountPath(path)
      else await mount.stop()
      assert.equal(await isMountedAt(path), false, name)
    }
    await assert.rejects(access(canary), { code: 'ENOENT' })
    await assert.rejects(access('canary'), { code: 'ENOENT' })
  },
)

test('a mount whose process was killed is cleared, and a live one is left alone', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 1 } })
  assert.equal(await recoverStaleMount(mount.path, silentLog), false)
  assert.equal(await isMountedAt(mount.path), true)
  const ended = once(mount.process, 'exit')
  mount.process.kill('SIGKILL')
  await ended
  await assert.rejects(statfs(mount.path), (error: NodeJS.ErrnoException) =>
    ['ENOTCONN', 'ECONNABORTED'].includes(error.code ?? ''),
  )
  assert.equal(await recoverStaleMount(mount.path, silentLog), true)
  assert.equal(await isMountedAt(mount.path), false)
  assert.equal(await recoverStaleMount(mount.path, silentLog), false)
})

test('unmounting what is not there, or not ours, says so', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  await assert.rejects(unmountPath(folder), { code: 'NOT_FOUND' })
  await assert.rejects(unmountPath('/proc'), { code: 'INVALID' })
  await assert.rejects(unmountPath(join(folder, 'none', 'none')), { code: 'NOT_FOUND' })
})

test('a mount point that cannot be used is refused with a reason', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'file'), '')
  const { findMountpoint } = await import('../../lib/fuse/mountpoint.js')
  await assert.rejects(findMountpoint(join(folder, 'none')), { code: 'NOT_FOUND', message: /mkdir/ })
  await assert.rejects(findMountpoint(join(folder, 'file')), { code: 'NOT_A_DIRECTORY' })
  await assert.rejects(findMountpoint('/proc'), { code: 'INVALID', message: /already/ })
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 1 } })
  await assert.rejects(findMountpoint(mount.path), { code: 'INVALID', message: /annexfs unmount/ })
})

test('a folder that is not empty can be mounted on', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'm'))
  await writeFile(join(folder, 'm', 'hidden'), '')
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 1 } }, { mountpoint: join(folder, 'm') })
  assert.deepEqual(await readdir(mount.path), ['f'])
  assert.match(mount.log(), /hides what is in its folder/)
  await mount.stop()
  assert.deepEqual(await readdir(join(folder, 'm')), ['hidden'])
})

test('a program in the mount can be run when it is executable', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, {
    '/yes': { size: 0, text: '#!/bin/sh\necho ran\n', executable: true },
    '/no': { size: 0, text: '#!/bin/sh\necho ran\n' },
  })
  assert.equal((await run(`${mount.path}/yes`, [])).stdout, 'ran\n')
  const child = spawn(`${mount.path}/no`, [])
  const [error] = (await once(child, 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'EACCES')
})
