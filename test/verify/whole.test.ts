import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { AnnexfsError, isAnnexfsError } from '../../lib/errors.js'
import { checkWhole } from '../../lib/verify/whole.js'
import {
  allBytesOf,
  bytesOf,
  cacheFolder,
  filesIn,
  KIB,
  MIB,
  openStore,
  put,
  putAll,
  sampleSpace,
} from '../cache/support.js'

const never = new AbortController().signal
const SPACE = sampleSpace('whole', 10 * 128 * KIB + 999, 128 * KIB)
const BYTES = allBytesOf(SPACE)
const WHOLE = { space: SPACE, offset: 0, length: SPACE.length }

function digestOf(bytes: Uint8Array, algorithm = 'sha256'): string {
  return createHash(algorithm).update(bytes).digest('hex')
}

test('a complete space is checked against its hash, whichever it is', async (t) => {
  const folder = await cacheFolder(t)
  await putAll((await openStore(t, folder)).open(SPACE))
  const read = { cacheFolder: folder }
  for (const algorithm of ['sha256', 'sha1', 'md5', 'sha512', 'sha3-256', 'blake2b512']) {
    const digest = digestOf(BYTES, algorithm)
    assert.equal(await checkWhole({ read, slice: WHOLE, algorithm, digest, signal: never }), 'match')
    assert.equal(
      await checkWhole({ read, slice: WHOLE, algorithm, digest: digest.toUpperCase(), signal: never }),
      'match',
    )
    const other = digestOf(Buffer.from('other'), algorithm)
    assert.equal(await checkWhole({ read, slice: WHOLE, algorithm, digest: other, signal: never }), 'mismatch')
  }
})

test('a slice that begins and ends within pieces is checked alone', async (t) => {
  const folder = await cacheFolder(t)
  const cached = (await openStore(t, folder)).open(SPACE)
  await put(cached, 2)
  await put(cached, 3)
  const offset = 2 * 128 * KIB + 77
  const length = 150_001
  const check = { read: { cacheFolder: folder }, algorithm: 'sha256', signal: never }
  const digest = digestOf(BYTES.subarray(offset, offset + length))
  assert.equal(await checkWhole({ ...check, slice: { space: SPACE, offset, length }, digest }), 'match')
  const empty = { space: SPACE, offset, length: 0 }
  assert.equal(await checkWhole({ ...check, slice: empty, digest: digestOf(Buffer.alloc(0)) }), 'match')
  assert.equal(await checkWhole({ ...check, slice: { space: SPACE, offset: 0, length: 10 }, digest }), 'incomplete')
})

test('a missing or damaged piece makes it incomplete, not a mismatch', async (t) => {
  const folder = await cacheFolder(t)
  const cached = (await openStore(t, folder)).open(SPACE)
  const check = {
    read: { cacheFolder: folder },
    slice: WHOLE,
    algorithm: 'sha256',
    digest: digestOf(BYTES),
    signal: never,
  }
  assert.equal(await checkWhole(check), 'incomplete')
  await putAll(cached)
  const data = filesIn(folder).find((path) => path.endsWith('/data')) ?? ''
  await writeFile(data, Buffer.from('damage'), { flag: 'r+' })
  assert.equal(await checkWhole(check), 'incomplete')
  await put(cached, 0)
  assert.equal(await checkWhole(check), 'match')
})

test('a wrong piece that was put makes it a mismatch', async (t) => {
  const folder = await cacheFolder(t)
  const cached = (await openStore(t, folder)).open(SPACE)
  await putAll(cached)
  await put(cached, 4, 1)
  assert.notDeepEqual(bytesOf(SPACE, 4, 1), bytesOf(SPACE, 4))
  const digest = digestOf(BYTES)
  const outcome = await checkWhole({
    read: { cacheFolder: folder },
    slice: WHOLE,
    algorithm: 'sha256',
    digest,
    signal: never,
  })
  assert.equal(outcome, 'mismatch')
})

test('a plain file is checked; one of another length, or none, is incomplete', async (t) => {
  const path = join(await cacheFolder(t), 'object')
  const check = { read: { path }, slice: WHOLE, algorithm: 'sha256', digest: digestOf(BYTES), signal: never }
  assert.equal(await checkWhole(check), 'incomplete')
  await writeFile(path, BYTES)
  assert.equal(await checkWhole(check), 'match')
  await writeFile(path, Buffer.concat([BYTES.subarray(0, 5), Buffer.from('x'), BYTES.subarray(6)]))
  assert.equal(await checkWhole(check), 'mismatch')
  await writeFile(path, BYTES.subarray(1))
  assert.equal(await checkWhole(check), 'incomplete')
})

test('an unknown digest is unsupported, and the thread goes on', async (t) => {
  const path = join(await cacheFolder(t), 'object')
  await writeFile(path, BYTES)
  const check = { read: { path }, slice: WHOLE, digest: digestOf(BYTES), signal: never }
  await assert.rejects(checkWhole({ ...check, algorithm: 'sha257' }), (error) => isAnnexfsError(error, 'UNSUPPORTED'))
  assert.equal(await checkWhole({ ...check, algorithm: 'sha256' }), 'match')
})

test('many checks wait for each other; one that is given up ends at once and the others go on', async (t) => {
  const path = join(await cacheFolder(t), 'object')
  const bytes = Buffer.alloc(64 * MIB, 3)
  await writeFile(path, bytes)
  const slice = { space: sampleSpace('big', bytes.length, MIB), offset: 0, length: bytes.length }
  const check = { read: { path }, slice, algorithm: 'sha256', digest: digestOf(bytes) }
  const controllers = Array.from({ length: 8 }, () => new AbortController())
  const checks = controllers.map(({ signal }) =>
    checkWhole({ ...check, signal }).catch((error: unknown) => (error instanceof AnnexfsError ? error.code : 'other')),
  )
  controllers[0]?.abort()
  controllers[3]?.abort(new DOMException('late', 'TimeoutError'))
  const expected = ['ABORTED', 'match', 'match', 'TIMED_OUT', 'match', 'match', 'match', 'match']
  assert.deepEqual(await Promise.all(checks), expected)
  await assert.rejects(checkWhole({ ...check, signal: AbortSignal.abort() }), (error) =>
    isAnnexfsError(error, 'ABORTED'),
  )
})

test('the thread does not keep a process alive', async (t) => {
  const path = join(await cacheFolder(t), 'object')
  await writeFile(path, 'x')
  const program = `
    import { checkWhole } from ${JSON.stringify(new URL('../../lib/verify/whole.js', import.meta.url).href)}
    const slice = { space: { id: 'key:x', length: 1, pieceLength: 1 }, offset: 0, length: 1 }
    const signal = new AbortController().signal
    console.log(await checkWhole({ read: { path: ${JSON.stringify(path)} }, slice, algorithm: 'sha1', digest: '${digestOf(Buffer.from('x'), 'sha1')}', signal }))`
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    encoding: 'utf8',
    timeout: 120_000,
  })
  assert.deepEqual([done.status, done.stdout, done.stderr], [0, 'match\n', ''])
})
