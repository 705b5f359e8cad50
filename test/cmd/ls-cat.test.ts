import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { COMMIT_TIME } from '../support/annex.js'
import { makeSample, PIECE, REACH_NGINX } from '../support/sample.js'
import { annexfs, PROGRAM, runProgram } from '../support/session.js'

const LIMIT = { timeout: 180_000 }

test('cat writes exactly the bytes that are asked for, past the end too', LIMIT, async (t) => {
  const sample = await makeSample(t, { empty: 0, some: 3 * PIECE + 777 })
  const cache = ['--cache-dir', join(sample.world.folder, 'cache'), ...REACH_NGINX]
  for (const place of ['local', 'shelf', 'clone', 'web']) {
    const content = sample.files.get(`${place}/some`) ?? Buffer.alloc(0)
    for (const [offset, length] of [
      [undefined, undefined],
      [0, 0],
      [1, 1],
      [PIECE - 1, 2],
      [PIECE, PIECE],
      [100, 2 * PIECE + 5],
      [content.length - 1, 10],
      [content.length, 10],
      [content.length + 1_000_000, 10],
      [content.length - 10, undefined],
    ]) {
      const range = [
        ...(offset === undefined ? [] : ['--offset', String(offset)]),
        ...(length === undefined ? [] : ['--length', String(length)]),
      ]
      const { code, stdout, stderr } = await annexfs(t, ['cat', ...cache, sample.repository, `${place}/some`, ...range])
      assert.equal(code, 0, stderr)
      const start = offset ?? 0
      const wanted = content.subarray(start, length === undefined ? undefined : start + length)
      assert.ok(wanted.equals(stdout), `${place} ${range.join(' ')}: ${stdout.length} of ${wanted.length} bytes`)
      if (place !== 'web') break
    }
  }
  const empty = await annexfs(t, ['cat', ...cache, sample.repository, 'web/empty'])
  assert.deepEqual([empty.code, empty.stdout.length], [0, 0])
})

test('cat into a program that stops reading ends quietly with exit code 0', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 20_000_000 })
  const script = '"$0" "$1" cat --cache-dir "$2" "$3" shelf/some | head -c 10 >/dev/null; echo "${PIPESTATUS[0]}"'
  const args = ['-c', script, process.execPath, PROGRAM, join(sample.world.folder, 'cache'), sample.repository]
  const { stdout, stderr } = await runProgram('bash', args)
  assert.equal(stdout.toString(), '0\n')
  assert.equal(stderr, '')
})

test('cat of content that cannot be had is exit code 4, and says what was tried', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 100 })
  const cache = ['--cache-dir', join(sample.world.folder, 'cache')]
  // The web server is at an address that a repository may not name unless it is allowed.
  const { code, stdout, stderr } = await annexfs(t, ['cat', ...cache, sample.repository, 'web/some'])
  assert.equal(code, 4, stderr)
  assert.equal(stdout.length, 0)
  assert.match(stderr, /127\.0\.0\.1/)
  assert.doesNotMatch(stderr, /\n {2,}at /)
  assert.deepEqual(
    (await sample.nginx.log()).filter((one) => one.method === 'GET' && one.range !== '-'),
    [],
  )
})

test('ls lists sorted names, and --long modes, sizes and times, without fetching', LIMIT, async (t) => {
  const sample = await makeSample(t, { some: 12_345 })
  const { world } = sample
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=unknown', `${sample.nginx.url}/web/some`)
  await world.git('a', 'commit', '--quiet', '-m', 'unknown size')
  const before = (await sample.nginx.log()).length
  const cache = ['--cache-dir', join(world.folder, 'cache'), ...REACH_NGINX]
  const short = await annexfs(t, ['ls', ...cache, sample.repository])
  assert.equal(short.stdout.toString(), 'README\nclone\nlocal\nshelf\nunknown\nweb\n')
  const long = await annexfs(t, ['ls', '--long', ...cache, sample.repository])
  const time = new Date(COMMIT_TIME).toISOString().replace('.000Z', 'Z')
  assert.match(long.stdout.toString(), new RegExp(`^-r--r--r-- +19 ${time} README$`, 'm'))
  assert.match(long.stdout.toString(), new RegExp(`^dr-xr-xr-x +- ${time} web$`, 'm'))
  assert.match(long.stdout.toString(), new RegExp(`^-r--r--r-- +\\? ${time} unknown$`, 'm'))
  const one = await annexfs(t, ['ls', '--long', ...cache, sample.repository, '/web/some'])
  assert.match(one.stdout.toString(), /^-r--r--r-- +12345 \S+ some\n$/)
  assert.equal((await sample.nginx.log()).length, before)
})
