import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemCode } from '../../lib/errors.js'
import { ownDisk, type Disk } from '../../lib/sources/disk.js'
import { isFar } from '../../lib/sources/disk-of.js'
import { farDisk } from '../../lib/sources/far-disk.js'
import { temporaryFolder } from '../support/temp.js'

/** Processes that read far disks for this one. */
async function readers(): Promise<number[]> {
  const found: number[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    // Gone meanwhile.
    const title = await readFile(`/proc/${name}/cmdline`, 'latin1').catch(() => '')
    const status = await readFile(`/proc/${name}/status`, 'latin1').catch(() => '')
    if (title.includes('far-disk-process.js') && status.includes(`\nPPid:\t${process.pid}\n`)) found.push(Number(name))
  }
  return found
}

for (const [name, make] of [
  ['this process', (): Disk => ownDisk],
  ['another process', farDisk],
] as const) {
  test(`files are read by ${name}`, { timeout: 180_000 }, async (t) => {
    const folder = await temporaryFolder(t)
    const at = (path: string): Buffer => Buffer.from(join(folder, path))
    const content = randomBytes(3_000_000)
    await writeFile(at('f'), content, { mode: 0o444 })
    await symlink('f', at('link'))
    const disk = make()
    t.after(() => disk.close())
    assert.deepEqual(await disk.realpath(at('link')), await disk.realpath(at('f')))
    assert.equal((await disk.stamp(at('f'))).size, 3_000_000n)
    await assert.rejects(disk.realpath(at('none')), (error) => systemCode(error) === 'ENOENT')
    assert.equal(await disk.open(at('none'), undefined), undefined)
    assert.equal(await disk.open(at('link'), undefined), undefined)
    assert.equal(await disk.open(at('f'), 5), undefined)
    const file = await disk.open(at('f'), content.length)
    assert.ok(file)
    assert.equal(file.settled, true)
    const parts = await Promise.all([0, 1_000_000, 2_000_000].map((offset) => file.read(offset, 1_000_000)))
    assert.ok(Buffer.concat(parts).equals(content))
    await writeFile(at('f'), 'other')
    await assert.rejects(file.read(0, 100), { code: 'CORRUPT' })
    file.close()
  })
}

test(
  'the process goes with the last who uses it, and another comes when it was killed',
  { timeout: 180_000 },
  async (t) => {
    const folder = Buffer.from(await temporaryFolder(t))
    const [first, second] = [farDisk(), farDisk()]
    await Promise.all([first.realpath(folder), second.realpath(folder)])
    const [pid, ...others] = await readers()
    assert.ok(pid !== undefined && others.length === 0)
    process.kill(pid, 'SIGSTOP')
    const hangs = first.realpath(folder)
    process.kill(pid, 'SIGKILL')
    await assert.rejects(hangs, { code: 'UNAVAILABLE' })
    assert.deepEqual(await first.realpath(folder), folder)
    first.close()
    assert.deepEqual(await second.realpath(folder), folder)
    await assert.rejects(first.realpath(folder), { code: 'UNAVAILABLE' })
    second.close()
    for (let tries = 0; (await readers()).length > 0; tries++) {
      assert.ok(tries < 1_200, 'it is still there')
      await sleep(50)
    }
  },
)

test('which file systems may hang is read off the mount table', () => {
  const table = [
    '1 0 8:1 / / rw - ext4 /dev/sda1 rw',
    '2 1 0:40 / /mnt/nfs rw - nfs4 server:/x rw',
    '3 1 0:41 / /mnt/a\\040b rw - fuse.sshfs host: rw',
    '4 2 0:42 / /mnt/nfs/local rw - tmpfs tmpfs rw',
    '5 1 0:43 / /over rw - nfs server:/y rw',
    '6 5 0:44 / /over rw - ext4 /dev/sdb rw',
    '',
  ].join('\n')
  const rows: readonly (readonly [string, boolean])[] = [
    ['/home', false],
    ['/mnt/nfs', true],
    ['/mnt/nfs/deep/er/', true],
    ['/mnt/nfs2', false],
    ['/mnt/nfs/local/x', false],
    ['/mnt/a b/c', true],
    ['/over/x', false],
    ['/', false],
  ]
  for (const [path, expected] of rows) assert.equal(isFar(path, table), expected, path)
})
