import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isAnnexfsError } from '../../lib/errors.js'
import {
  decodeBencode,
  encodeBencode,
  type BencodeLimits,
  type BencodeValue,
  type Encodable,
} from '../../lib/torrent/bencode.js'

import { millisecondsOf } from './cost.js'
import { measured } from '../support/marks.js'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

const decode = (bencode: string, limits?: BencodeLimits): BencodeValue =>
  decodeBencode(Buffer.from(bencode, 'latin1'), limits)

/** A decoded value without its positions. */
function plain(value: BencodeValue): Encodable {
  if (value.kind === 'list') return value.items.map(plain)
  if (value.kind === 'dictionary') return new Map([...value.entries].map(([key, item]) => [key, plain(item)]))
  return value.value
}

test('values are decoded with the positions they had', () => {
  const value = decode('d1:ai-5e1:bl3:abcdeee')
  assert.equal(value.kind, 'dictionary')
  if (value.kind !== 'dictionary') return
  assert.deepEqual(value.entries.get('a'), { kind: 'integer', value: -5, start: 4, end: 8 })
  const list = value.entries.get('b')
  assert.ok(list?.kind === 'list')
  assert.deepEqual([list.start, list.end], [11, 20])
  assert.deepEqual(list.items[0], { kind: 'bytes', value: Buffer.from('abc'), start: 12, end: 17 })
  assert.deepEqual([value.start, value.end], [0, 21])
})

test('__proto__ is a key like any other', () => {
  const value = decode('d9:__proto__d1:ai1eee')
  assert.ok(value.kind === 'dictionary' && value.entries.has('__proto__'))
  assert.equal(({} as Record<string, unknown>)['a'], undefined)
})

const REFUSED: Record<string, string> = {
  'l-3:e': 'begins no value',
  '': 'cut off',
  e: 'begins no value',
  i: 'malformed',
  ie: 'malformed',
  'i-e': 'malformed',
  'i+1e': 'malformed',
  'i1.0e': 'malformed',
  i01e: 'leading zeros',
  'i-0e': 'leading zeros',
  i9007199254740992e: 'beyond 2^53',
  'i-9007199254740992e': 'beyond 2^53',
  [`i${'9'.repeat(40)}e`]: 'too many digits',
  '01:a': 'leading zeros',
  '5:abc': 'longer than the data',
  '99999999999999999999:a': 'longer than the data',
  '3abc': 'lacks its colon',
  '1': 'lacks its colon',
  'd1:ae': 'no value',
  'di1e1:ae': 'not a string',
  'd1:ai1e1:ai2ee': 'twice',
  i1ei2e: 'follows',
  'l1:a': 'cut off',
  [`${'l'.repeat(101)}${'e'.repeat(101)}`]: 'deeper than 100',
  [`l${'le'.repeat(1_000_000)}e`]: 'more than 1000000 values',
}

test('malformed, deep and endless bencode is refused with its place', () => {
  for (const [bencode, reason] of Object.entries(REFUSED)) {
    assert.throws(
      () => decode(bencode),
      (error) =>
        isAnnexfsError(error, 'INVALID') && error.message.includes(reason) && /at byte \d+/.test(error.message),
      bencode.slice(0, 50),
    )
  }
})

test('what clients get wrong is taken where it is asked for', () => {
  assert.equal(plain(decode('i007e', { integers: 'any' })), 7)
  assert.equal(plain(decode('i-0e', { integers: 'any' })), 0)
  assert.equal(plain(decode('i1eTRAILER', { trailing: 'allow' })), 1)
  assert.deepEqual(
    plain(decode('d1:bi1e1:ai2ee')),
    new Map([
      ['b', 1],
      ['a', 2],
    ]),
  )
  assert.throws(() => decode('d1:bi1e1:ai2ee', { keys: 'sorted' }), /not sorted/)
  assert.equal(decode('l'.repeat(100) + 'e'.repeat(100)).kind, 'list')
})

test('ten megabytes of any kind take one pass', (t) => {
  const size = 10 * 1024 * 1024
  const milliseconds = millisecondsOf(() => {
    for (const bencode of [
      'l'.repeat(size),
      '9'.repeat(size),
      `i${'9'.repeat(size)}`,
      `l${'1:'.repeat(size / 2)}`,
      `d${'0:'.repeat(size / 2)}`,
    ]) {
      assert.throws(() => decode(bencode))
    }
    assert.equal(decode(`${size}:${'x'.repeat(size)}`).kind, 'bytes')
  })
  measured(t, 'six of them:', milliseconds, { mark: 5000, alarm: 60_000 })
})

const value: fc.Arbitrary<Encodable> = fc.letrec<{ value: Encodable }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6 },
    fc.maxSafeInteger(),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 5 }),
    fc
      .dictionary(fc.string({ unit: 'binary-ascii', maxLength: 8 }), tie('value'), { maxKeys: 5 })
      .map((entries) => new Map(Object.entries(entries))),
  ),
})).value

test('what is encoded decodes to the same, and encodes to the same again', (t) => {
  t.diagnostic(`seed ${SEED}`)
  fc.assert(
    fc.property(value, (original) => {
      const bytes = encodeBencode(original)
      const decoded = decodeBencode(bytes, { keys: 'sorted' })
      assert.deepEqual(encodeBencode(plain(decoded)), bytes)
      assert.deepEqual([decoded.start, decoded.end], [0, bytes.length])
    }),
    { seed: SEED, numRuns: 500 },
  )
})
