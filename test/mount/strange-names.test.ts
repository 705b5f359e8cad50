import assert from 'node:assert/strict'
import { access, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { mountTable } from '../../lib/fuse/mount-table.js'
import { annexfs, mountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

const STRANGE = [
  '$(touch pwned)',
  '`touch pwned`',
  'it\'s "quoted"',
  'a,allow_other,suid',
  'two\nlines',
  ' spaces  around ',
  '--help',
  '; touch pwned;',
  'back\\slash\\040',
  'ünï©ödé 日本',
  '*?[a-z]',
]

test(
  'goal 44: strange names of repositories, files and mount points run nothing and inject nothing',
  LIMIT,
  async (t) => {
    const world = await annexWorld(t)
    for (const [index, name] of STRANGE.entries()) {
      const folder = `${index}/${name}`
      await mkdir(join(world.folder, folder), { recursive: true })
      // git-annex itself cannot work in a folder with a newline; and it is slow, so that half of them must do.
      const plain = name.includes('\n') || index % 2 === 1
      const repository = await world.repository(folder, { plain })
      await world.write(folder, name, `content of ${name}`)
      await world.git(folder, ...(plain ? ['add'] : ['annex', 'add', '--quiet']), '--', name)
      await world.git(folder, 'commit', '--quiet', '-m', 'add')
      if (!plain) {
        const shelf = join(world.folder, `${index}/${name} shelf`)
        await mkdir(shelf)
        await world.annex(
          folder,
          'initremote',
          '--quiet',
          's',
          'type=directory',
          `directory=${shelf}`,
          'encryption=none',
        )
        await world.annex(folder, 'move', '--quiet', '--all', '--to', 's')
      }
      const mount = await mountSession(t, [repository], { name })
      assert.deepEqual(await readdir(mount.path), [name])
      assert.equal(await readFile(join(mount.path, name), 'utf8'), `content of ${name}`)
      const entry = (await mountTable()).find((one) => one.mountpoint === mount.path)
      assert.ok(entry !== undefined, `${JSON.stringify(name)} is in the mount table`)
      const { code, stderr } = await annexfs(t, ['unmount', '--', mount.path])
      assert.equal(code, 0, stderr)
      await mount.stop()
      for (const place of [process.cwd(), world.folder, mount.path, repository, join(mount.path, '..')]) {
        await assert.rejects(access(join(place, 'pwned')), { code: 'ENOENT' }, `${JSON.stringify(name)} in ${place}`)
      }
    }
  },
)

test('goal 44: a name cannot inject a mount option', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a,allow_other,dev,suid,fsname=evil')
  await world.addAnnexed('a,allow_other,dev,suid,fsname=evil', { file: 'x' })
  const mount = await mountSession(t, [repository], { name: 'm,allow_other,rw' })
  const line = (await readFile('/proc/self/mounts', 'utf8')).split('\n').find((one) => one.includes(mount.path))
  assert.ok(line !== undefined)
  const options = line.split(' ')[3]?.split(',') ?? []
  for (const wanted of ['ro', 'nosuid', 'nodev']) assert.ok(options.includes(wanted), `${wanted} in ${line}`)
  assert.ok(!options.includes('allow_other'), line)
})
