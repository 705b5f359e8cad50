import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { PROGRAM } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
/** From dist/test/cmd: the sources are beside dist. */
const START = fileURLToPath(new URL('../../../cmd/start.mjs', import.meta.url))

test('npm start with a SOURCE and a folder mounts, like annexfs mount', async (t) => {
  const folder = await temporaryFolder(t)
  const [source, mountpoint] = [join(folder, 'source'), join(folder, 'mnt')]
  await mkdir(source)
  await mkdir(mountpoint)
  await writeFile(join(source, 'some.magnet'), '')
  await run(process.execPath, [START, source, mountpoint, '--cache-dir', join(folder, 'cache'), '--no-dht', '--daemon'])
  t.after(async () => run('umount', ['-l', mountpoint]).catch(() => undefined))
  assert.deepEqual(await readdir(mountpoint), [])
  const { stdout } = await run('findmnt', ['-n', '-o', 'FSTYPE', mountpoint])
  assert.match(stdout, /^fuse/)
  await run(process.execPath, [PROGRAM, 'unmount', mountpoint])
})

test('npm start passes the exit code on', async () => {
  await assert.rejects(run(process.execPath, [START, '/nowhere/at/all', '/tmp']), { code: 3 })
})
