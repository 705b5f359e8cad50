import assert from 'node:assert/strict'
import { createHash, randomInt } from 'node:crypto'
import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { pseudoRandom } from '../support/peers.js'
import { makeSample, PIECE, REACH_NGINX } from '../support/sample.js'
import { mountSession, runProgram, within } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'
import { preadSet } from './pread-set.js'
import { randomPreads } from './preads.js'

const LIMIT = { timeout: 180_000 }

test('goal 1: random preads over every kind of place give the bytes of the source', LIMIT, async (t) => {
  // Small enough that pieces come and go.
  const { mount, pairs } = await preadSet(t, ['--cache-size', '48MiB'])
  const seed = randomInt(2 ** 31)
  t.diagnostic(`seed ${seed}`)
  const good = await randomPreads(pairs, { seed, count: 15_000 })
  assert.equal(good, 15_000)
  assert.equal(await mount.stop(), 0, mount.log())
})

test('a random read of 64 KiB fetches at most two pieces of 128 KiB', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const repository = await world.repository('a')
  const content = pseudoRandom(50_000_000, 'big')
  await writeFile(join(nginx.root, 'big'), content)
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=big', `${nginx.url}/big`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  const mount = await mountSession(t, [repository], { options: REACH_NGINX })
  const file = await open(join(mount.path, 'big'))
  const own = Buffer.alloc(65_536)
  try {
    for (const offset of [20_000_001, 3 * PIECE - 100, 45_000_000, 11]) {
      const before = sum(await nginx.log())
      const { bytesRead } = await within(60_000, 'read', file.read(own, 0, own.length, offset))
      assert.equal(bytesRead, own.length)
      assert.ok(own.equals(content.subarray(offset, offset + own.length)))
      const fetched = sum(await nginx.log()) - before
      assert.ok(fetched <= 2 * PIECE, `${fetched} bytes fetched for 64 KiB at ${offset}`)
    }
  } finally {
    await file.close()
  }

  function sum(requests: readonly { method: string; bytes: number }[]): number {
    return requests.reduce((total, one) => total + (one.method === 'GET' ? one.bytes : 0), 0)
  }
})

const MMAP = `
import hashlib, mmap, sys
for path in sys.argv[1:]:
    with open(path, 'rb') as file:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        # Backwards first, so that nothing is in order.
        ends = [data[at] for at in range(len(data) - 1, -1, -4096)]
        print(hashlib.sha256(data).hexdigest())
`

test('goal 3: mmap, sendfile, cp, tar, dd and O_DIRECT give the same hash', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 5_000_001 })
  const mount = await mountSession(t, [sample.repository], { options: REACH_NGINX })
  const target = await temporaryFolder(t)
  const paths = [...sample.files.keys()]
  const hashes = paths.map((path) => sha256(sample.files.get(path) ?? ''))
  const mounted = paths.map((path) => join(mount.path, path))

  const mapped = await runProgram('/usr/bin/python3', ['-c', MMAP, ...mounted])
  assert.deepEqual(mapped.stdout.toString().trim().split('\n'), hashes, mapped.stderr)

  await mount.stop()
  const cold = await mountSession(t, [sample.repository], { options: REACH_NGINX })
  const copied = await runProgram('cp', ['-r', `${cold.path}/.`, join(target, 'copy')])
  assert.equal(copied.code, 0, copied.stderr)
  for (const [index, path] of paths.entries()) {
    assert.equal(sha256(await readFile(join(target, 'copy', path))), hashes[index], `cp ${path}`)
  }
  await mkdir(join(target, 'tar'))
  const packed = await runProgram('sh', [
    '-c',
    'tar -C "$1" -cf - . | tar -C "$2" -xf -',
    'sh',
    cold.path,
    join(target, 'tar'),
  ])
  assert.equal(packed.code, 0, packed.stderr)
  for (const [index, path] of paths.entries()) {
    assert.equal(sha256(await readFile(join(target, 'tar', path))), hashes[index], `tar ${path}`)
  }
  for (const [index, path] of paths.entries()) {
    const direct = await runProgram('dd', [`if=${join(cold.path, path)}`, 'iflag=direct', 'bs=1M', 'status=none'])
    assert.equal(sha256(direct.stdout), hashes[index], `O_DIRECT ${path}: ${direct.stderr}`)
    // copy_file_range or sendfile inside
    await copyFile(join(cold.path, path), join(target, 'one'))
    assert.equal(sha256(await readFile(join(target, 'one'))), hashes[index], `copyFile ${path}`)
  }
})

test(
  'readers of the same cold files side by side all get the right bytes, fetched for all of them',
  LIMIT,
  async (t) => {
    const sample = await makeSample(t, { some: 3_000_000 })
    const mount = await mountSession(t, [sample.repository], { options: REACH_NGINX })
    const before = (await sample.nginx.log()).filter((one) => one.method === 'GET').length
    const jobs = Array.from({ length: 4 }, () => [...sample.files]).flat()
    const results = await Promise.all(jobs.map(async ([path]) => runProgram('cat', [join(mount.path, path)])))
    for (const [index, [path, content]] of jobs.entries()) {
      assert.ok(content.equals(results[index]?.stdout ?? Buffer.alloc(0)), `${path}: ${results[index]?.stderr ?? ''}`)
    }
    const gets = (await sample.nginx.log()).filter((one) => one.method === 'GET').slice(before)
    const fetched = gets.reduce((total, one) => total + one.bytes, 0)
    // Four times would be each for itself; what an abandoned readahead had in its socket counts too.
    assert.ok(fetched < 3_000_000 * 2, `${fetched} bytes fetched of 3,000,000`)
  },
)

function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}
