import assert from 'node:assert/strict'
import { execFile, fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Listings } from '../../lib/fuse/listings.js'
import { NATIVE_FILE } from '../../lib/native/part.js'
import { mountInChild } from '../support/mount.js'
import { temporaryFolder } from '../support/temp.js'
import { bytesOf } from './memory-volume.js'

const MEMORY = new URL('./memory-module.js', import.meta.url)
const run = promisify(execFile)
const OPTIONS = { timeout: 120_000 }
const NATIVE = {
  ...OPTIONS,
  skip: existsSync(NATIVE_FILE) ? false : 'NO C COMPILER: the native part was not built',
}

interface Counts {
  readonly lookups: number
}

test('files are listed with the attributes that they have, in folders small and large', OPTIONS, async (t) => {
  const spec = Object.fromEntries([
    ...Array.from({ length: 500 }, (_, n) => [`/some/ü-${n}`, { size: n * 7, mtime: 1_600_000_000_000 + n * 1000 }]),
    ...Array.from({ length: 20 }, (_, n) => [`/f${n}`, { size: n, executable: n % 2 === 0 }]),
    ['/link', { link: 'some/ü-1' }],
  ])
  const mount = await mountInChild(t, MEMORY, spec)
  await mount.command('many', 3000)
  const seen = async (folder: string): Promise<readonly string[]> => {
    const names = await readdir(join(mount.path, folder))
    const all = await Promise.all(
      names.map(async (name) => {
        const { mode, size, mtimeMs, blocks, nlink, uid } = await lstat(join(mount.path, folder, name))
        return `${folder}${name} ${mode.toString(8)} ${size} ${mtimeMs} ${blocks} ${nlink} ${uid}`
      }),
    )
    return all.sort()
  }
  const many = await seen('many/')
  const some = await seen('some/')
  const root = await seen('')
  assert.equal(many.length, 3000)
  const uid = process.getuid?.() ?? 0
  assert.equal(some.length, 500)
  assert.ok(some.includes(`some/ü-499 100444 3493 ${1_600_000_000_000 + 499 * 1000} 7 1 ${uid}`))
  assert.equal(root.filter((line) => line.includes(' 100555 ')).length, 10)
  assert.ok(
    root.some((line) => line.startsWith('link 120777 9 ')),
    root.join('\n'),
  )
  // A while later each is looked up by itself, and is the same.
  await new Promise((resolve) => setTimeout(resolve, 1200))
  assert.deepEqual(
    await Promise.all(
      many.slice(0, 100).map(async (line) => {
        const { size } = await lstat(join(mount.path, line.split(' ')[0] ?? ''))
        return size
      }),
    ),
    many.slice(0, 100).map((line) => Number(line.split(' ')[2])),
  )
})

test('attributes of files that are listed come with the listing', NATIVE, async (t) => {
  const mount = await mountInChild(t, MEMORY, {})
  await mount.command('many', 2000)
  const before = await mount.command<Counts>('counts')
  const { stdout } = await run('/bin/ls', ['-l', join(mount.path, 'many')], { maxBuffer: 1_000_000 })
  const { lookups } = await mount.command<Counts>('counts')
  assert.equal(stdout.trim().split('\n').length, 2001)
  t.diagnostic(`${lookups - before.lookups} of 2000 were looked up one by one`)
  // All that were asked for within a quarter of a second.
  assert.ok(lookups - before.lookups < 1900)
})

test('a file that changes right after it was listed is read whole, at its new size', OPTIONS, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/folder/file': { size: 1000, seed: 1 }, '/folder/other': { size: 1 } })
  const folder = join(mount.path, 'folder')
  for (let turn = 0; turn < 12; turn++) {
    await readdir(folder)
    await lstat(join(folder, 'file'))
    const size = turn % 2 === 0 ? 300_000 + turn : 1000 + turn
    await mount.command('set', { '/folder/file': { size, seed: turn } })
    const content = await readFile(join(folder, 'file'))
    assert.equal(content.length, size)
    assert.ok(content.equals(bytesOf(turn, 0, size)))
    assert.equal((await lstat(join(folder, 'file'))).size, size)
  }
})

test('a file that vanishes right after it was listed is gone a moment later', OPTIONS, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/folder/file': { size: 1000 }, '/folder/other': { size: 1 } })
  await readdir(join(mount.path, 'folder'))
  await mount.command('delete', '/folder/file')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  await assert.rejects(lstat(join(mount.path, 'folder', 'file')), { code: 'ENOENT' })
})

test('two mounts of one process do not mix what they list', OPTIONS, async (t) => {
  let child: ChildProcess | undefined
  // Hooks run in the order in which they were made: unmounted before the folder goes.
  t.after(async () => {
    if (child?.connected !== true) return
    const ended = once(child, 'exit')
    child.disconnect()
    await ended
  })
  const folder = await temporaryFolder(t)
  const places = [join(folder, 'a'), join(folder, 'b')]
  for (const place of places) await mkdir(place)
  child = fork(fileURLToPath(new URL('./two-mounts.js', import.meta.url)), places, { stdio: 'inherit' })
  await once(child, 'message')
  for (let turn = 0; turn < 5; turn++) {
    await Promise.all(
      places.map(async (place, nth) => {
        for (const name of await readdir(join(place, 'folder'))) {
          const size = 1000 * (nth + 1) + Number(name.slice(4))
          assert.equal((await lstat(join(place, 'folder', name))).size, size)
        }
        const content = await readFile(join(place, 'folder', 'file7'))
        assert.ok(content.equals(bytesOf(nth, 0, 1000 * (nth + 1) + 7)))
      }),
    )
  }
})

test('a size that was listed is what the kernel may believe in, for a while', () => {
  const listings = new Listings(100)
  const node = { kind: 'file', mtime: 0, size: 5, executable: false, content: undefined } as const
  listings.given('/a', [{ name: 'x', node }], 1000)
  assert.equal(listings.remaining('/a/x', 5, 1010), 0)
  assert.equal(listings.remaining('/a/x', 6, 1010), 340)
  assert.equal(listings.remaining('/a/y', 6, 1010), 0)
  assert.equal(listings.remaining('/x', 6, 1010), 0)
  assert.equal(listings.remaining('/a/x', 6, 1400), 0)
  listings.given('/', [{ name: 'x', node }], 2000)
  assert.equal(listings.remaining('/x', 6, 2010), 340)
})
