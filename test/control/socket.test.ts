import assert from 'node:assert/strict'
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmod, lstat, mkdir, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { ControlClient } from '../../lib/control/client.js'
import { allControls, controlOf } from '../../lib/control/find.js'
import { controlFolders, ensureControlFolder, LONGEST_SOCKET_PATH, socketName } from '../../lib/control/folder.js'
import type { Method } from '../../lib/control/protocol.js'
import { startControl, type ControlSocket } from '../../lib/control/server.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const NAME = socketName('/mnt/somewhere')
const NOBODY = 65_534

const answering = (value: unknown): ReadonlyMap<string, Method> => new Map([['who', () => Promise.resolve(value)]])

async function started(t: TestContext, folder: string, value: unknown = 'me', name = NAME): Promise<ControlSocket> {
  const control = await startControl({ folder, name, methods: answering(value), log: silentLog })
  t.after(() => control.close())
  return control
}

/** Who answers at `path`. */
async function whoAnswers(path: string): Promise<unknown> {
  const client = await ControlClient.connect(path)
  try {
    return await client.request('who', {})
  } finally {
    client.close()
  }
}

async function otherProcess(t: TestContext, folder: string): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL('./holder.js', import.meta.url)), [folder, NAME])
  const gone = once(child, 'exit')
  t.after(async () => {
    child.kill('SIGKILL')
    await gone
  })
  await once(child, 'message')
  return child
}

test('goal 42: the control socket is 0600 in a 0700 folder, whatever the umask', LIMIT, async (t) => {
  const home = await temporaryFolder(t)
  const before = process.umask(0)
  t.after(() => process.umask(before))
  const folder = ensureControlFolder([join(home, 'state', 'annexfs', 'run')])
  const { path } = await started(t, folder)
  assert.equal((await stat(folder)).mode & 0o777, 0o700)
  const socket = await lstat(path)
  assert.ok(socket.isSocket())
  assert.equal(socket.mode & 0o777, 0o600)
  for (const name of await readdir(folder)) assert.equal((await lstat(join(folder, name))).mode & 0o077, 0, name)
})

test('goal 42: another user is refused, by the folder and by the socket alone', LIMIT, async (t) => {
  if (process.getuid?.() !== 0) {
    t.skip('only root can become another user')
    return
  }
  const home = await temporaryFolder(t)
  await chmod(home, 0o755)
  const folder = ensureControlFolder([join(home, 'annexfs')])
  const { path } = await started(t, folder)
  const program = `
    const socket = require('node:net').connect(${JSON.stringify(path)})
    socket.on('connect', () => { console.log('connected'); process.exit(0) })
    socket.on('error', (error) => { console.log(error.code); process.exit(0) })`
  const asNobody = async (): Promise<string> => {
    const user = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']
    const { stdout, stderr } = await runProgram('setpriv', [...user, process.execPath, '-e', program], { cwd: '/' })
    assert.equal(stderr, '')
    return stdout.toString().trim()
  }
  assert.equal(await asNobody(), 'EACCES')
  await chmod(folder, 0o755)
  assert.equal(await asNobody(), 'EACCES', 'even where the folder was opened')
  assert.equal(await whoAnswers(path), 'me')
})

test('goal 42: a live socket is never replaced', LIMIT, async (t) => {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  const other = await otherProcess(t, folder)
  const path = join(folder, NAME)
  const refused = (error: unknown): boolean =>
    isAnnexfsError(error, 'SYSTEM') && /another process answers/.test(error.message)
  await assert.rejects(started(t, folder), refused)
  assert.equal(await whoAnswers(path), other.pid)
  // Not even when somebody has removed its lock.
  await rm(`${path}.lock`)
  await assert.rejects(started(t, folder), refused)
  assert.equal(await whoAnswers(path), other.pid)
})

test('goal 42: the socket of a dead process is replaced', LIMIT, async (t) => {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  const other = await otherProcess(t, folder)
  const gone = once(other, 'exit')
  other.kill('SIGKILL')
  await gone
  assert.ok((await lstat(join(folder, NAME))).isSocket(), 'it was left behind')
  await assert.rejects(whoAnswers(join(folder, NAME)), (error) => isAnnexfsError(error, 'NOT_FOUND'))
  const { path } = await started(t, folder)
  assert.equal(await whoAnswers(path), 'me')
})

test('goal 42: many that start at once leave just one that answers', LIMIT, async (t) => {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  const tries = await Promise.allSettled(Array.from({ length: 8 }, (_, n) => started(t, folder, n)))
  const winners = tries.flatMap((one, n) => (one.status === 'fulfilled' ? [n] : []))
  assert.equal(winners.length, 1)
  assert.equal(await whoAnswers(join(folder, NAME)), winners[0])
})

test('closing removes the socket, and nothing that is not its own', LIMIT, async (t) => {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  const one = await startControl({ folder, name: NAME, methods: answering(1), log: silentLog })
  await one.close()
  assert.deepEqual(await readdir(folder), [])
  const two = await startControl({ folder, name: NAME, methods: answering(2), log: silentLog })
  await rm(two.path)
  await writeFile(two.path, 'of somebody else')
  await two.close()
  assert.deepEqual(await readdir(folder), [NAME])
})

test('a folder that others may enter or have made is not used', LIMIT, async (t) => {
  const home = await temporaryFolder(t)
  const good = join(home, 'good')
  const link = join(home, 'link')
  await mkdir(join(home, 'real'), { mode: 0o700 })
  await symlink(join(home, 'real'), link)
  await writeFile(join(home, 'file'), '')
  const open = join(home, 'open')
  await mkdir(open)
  await chmod(open, 0o777)
  assert.equal(ensureControlFolder([link, join(home, 'file'), join(open, 'mine'), good]), good)
  const own = join(home, 'own')
  await mkdir(own)
  await chmod(own, 0o755)
  assert.equal(ensureControlFolder([own]), own, 'our own is closed again')
  assert.equal((await stat(own)).mode & 0o777, 0o700)
  assert.throws(() => ensureControlFolder([link]), /symbolic|not a folder/)
  if (process.getuid?.() === 0) {
    const theirs = join(home, 'theirs')
    await runProgram('install', ['-d', '-o', String(NOBODY), '-m', '700', theirs])
    assert.equal(ensureControlFolder([theirs, good]), good)
  }
})

test('folders are chosen by XDG_RUNTIME_DIR, then state, then temporary files; never too long ones', () => {
  const folders = controlFolders({ XDG_RUNTIME_DIR: '/run/user/7', XDG_STATE_HOME: '/home/me/state', HOME: '/home/me' })
  assert.deepEqual(folders.slice(0, 2), ['/run/user/7/annexfs', '/home/me/state/annexfs/run'])
  assert.equal(folders.length, 3)
  assert.equal(controlFolders({ HOME: '/home/me' })[0], '/home/me/.local/state/annexfs/run')
  assert.equal(controlFolders({ XDG_RUNTIME_DIR: 'relative', HOME: '/h' })[0], '/h/.local/state/annexfs/run')
  for (const length of [60, 80, 200]) {
    for (const folder of controlFolders({
      XDG_RUNTIME_DIR: `/${'x'.repeat(length)}`,
      HOME: `/${'h'.repeat(length)}`,
    })) {
      assert.ok(`${folder}/${NAME}.new`.length <= LONGEST_SOCKET_PATH, folder)
    }
  }
})

test('a mount is found by its mount point, and all of a user are', LIMIT, async (t) => {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  await started(t, folder, 'a', socketName('/mnt/a'))
  await started(t, folder, 'b', socketName('/mnt/b'))
  await writeFile(join(folder, `${'0'.repeat(16)}.sock`), 'no socket')
  const one = await controlOf('/mnt/b', [folder])
  assert.equal(await one.request('who', {}), 'b')
  one.close()
  const all = await allControls([folder, join(folder, 'missing')])
  const answers = await Promise.all(all.map((client) => client.request('who', {})))
  for (const client of all) client.close()
  assert.deepEqual(answers.toSorted(), ['a', 'b'])
  await assert.rejects(controlOf('/mnt/c', [folder]), (error) => isAnnexfsError(error, 'NOT_FOUND'))
})
