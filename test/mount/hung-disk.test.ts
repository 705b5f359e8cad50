import assert from 'node:assert/strict'
import { mkdir, open, readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { isMountedAt, mountInChild } from '../support/mount.js'
import { pseudoRandom } from '../support/peers.js'
import { startReader } from '../support/readers.js'
import { mountSession, within, type MountSession } from '../support/session.js'

const MEMORY = new URL('../fuse/memory-module.js', import.meta.url)
const LIMIT = { timeout: 180_000 }
const FILES = 40
const SIZE = 3_000_000
const GOOD = pseudoRandom(6_000_000, 'good')

interface HungDisk {
  readonly mount: MountSession
  /** From now on nothing that is asked of the file system of the remote is answered. */
  readonly hang: () => void
}

/**
 * A mount of a repository whose files `hung-…` are at a remote on a file system that can be made to hang, and whose file
 * `good` is at a directory remote on a disk. It is one of FUSE, whose process is stopped: programs that wait for it cannot
 * be interrupted, as with a server of NFS that is gone.
 */
async function hungDisk(t: TestContext, kind: 'directory' | 'git'): Promise<HungDisk> {
  const world = await annexWorld(t)
  const names = Array.from({ length: FILES }, (_, index) => `hung-${index}`)
  const repository = await world.repository('a')
  await world.addAnnexed('a', {
    good: GOOD,
    ...Object.fromEntries(names.map((name) => [name, pseudoRandom(SIZE, name)])),
  })
  await mkdir(join(world.folder, 'shelf'))
  const settings = ['type=directory', `directory=${join(world.folder, 'shelf')}`, 'encryption=none']
  await world.annex('a', 'initremote', '--quiet', 'shelf', ...settings)
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', 'good')
  let config = ''
  if (kind === 'directory') {
    await mkdir(join(world.folder, 'other'))
    const own = ['type=directory', `directory=${join(world.folder, 'other')}`, 'encryption=none']
    await world.annex('a', 'initremote', '--quiet', 'other', ...own)
  } else {
    await world.repository('other')
    await world.git('a', 'remote', 'add', 'other', join(world.folder, 'other'))
    config = await readFile(join(world.folder, 'other/.git/config'), 'utf8')
  }
  await world.annex('a', 'move', '--quiet', '--to', 'other', ...names)
  const entries = await readdir(join(world.folder, 'other'), { recursive: true, withFileTypes: true })
  const objects = entries.filter((entry) => entry.isFile() && entry.name.startsWith('SHA256'))
  assert.equal(objects.length, FILES)
  const below = join(world.folder, 'other').length
  const spec: Record<string, unknown> = kind === 'git' ? { '/.git/config': { text: config } } : {}
  for (const { parentPath, path, name } of objects as { parentPath?: string; path?: string; name: string }[]) {
    spec[`${(parentPath ?? path ?? '').slice(below)}/${name}`] = { size: SIZE }
  }
  let pid = 0
  // Before all others: a process that is stopped cannot be taken away.
  t.after(() => pid !== 0 && process.kill(pid, 'SIGCONT'))
  const disk = await mountInChild(t, MEMORY, spec)
  pid = disk.pid
  await world.git('a', 'config', kind === 'git' ? 'remote.other.url' : 'remote.other.annex-directory', disk.path)
  const mount = await mountSession(t, [repository], { options: ['--read-timeout=8s'] })
  return { mount, hang: () => process.kill(disk.pid, 'SIGSTOP') }
}

for (const kind of ['directory', 'git'] as const) {
  test(
    `a ${kind} remote on a file system that hangs is ETIMEDOUT, holds nobody up, and the mount ends`,
    LIMIT,
    async (t) => {
      const { mount, hang } = await hungDisk(t, kind)
      // One that is being read when it begins to hang; the others are opened then.
      const first = await open(join(mount.path, 'hung-0'))
      assert.equal((await first.read(Buffer.alloc(100), 0, 100, 0)).bytesRead, 100)
      await first.close()
      hang()
      const readers = Array.from({ length: FILES }, (_, index) =>
        startReader(t, join(mount.path, `hung-${index}`), 2_000_000, 100),
      )
      const good = await open(join(mount.path, 'good'))
      const own = Buffer.alloc(50_000)
      for (let at = 0; at < GOOD.length; at += own.length) {
        const { bytesRead } = await within(7_000, 'a read of another file', good.read(own, 0, own.length, at))
        assert.ok(own.subarray(0, bytesRead).equals(GOOD.subarray(at, at + own.length)))
      }
      await good.close()
      const results = (await within(60_000, 'the readers', Promise.all(readers.map(({ ended }) => ended)))).map(
        ({ result }) => result,
      )
      assert.ok(
        results.every((result) => ['ETIMEDOUT', 'EIO'].includes(result)),
        results.join(' '),
      )
      assert.ok(results.includes('ETIMEDOUT'), results.join(' '))
      // Once it is known to hang, nobody waits for it, and whoever asks is told.
      const later = await startReader(t, join(mount.path, 'hung-7'), 1_000_000, 100).ended
      assert.ok(['ETIMEDOUT', 'EIO'].includes(later.result), later.result)
      assert.match(mount.log(), /does not answer|no answer/)
      assert.equal(await within(60_000, 'unmounting', mount.stop()), 0, mount.log())
      assert.equal(await isMountedAt(mount.path), false)
    },
  )
}
