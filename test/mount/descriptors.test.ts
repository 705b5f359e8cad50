import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { annexWorld } from '../support/annex.js'
import { AT_HOME, PROGRAM } from '../support/session.js'

const run = promisify(execFile)
const FILES = 450
const LIMIT = 320

async function isRunning(mountpoint: string): Promise<boolean> {
  return run('pgrep', ['-f', mountpoint]).then(
    () => true,
    () => false,
  )
}

test('many more files than there are descriptors are read one after the other', { timeout: 180_000 }, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  const names = Array.from({ length: FILES }, (_, index) => `f${index}`)
  await world.addAnnexed('a', Object.fromEntries(names.map((name) => [name, `content of ${name}\n`])))
  const [shelf, mountpoint, cache] = ['shelf', 'mnt', 'cache'].map((name) => join(world.folder, name))
  assert.ok(shelf !== undefined && mountpoint !== undefined && cache !== undefined)
  await mkdir(shelf)
  await mkdir(mountpoint)
  await world.annex('a', 'initremote', '--quiet', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', '.')
  const mount = [PROGRAM, 'mount', repository, mountpoint, '--cache-dir', cache, '--daemon', ...AT_HOME]
  t.after(async () => run('umount', ['-l', mountpoint]).catch(() => undefined))
  await run('sh', ['-c', `ulimit -n ${LIMIT} && exec "$@"`, 'sh', process.execPath, ...mount], {
    env: { ...process.env, UV_THREADPOOL_SIZE: '16', HOME: world.folder, XDG_RUNTIME_DIR: world.folder },
  })
  for (const name of names) {
    assert.equal(await readFile(join(mountpoint, name), 'utf8'), `content of ${name}\n`)
  }
  await run(process.execPath, [PROGRAM, 'unmount', mountpoint])
  // Its process writes to the cache until it has ended.
  while (await isRunning(mountpoint)) await sleep(50)
})
