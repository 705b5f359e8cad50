import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { hashDirLower, hashDirMixed } from '../../lib/annex/hash-dirs.js'
import { displayKey, isStable, keyFile, keyHash, parseKey, parseKeyFile, serializeKey } from '../../lib/annex/key.js'

const K12 = 'SHA256E-s12--a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447.txt'

function key(raw: string): NonNullable<ReturnType<typeof parseKey>> {
  const parsed = parseKey(raw)
  assert.ok(parsed, `${raw} is a key`)
  return parsed
}

test('the fields of a key are read', () => {
  const chunk = key('SHA256E-s3000000-S1048576-C2--c313.bin')
  assert.deepEqual(
    [chunk.backend, chunk.size, chunk.mtime, chunk.chunkSize, chunk.chunkNumber, chunk.name],
    ['SHA256E', 3000000, undefined, 1048576, 2, 'c313.bin'],
  )
  assert.equal(key('WORM-s3-m1289672605--file').mtime, 1289672605)
  assert.equal(key('URL--http://example.com/a').size, undefined)
  assert.equal(key('XFOO-s5--').name, '')
  assert.equal(key('SHA256--a--b-c').name, 'a--b-c')
})

test('what is not a key is refused', () => {
  for (const text of [
    '',
    'SHA256',
    'SHA256-S1-s2--abc',
    'SHA256-s-5--abc',
    '-s5--abc',
    'SHA256--a\nb',
    'SHA256--a\0b',
    'SHA256-s99999999999999999999--abc',
    `SHA256E--abc.${'x'.repeat(64)}`,
    `XBLAE--abc.${'x'.repeat(64)}`,
    `SHA256--${'x'.repeat(9000)}`,
  ]) {
    assert.equal(parseKey(text), undefined, JSON.stringify(text.slice(0, 80)))
  }
  assert.ok(parseKey(`SHA256E--abc.${'x'.repeat(63)}`))
  assert.ok(parseKey(`SHA256--abc.${'x'.repeat(100)}`))
})

test('a key becomes a file name as git-annex makes it', () => {
  assert.equal(keyFile(key('URL--http://example.com/a%20b')), 'URL--http&c%%example.com%a&s20b')
  assert.equal(keyFile(key('URL--a&b')), 'URL--a&ab')
})

test('every key comes back from its file name', () => {
  const name = fc.string({ unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)) })
  fc.assert(
    fc.property(
      fc.constantFrom('SHA256', 'URL', 'WORM', 'XSTRANGE'),
      fc.option(fc.nat()),
      name,
      (backend, size, text) => {
        const raw = `${backend}${size === null ? '' : `-s${size}`}--${text}`
        const parsed = parseKey(raw)
        fc.pre(parsed !== undefined)
        assert.equal(parseKeyFile(keyFile(parsed))?.raw, raw)
        assert.ok(!keyFile(parsed).includes('/'))
        assert.equal(serializeKey(parsed), raw)
      },
    ),
  )
})

test('the hash directories of the published examples', () => {
  const table: readonly (readonly [string, string, string])[] = [
    [K12, 'J7/0G/', 'e7d/d01/'],
    ['SHA256E-s0--e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', 'pX/ZJ/', 'f87/4d5/'],
    ['MD5E-s5--5d41402abc4b2a76b9719d911017c592.tar.gz', '1M/7M/', '7aa/09f/'],
    ['WORM-s3-m1289672605--file', 'p8/52/', 'e82/c96/'],
    ['URL--http://example.com/a%20b?x=1&y=2', 'f5/7m/', '25f/d9c/'],
    ['GPGHMACSHA1--0123456789abcdef0123456789abcdef01234567', 'v3/09/', '239/c00/'],
  ]
  for (const [raw, mixed, lower] of table) {
    assert.equal(hashDirMixed(key(raw)), mixed, raw)
    assert.equal(hashDirLower(key(raw)), lower, raw)
  }
})

test('all chunks of a key are in the directory of the key', () => {
  const name = 'c313d9db780ba4caf8547f2778f3a5bdbd62461262fa6b7ec2303a461c7c9957.bin'
  for (const raw of [`SHA256E-s3000000--${name}`, `SHA256E-s3000000-S1048576-C2--${name}`]) {
    assert.equal(hashDirMixed(key(raw)), 'zF/f9/')
    assert.equal(hashDirLower(key(raw)), '9f9/ad0/')
  }
})

test('the hash to check content against', () => {
  assert.deepEqual(keyHash(key(K12)), {
    algorithm: 'sha256',
    digest: 'a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447',
  })
  assert.deepEqual(keyHash(key('SHA3_256--\\A8009.ext')), { algorithm: 'sha3-256', digest: 'a8009' })
  assert.equal(keyHash(key('BLAKE2B512E-s1--ab.c'))?.algorithm, 'blake2b512')
  for (const raw of ['SKEIN256--ab', 'BLAKE2B160--ab', 'URL--x', 'WORM-s1--x', 'XFOO--x', 'sha256--ab', 'VURL--x']) {
    assert.equal(keyHash(key(raw)), undefined, raw)
  }
})

test('only keys that hold a hash are stable', () => {
  for (const raw of [K12, 'SKEIN512--ab', 'MD5--ab', 'BLAKE2SP224E--ab.c']) assert.ok(isStable(key(raw)), raw)
  for (const raw of ['URL--x', 'VURL--x', 'WORM-s1-m2--x', 'XFOO--x', 'NEW--x']) assert.ok(!isStable(key(raw)), raw)
})

test('a key in a log has no control characters and is short', () => {
  assert.equal(displayKey(key('WORM--a\u001b[2Jb')), 'WORM--a\\x1b[2Jb')
  assert.equal(displayKey(key(`WORM--${Buffer.from('é').toString('latin1')}`)), 'WORM--é')
  assert.equal(displayKey(key('WORM--y.\u00e9')), 'WORM--y.%e9')
  assert.ok(displayKey(key(`WORM--${'x'.repeat(5000)}`)).length <= 200)
})
