import assert from 'node:assert/strict'
import { readFileSync, writeFileSync, rmSync, copyFileSync } from 'node:fs'
import { test } from 'node:test'
import { openFacts } from '../../lib/cache/facts.js'
import { silentLog } from '../../lib/log/log.js'
import { blocksIn, cacheFolder, filesIn, KIB, MIB, openStore } from './support.js'

const aNumber = (value: unknown): number | undefined => (typeof value === 'number' ? value : undefined)

async function folderOf(t: { after(done: () => Promise<void>): void }): Promise<string> {
  const folder = await cacheFolder(t)
  await openStore(t, folder)
  return folder
}

test('a fact is remembered, replaced, and forgotten, also by another process', async (t) => {
  const folder = await folderOf(t)
  const facts = openFacts({ folder, log: silentLog })
  assert.equal(await facts.get('size', 'URL--x', aNumber), undefined)
  assert.equal(await facts.set('size', 'URL--x', 42), true)
  assert.equal(await facts.set('size', 'URL--y', 43), true)
  assert.equal(await facts.get('size', 'URL--x', aNumber), 42)
  assert.equal(await facts.get('other', 'URL--x', aNumber), undefined)
  await facts.set('size', 'URL--x', 44)
  assert.equal(await openFacts({ folder, log: silentLog }).get('size', 'URL--x', aNumber), 44)
  await facts.delete('size', 'URL--x')
  await facts.delete('size', 'URL--x')
  assert.equal(await facts.get('size', 'URL--x', aNumber), undefined)
  assert.equal(await facts.get('size', 'URL--y', aNumber), 43)
})

test('a fact that does not pass its check is none', async (t) => {
  const facts = openFacts({ folder: await folderOf(t), log: silentLog })
  await facts.set('size', 'a', { not: 'a number' })
  assert.equal(await facts.get('size', 'a', aNumber), undefined)
})

test('blobs come back byte by byte, up to 32 MiB', async (t) => {
  const facts = openFacts({ folder: await folderOf(t), log: silentLog })
  for (const size of [0, 1, 5 * MIB, 32 * MIB]) {
    const bytes = Buffer.alloc(size, 7)
    assert.equal(await facts.setBlob('metadata', 'x', bytes), true)
    const got = await facts.getBlob('metadata', 'x')
    assert.ok(got !== undefined && Buffer.compare(got, bytes) === 0)
  }
  assert.equal(await facts.setBlob('metadata', 'y', Buffer.alloc(32 * MIB + 1)), false)
  assert.equal(await facts.set('metadata', 'y', 'x'.repeat(MIB)), false)
})

test('a damaged, cut, or moved fact is none', async (t) => {
  const folder = await folderOf(t)
  const facts = openFacts({ folder, log: silentLog })
  const only = (): string => filesIn(folder).find((path) => path.endsWith('.json')) ?? ''
  await facts.set('size', 'a', 12_345)
  const path = only()
  const good = readFileSync(path)
  for (let byte = 0; byte < good.length; byte++) {
    const bad = Buffer.from(good)
    bad[byte] = (bad[byte] ?? 0) ^ 4
    writeFileSync(path, bad)
    const got = await facts.get('size', 'a', aNumber)
    // Unused bytes of the header may be anything.
    assert.ok(got === undefined || got === 12_345, `byte ${byte}`)
    writeFileSync(path, good.subarray(0, byte))
    assert.equal(await facts.get('size', 'a', aNumber), undefined)
  }
  writeFileSync(path, good)
  await facts.set('size', 'b', 1)
  const other = filesIn(folder).find((name) => name.endsWith('.json') && name !== path) ?? ''
  copyFileSync(path, other)
  assert.equal(await facts.get('size', 'b', aNumber), undefined)
})

test('facts are bounded: the oldest go', async (t) => {
  const folder = await folderOf(t)
  const facts = openFacts({ folder, log: silentLog, limitBytes: 256 * KIB })
  for (let nth = 0; nth < 300; nth++) {
    assert.equal(await facts.set('size', `key ${nth}`, nth), true)
    if (nth % 50 === 0) assert.ok(blocksIn(`${folder}/facts`) <= 256 * KIB)
  }
  assert.ok(blocksIn(`${folder}/facts`) <= 256 * KIB)
  assert.equal(await facts.get('size', 'key 299', aNumber), 299)
  assert.equal(await facts.get('size', 'key 0', aNumber), undefined)
})

test('disk trouble only means that nothing is remembered', async (t) => {
  const folder = await folderOf(t)
  const facts = openFacts({ folder, log: silentLog })
  await facts.set('size', 'a', 1)
  rmSync(`${folder}/facts`, { recursive: true })
  assert.equal(await facts.get('size', 'a', aNumber), undefined)
  writeFileSync(`${folder}/facts`, 'a file')
  assert.equal(await facts.set('size', 'a', 1), false)
  assert.equal(await facts.get('size', 'a', aNumber), undefined)
  await facts.delete('size', 'a')
  rmSync(`${folder}/facts`)
  assert.equal(await facts.set('size', 'a', 1), true)
})
