import assert from 'node:assert/strict'
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { annexWorld } from '../support/annex.js'
import { startProcess, type TestProcess } from '../support/process.js'
import { annexfs, mountSession, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const CONTRIB = fileURLToPath(new URL('../../../contrib/', import.meta.url))

/** Stands for the service manager: prints a line for each datagram. File descriptors (a barrier) are closed at once. */
const MANAGER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name[0] == '@' else name)
print('listening', flush=True)
while True:
    data, fds, _, _ = socket.recv_fds(s, 4096, 4)
    for fd in fds: socket.close(fd)
    print(data.decode().replace('\\n', ' ').strip(), flush=True)
`

async function manager(t: TestContext, socket: string): Promise<TestProcess> {
  const process = startProcess(t, '/usr/bin/python3', ['-c', MANAGER, socket])
  assert.equal(await process.line(), 'listening')
  return process
}

test('the service manager is told when the mount answers, and not before', LIMIT, async (t) => {
  const annex = await annexWorld(t)
  const repository = await annex.repository('a')
  await annex.addAnnexed('a', { file: 'content' })
  for (const socket of [join(annex.folder, 'notify'), `@annexfs-test-${process.pid}`]) {
    const listening = await manager(t, socket)
    const session = await mountSession(t, [repository], { env: { NOTIFY_SOCKET: socket } })
    assert.equal(await listening.line(), 'READY=1')
    assert.equal(await readFile(join(session.path, 'file'), 'utf8'), 'content')
    assert.equal(await session.stop(), 0)
    await listening.stop()
  }
})

test('without systemd-notify perl tells it; without either the mount says so and goes on', LIMIT, async (t) => {
  const annex = await annexWorld(t)
  const repository = await annex.repository('a')
  const socket = join(annex.folder, 'notify')
  const listening = await manager(t, socket)
  const bin = join(annex.folder, 'bin')
  await mkdir(bin)
  for (const name of ['git', 'git-annex', 'fusermount', 'fusermount3', 'perl', 'sh', 'mount', 'umount']) {
    const found = (await runProgram('sh', ['-c', `command -v ${name}`])).stdout.toString().trim()
    if (found !== '') await symlink(found, join(bin, name))
  }
  const told = await mountSession(t, [repository], { env: { NOTIFY_SOCKET: socket, PATH: bin } })
  assert.equal(await listening.line(), 'READY=1')
  assert.equal(await told.stop(), 0)
  await writeFile(join(bin, 'systemd-notify'), '#!/bin/sh\nprintf "no\\033[2J" >&2; exit 3\n')
  await chmod(join(bin, 'systemd-notify'), 0o755)
  const none = await mountSession(t, [repository], { env: { NOTIFY_SOCKET: join(annex.folder, 'nobody'), PATH: bin } })
  assert.match(await none.logged(/could not tell the service manager/), /systemd-notify: no\\x1b\[2J; perl: send: /)
  assert.equal(await none.stop(), 0)
})

test('the units are such as systemd takes', LIMIT, async (t) => {
  if ((await runProgram('sh', ['-c', 'command -v systemd-analyze'])).code !== 0)
    return t.skip('systemd is not installed')
  const folder = await temporaryFolder(t)
  const bin = process.env['PATH'] ?? '/usr/bin:/bin'
  for (const [unit, name, args] of [
    ['systemd/annexfs@.service', 'annexfs@srv-data.service', []],
    ['systemd/user/annexfs@.service', 'annexfs@films.service', ['--user']],
  ] as const) {
    const copy = join(folder, name)
    await writeFile(copy, await readFile(join(CONTRIB, unit)))
    const env = { PATH: bin, HOME: folder, XDG_RUNTIME_DIR: folder }
    const { code, stderr } = await runProgram('systemd-analyze', [...args, 'verify', copy], { env })
    assert.equal(code, 0, stderr)
    assert.doesNotMatch(stderr, /annexfs@/)
  }
})

test('what contrib/ uses of the command line is there', LIMIT, async (t) => {
  const help = (await annexfs(t, ['mount', '--help'])).stdout.toString()
  const fstab = await readFile(join(CONTRIB, 'fstab.example'), 'utf8')
  const lines = fstab.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  assert.ok(lines.length >= 3)
  for (const line of lines) {
    const [, , type, options = ''] = line.split(/\s+/)
    assert.equal(type, 'annexfs')
    for (const option of options.split(',')) {
      if (/^(ro|noauto|nofail|_netdev|x-systemd\..*)$/.test(option)) continue
      assert.match(help, new RegExp(`--${(option.split('=')[0] ?? '').replaceAll('_', '-')}\\b`))
    }
  }
})
