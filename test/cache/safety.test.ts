import assert from 'node:assert/strict'
import {
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { test } from 'node:test'
import { openFacts } from '../../lib/cache/facts.js'
import { checkCache, clearCache, inspectCache } from '../../lib/cache/inspect.js'
import { openPieceStore } from '../../lib/cache/open.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { cacheFolder, KIB, MIB, openStore, put, putAll, sampleSpace, tally, filesIn } from './support.js'

const SPACE = sampleSpace('safe', 4 * 64 * KIB, 64 * KIB)
const NAME = createHash('sha256').update(SPACE.id).digest('hex')

function modesIn(folder: string): string[] {
  const own = `${(statSync(folder).mode & 0o777).toString(8)} folder`
  const inside = readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? modesIn(path) : [`${(lstatSync(path).mode & 0o777).toString(8)} file`]
  })
  return [own, ...inside]
}

for (const mask of [0, 0o777]) {
  test(`goal 21: with umask ${mask.toString(8)} folders are 0700 and files 0600`, async (t) => {
    const parent = await cacheFolder(t)
    const before = process.umask(mask)
    try {
      const folder = join(parent, 'new', 'cache')
      const cached = (await openStore(t, folder)).open(SPACE)
      assert.equal(await putAll(cached), 4)
      assert.equal(await openFacts({ folder, log: silentLog }).set('size', 'x', 1), true)
      assert.deepEqual([...new Set(modesIn(join(parent, 'new')))].sort(), ['600 file', '700 folder'])
    } finally {
      process.umask(before)
    }
  })
}

test('goal 21: an existing empty folder is made private', async (t) => {
  const folder = join(await cacheFolder(t), 'open')
  mkdirSync(folder, { mode: 0o755 })
  await openStore(t, folder)
  assert.equal(statSync(folder).mode & 0o777, 0o700)
})

test('goal 21: the cache folder itself may be reached through a symbolic link', async (t) => {
  const parent = await cacheFolder(t)
  mkdirSync(join(parent, 'real'))
  symlinkSync('real', join(parent, 'link'))
  const cached = (await openStore(t, join(parent, 'link'))).open(SPACE)
  assert.equal(await putAll(cached), 4)
  assert.ok(filesIn(join(parent, 'real')).length > 3)
})

const plants: readonly (readonly [what: string, path: string, kind: 'folder' | 'file'])[] = [
  ['spaces', 'spaces', 'folder'],
  ['the folder of a prefix', join('spaces', NAME.slice(0, 2)), 'folder'],
  ['the folder of a space', join('spaces', NAME.slice(0, 2), NAME), 'folder'],
  ['the data of a space', join('spaces', NAME.slice(0, 2), NAME, 'data'), 'file'],
  ['the index of a space', join('spaces', NAME.slice(0, 2), NAME, 'index'), 'file'],
  ['the lock', 'evict.lock', 'file'],
  ['clients', 'clients', 'folder'],
]

for (const [what, path, kind] of plants) {
  test(`goal 21: a symbolic link planted for ${what} is not followed`, async (t) => {
    const parent = await cacheFolder(t)
    const folder = join(parent, 'cache')
    const outside = join(parent, 'outside')
    await (await openStore(t, folder)).close()
    if (kind === 'folder') mkdirSync(outside)
    else writeFileSync(outside, 'precious')
    rmSync(join(folder, path), { recursive: true, force: true })
    mkdirSync(join(folder, path, '..'), { recursive: true })
    symlinkSync(outside, join(folder, path))
    let opened = false
    try {
      const cached = (await openStore(t, folder)).open(SPACE)
      opened = true
      await putAll(cached)
      assert.equal((await tally(cached)).wrong, 0)
      await cached.drop()
    } catch (error) {
      assert.ok(!opened && isAnnexfsError(error), String(error))
    }
    if (kind === 'folder') assert.deepEqual(readdirSync(outside), [])
    else assert.equal(readFileSync(outside, 'utf8'), 'precious')
    await checkCache(folder, new AbortController().signal)
    await clearCache(folder)
    assert.ok(lstatSync(outside, { throwIfNoEntry: false }) !== undefined)
    if (kind === 'file') assert.equal(readFileSync(outside, 'utf8'), 'precious')
  })
}

test('goal 21: a second name of a file of the user, planted as data, is not written to', async (t) => {
  const parent = await cacheFolder(t)
  const folder = join(parent, 'cache')
  await (await openStore(t, folder)).close()
  writeFileSync(join(parent, 'precious'), 'precious')
  const space = join(folder, 'spaces', NAME.slice(0, 2), NAME)
  mkdirSync(space, { recursive: true })
  linkSync(join(parent, 'precious'), join(space, 'data'))
  const cached = (await openStore(t, folder)).open(SPACE)
  assert.equal(await put(cached, 0), false)
  assert.equal(readFileSync(join(parent, 'precious'), 'utf8'), 'precious')
})

test('goal 21: a folder of another user is refused', { skip: process.getuid?.() !== 0 && 'needs root' }, async (t) => {
  const folder = join(await cacheFolder(t), 'theirs')
  mkdirSync(folder)
  const { chownSync } = await import('node:fs')
  chownSync(folder, 65_534, 65_534)
  const opened = openPieceStore({ folder, limitBytes: MIB, minFreeBytes: 0, log: silentLog })
  await assert.rejects(opened, (error) => isAnnexfsError(error, 'INVALID'))
})

test('only a cache is looked at, checked or cleared', async (t) => {
  const folder = await cacheFolder(t)
  writeFileSync(join(folder, 'mine'), 'mine')
  const refused = (error: unknown): boolean => isAnnexfsError(error, 'INVALID')
  await assert.rejects(inspectCache(folder), refused)
  await assert.rejects(clearCache(folder), refused)
  await assert.rejects(checkCache(folder, new AbortController().signal), refused)
  assert.equal(readFileSync(join(folder, 'mine'), 'utf8'), 'mine')
})

test('a cache that is in use can be looked at and cleared, and goes on', async (t) => {
  const folder = await cacheFolder(t)
  const cached = (await openStore(t, folder)).open(SPACE)
  await putAll(cached)
  const { spaces, pieces } = await inspectCache(folder)
  assert.deepEqual({ spaces, pieces }, { spaces: 1, pieces: 4 })
  await clearCache(folder)
  assert.equal((await inspectCache(folder)).usedBytes, 0)
  assert.equal((await tally(cached)).right, 0)
  assert.equal(await putAll(cached), 4)
  assert.equal((await inspectCache(folder)).pieces, 4)
})
