import assert from 'node:assert/strict'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { isMountedAt } from '../support/mount.js'
import { annexfs, AT_HOME, mountSession, within } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

test(
  'goal 12: a cache, repository or torrent folder inside the mount point is refused, through links too',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    const mountpoint = join(world.folder, 'mnt')
    const outside = await world.repository('outside')
    const inside = await world.repository('mnt/inside')
    await world.addAnnexed('outside', { file: 'x' })
    await world.addAnnexed('mnt/inside', { file: 'x' })
    const torrents = join(mountpoint, 'torrents')
    await mkdir(torrents)
    await writeFile(join(torrents, 'x.magnet'), 'magnet:?xt=urn:btih:0123456789012345678901234567890123456789\n')
    await symlink(inside, join(world.folder, 'link-to-inside'))
    await symlink(mountpoint, join(world.folder, 'link-to-mnt'))
    await symlink(join(mountpoint, 'cache'), join(world.folder, 'link-to-cache'))
    const cache = join(world.folder, 'cache')

    for (const [what, source, at, cacheDir] of [
      ['the cache', outside, mountpoint, join(mountpoint, 'cache')],
      ['the cache, deep and not there yet', outside, mountpoint, join(mountpoint, 'a/b/c')],
      ['the cache by a link', outside, mountpoint, join(world.folder, 'link-to-cache')],
      ['the cache by a link above it', outside, mountpoint, join(world.folder, 'link-to-mnt/cache')],
      ['the cache is the mount point', outside, mountpoint, mountpoint],
      ['the mount point by a link', outside, join(world.folder, 'link-to-mnt'), join(mountpoint, 'cache')],
      ['the repository', inside, mountpoint, cache],
      ['the repository by a link', join(world.folder, 'link-to-inside'), mountpoint, cache],
      ['the repository is the mount point', outside, outside, cache],
      ['the torrents', torrents, mountpoint, cache],
      ['a torrent file', join(torrents, 'x.magnet'), mountpoint, cache],
    ] as const) {
      const { code, stderr } = await annexfs(t, ['mount', ...AT_HOME, '--cache-dir', cacheDir, source, at])
      assert.equal(code, 3, `${what}: ${stderr}`)
      assert.match(stderr, /^annexfs: .*lies inside the mount point .*\n$/, what)
      assert.equal(await isMountedAt(mountpoint), false, what)
    }
  },
)

test('goal 12: a remote inside the mount point is not read, and the log says why', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'content of the file' })
  const first = await mountSession(t, [repository])
  await first.stop()
  await mkdir(join(first.path, 'shelf'))
  const shelf = `directory=${join(first.path, 'shelf')}`
  await world.annex('a', 'initremote', '--quiet', 's', 'type=directory', shelf, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 's', 'file')
  const mount = await first.again()
  await assert.rejects(within(60_000, 'read', readFile(join(mount.path, 'file'))), { code: 'EIO' })
  await mount.logged(/inside the mount/)
})
