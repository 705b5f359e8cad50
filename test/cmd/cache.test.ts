import assert from 'node:assert/strict'
import { open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { makeSample, REACH_NGINX } from '../support/sample.js'
import { annexfs } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

test('cache info, check and clear: what is there, what was damaged, and nothing', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 2_000_000 })
  const cache = join(sample.world.folder, 'cache')
  const at = ['--cache-dir', cache]
  const content = sample.files.get('web/some') ?? Buffer.alloc(0)
  const cat = () => annexfs(t, ['cat', ...at, ...REACH_NGINX, sample.repository, 'web/some'])
  assert.ok(content.equals((await cat()).stdout))

  const info = await annexfs(t, ['cache', 'info', ...at])
  assert.equal(info.code, 0, info.stderr)
  assert.match(info.stdout.toString(), /^contents 1$/m)
  assert.match(info.stdout.toString(), /^pieces {3}16$/m)
  assert.match(info.stdout.toString(), /^free {5}\S+ .iB on its disk$/m)
  const low = await annexfs(t, ['cache', 'info', '--min-free', '1000TiB', ...at])
  assert.match(low.stdout.toString(), /^free .* on its disk, and --min-free is 1000 TiB: nothing can be cached$/m)
  assert.equal((await annexfs(t, ['cache', 'check', ...at])).code, 0)

  assert.ok((await flipLargest(cache)) > 1_000_000)
  const check = await annexfs(t, ['cache', 'check', ...at])
  assert.equal(check.code, 5, check.stderr)
  assert.match(check.stdout.toString(), /1 bad pieces forgotten/)
  assert.equal((await annexfs(t, ['cache', 'check', ...at])).code, 0, 'now it is right')
  assert.match((await annexfs(t, ['cache', 'info', ...at])).stdout.toString(), /^pieces {3}15$/m)

  await flipLargest(cache)
  assert.ok(content.equals((await cat()).stdout), 'damage that nobody has looked for is fetched again')

  assert.equal((await annexfs(t, ['cache', 'clear', ...at])).code, 0)
  assert.match((await annexfs(t, ['cache', 'info', ...at])).stdout.toString(), /^bytes {4}0 /m)
  const nothing = await annexfs(t, ['cache', 'info', '--cache-dir', join(cache, 'nothing')])
  assert.equal(nothing.code, 3)
  assert.match(nothing.stderr, /^annexfs: .*nothing.*\n$/)
})

/** Flips a bit in the middle of the largest file of a folder; its size. */
async function flipLargest(folder: string): Promise<number> {
  let largest = { path: '', size: 0 }
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.path, entry.name)
    const { size } = await stat(path)
    if (entry.isFile() && size > largest.size) largest = { path, size }
  }
  const file = await open(largest.path, 'r+')
  const byte = Buffer.alloc(1)
  const middle = Math.floor(largest.size / 2)
  await file.read(byte, 0, 1, middle)
  byte[0] = (byte[0] ?? 0) ^ 4
  await file.write(byte, 0, 1, middle)
  await file.close()
  return largest.size
}
