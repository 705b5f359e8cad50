import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  compareStamps,
  metadata,
  newestValue,
  parseStamp,
  presentInfos,
  remoteSettings,
  urlText,
  valuesByField,
  valuesByUuid,
} from '../../lib/annex/logs.js'
import { measured } from '../support/marks.js'

function order(a: string, b: string): number {
  const [first, second] = [parseStamp(a), parseStamp(b)]
  assert.ok(first !== undefined && second !== undefined)
  return Math.sign(compareStamps(first, second))
}

test('time stamps are compared as exact decimals', () => {
  assert.equal(order('1795207831.919539034001s', '1795207831.919539034s'), 1)
  assert.equal(order('1795207831.9s', '1795207831.90'), 0)
  assert.equal(order('10s', '9.999999999999s'), 1)
  assert.equal(order('-1.5s', '-1.4s'), -1)
  assert.equal(order('-2s', '-1.5s'), -1)
  assert.equal(order('99999999999999999999s', '5s'), 1)
  for (const text of ['', 's', '1.', '.5', '1e5', '0x10', '1 s', '1.2.3', '1'.repeat(100)]) {
    assert.equal(parseStamp(text), undefined, text)
  }
})

test('stamps are ordered like the numbers they stand for', () => {
  const stamp = fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 11n }), fc.integer({ min: 0, max: 999_999_999 }))
  fc.assert(
    fc.property(stamp, stamp, ([a, x], [b, y]) => {
      const text = (seconds: bigint, nanos: number): string => `${seconds}.${String(nanos).padStart(9, '0')}s`
      const exact = a * 10n ** 9n + BigInt(x) - (b * 10n ** 9n + BigInt(y))
      assert.equal(order(text(a, x), text(b, y)), exact < 0n ? -1 : exact > 0n ? 1 : 0)
    }),
  )
})

test('presence: the newest line of each info wins, of equal ones the first', () => {
  const table: readonly (readonly [string, string[]])[] = [
    ['', []],
    ['1s 1 a\n', ['a']],
    ['1s 1 a\n2s 0 a\n', []],
    ['2s 0 a\n1s 1 a\n', []],
    ['1s 1 a\n1s 0 a\n', ['a']],
    ['1s 0 a\n1.0s 1 a\n', []],
    ['1s 1 a\n1.000000000001s X a\n', []],
    ['1s 1 http://m/a b\n', ['http://m/a b']],
    ['1s 1  a \n', [' a ']],
    ['1s 1 a\r2s 1 b\r\n3s 1 c', ['a', 'b', 'c']],
    ['1s 2 a\nrubbish\n\n1s 1\n1s1 a\n1s  1 a\n1s 1 b\n', ['b']],
    ['99999999999s 1 a\n5s 0 a\n', ['a']],
  ]
  for (const [log, expected] of table) assert.deepEqual(presentInfos(log), expected, JSON.stringify(log))
})

test('uuid logs: the newest line of each uuid wins, of equal ones the last; without a time it is the oldest', () => {
  const table: readonly (readonly [string, [string, string][]])[] = [
    ['u a  b timestamp=5s\n', [['u', 'a  b']]],
    ['u a timestamp=5s\nu b timestamp=5s\n', [['u', 'b']]],
    ['u a timestamp=5s\nu b\n', [['u', 'a']]],
    ['u a\nu b\n', [['u', 'b']]],
    ['u b timestamp=5s\nu a timestamp=4.999s\n', [['u', 'b']]],
    ['u timestamp=5s\n', [['u', '']]],
    ['u timestamp=x\n', [['u', 'timestamp=x']]],
    ['u\n x\n', []],
  ]
  for (const [log, expected] of table) assert.deepEqual([...valuesByUuid(log)], expected, JSON.stringify(log))
})

test('field logs and single values', () => {
  assert.deepEqual(
    [...valuesByField('1s u:5 3\n2s u:5 0\n2s v x y\n2s v z\nbad\n')],
    [
      ['u:5', '0'],
      ['v', 'z'],
    ],
  )
  assert.equal(newestValue('1s 5\n2s 1\n2s 3\n2s 2\n'), '3')
  assert.equal(newestValue('x\n'), undefined)
})

test('metadata is folded in the order of time', () => {
  const log = '2s tag -foo +bar\n1s Author +!am9lIGJsb2dncw== tag +foo\n1s U-1:V +v5#t.txt\n'
  assert.deepEqual(Object.fromEntries(metadata(log)), { 'U-1:v': ['v5#t.txt'], author: ['joe bloggs'], tag: ['bar'] })
})

test('settings of special remotes', () => {
  const value = 'directory=/a/b=c name=x opt=set&32;by&32;toy odd=&9999999; amp=&38;#'
  assert.deepEqual(
    [...remoteSettings(value)],
    [
      ['directory', '/a/b=c'],
      ['name', 'x'],
      ['opt', 'set by toy'],
      ['odd', '&9999999;'],
      ['amp', '&#'],
    ],
  )
})

test('URLs are text, with bytes that are not UTF-8 percent-encoded', () => {
  assert.equal(urlText(Buffer.from('http://h/é').toString('latin1')), 'http://h/é')
  assert.equal(urlText('http://h/\u00e9'), 'http://h/%E9')
})

test('the order of lines does not matter when all times differ', () => {
  const line = fc.record({ info: fc.constantFrom('a', 'b', 'c'), state: fc.constantFrom('0', '1', 'X') })
  fc.assert(
    fc.property(fc.array(line, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (lines, random) => {
      const text = lines.map(({ info, state }, index) => `${index}.5s ${state} ${info}\n`)
      const shuffled = text
        .map((value): [number, string] => [random.next().value, value])
        .sort(([a], [b]) => a - b)
        .map(([, value]) => value)
      assert.deepEqual(presentInfos(shuffled.join('')).sort(), presentInfos(text.join('')).sort())
    }),
  )
})

test('no input makes the parsers throw', () => {
  const unit = fc.constantFrom(
    '1',
    '0',
    's',
    '.',
    ' ',
    '\n',
    '\r',
    'X',
    '+',
    '-',
    '!',
    '=',
    'timestamp=',
    '\0',
    '\u00ff',
  )
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 200 }), (text) => {
      presentInfos(text)
      valuesByField(text)
      valuesByUuid(text)
      metadata(text)
      newestValue(text)
      remoteSettings(text)
    }),
    { numRuns: 500 },
  )
})

test('goal 38: logs of a million lines are read in at most 2 s', { timeout: 180_000 }, (t) => {
  const lines: string[] = []
  for (let index = 0; index < 1_000_000; index++) lines.push(`${index}.123456789s 1 uuid-${index % 500_000}\n`)
  const logs: readonly (readonly [string, string])[] = [
    ['many infos', lines.join('')],
    ['one line', `1s 1 ${'x'.repeat(50_000_000)}\n`],
    ['digits', `${'9'.repeat(50_000_000)}s 1 a\n`],
    ['carriage returns', '\r'.repeat(20_000_000)],
    ['spaces', `${' '.repeat(100)}\n`.repeat(300_000)],
  ]
  for (const [what, text] of logs) {
    for (const parse of [presentInfos, valuesByField, valuesByUuid]) {
      const began = process.cpuUsage()
      parse(text)
      // Of this process alone: other tests run beside it.
      const took = process.cpuUsage(began).user / 1000
      // With anything quadratic in them these would take hours.
      measured(t, `${parse.name} of ${what}:`, took, { mark: 2000, alarm: 30_000 })
    }
  }
})
