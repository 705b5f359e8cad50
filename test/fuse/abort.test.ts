import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ensureControl, openAbort } from '../../lib/fuse/control.js'
import { mountAt, mountTable } from '../../lib/fuse/mount-table.js'
import { silentLog } from '../../lib/log/log.js'
import { mountInChild, type ChildMount } from '../support/mount.js'
import { temporaryFolder } from '../support/temp.js'
import { bytesOf } from './memory-volume.js'

const run = promisify(execFile)
/** umount(8) would ask the file system first. */
const DETACH = 'import ctypes, sys; sys.exit(ctypes.CDLL(None).umount2(sys.argv[1].encode(), 2))'
const MEMORY = new URL('./memory-module.js', import.meta.url)
const FILES = { '/file': { size: 1000, seed: 5 } }

async function deviceOf(mount: ChildMount): Promise<string> {
  return mountAt(await mountTable(), mount.path)?.device ?? ''
}

test(
  'an abort that comes late does not hit the mount that was given the same device number since',
  { timeout: 180_000 },
  async (t) => {
    assert.ok(await ensureControl(silentLog), 'the control files of FUSE are needed (root)')
    const first = await mountInChild(t, MEMORY, FILES)
    const device = await deviceOf(first)
    const abort = await openAbort(device, silentLog)
    assert.ok(abort !== undefined)
    try {
      assert.equal(await first.stop(), 0)
      const others: ChildMount[] = []
      while (others.length < 8) {
        const other = await mountInChild(t, MEMORY, FILES)
        others.push(other)
        if ((await deviceOf(other)) === device) break
      }
      await abort.now()
      for (const other of others) {
        assert.deepEqual(await readFile(`${other.path}/file`), bytesOf(5, 0, 1000))
      }
    } finally {
      await abort.close()
    }
  },
)

test(
  'a mount that was taken away unseen does not end another that got its numbers',
  { timeout: 180_000, skip: process.getuid?.() === 0 ? false : 'needs root' },
  async (t) => {
    for (let tries = 0; ; tries++) {
      const old = await mountInChild(t, MEMORY, { '/file': { size: 4, text: 'text' } })
      const before = mountAt(await mountTable(), old.path)
      // It cannot see what happens now.
      process.kill(old.pid, 'SIGSTOP')
      await run('/usr/bin/python3', ['-c', DETACH, old.path])
      const next = await mountInChild(t, MEMORY, { '/file': { size: 4, text: 'text' } })
      const after = mountAt(await mountTable(), next.path)
      process.kill(old.pid, 'SIGCONT')
      await old.stop()
      assert.equal(await readFile(join(next.path, 'file'), 'utf8'), 'text')
      assert.equal(await next.stop(), 0)
      if (before?.id === after?.id && before?.device === after?.device) return
      assert.ok(tries < 20, 'the kernel gave no mount the numbers of the one before')
    }
  },
)

test('a mount whose folder was renamed is still its own, and can be unmounted', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  await mkdir(join(folder, 'old', 'mount'), { recursive: true })
  const mount = await mountInChild(
    t,
    MEMORY,
    { '/file': { size: 4, text: 'text' } },
    { mountpoint: join(folder, 'old', 'mount') },
  )
  await rename(join(folder, 'old'), join(folder, 'new'))
  // Longer than it takes to look.
  await sleep(1500)
  assert.equal(await readFile(join(folder, 'new', 'mount', 'file'), 'utf8'), 'text')
  assert.equal(await mount.stop(), 0)
  assert.equal(mountAt(await mountTable(), join(folder, 'new', 'mount')), undefined)
})
