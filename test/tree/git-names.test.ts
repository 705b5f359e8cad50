import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { displayNames, displayTarget, safeName } from '../../lib/tree/names.js'

const latin1 = (text: string): string => Buffer.from(text).toString('latin1')

test('single names', () => {
  const table: readonly (readonly [string, string])[] = [
    ['plain.txt', 'plain.txt'],
    [latin1('é日本.txt'), 'é日本.txt'],
    ['y.\u00e9', 'y.\\xe9'],
    [`${latin1('é')}\u00e9`, 'é\\xe9'],
    ['', '\\empty'],
    ['.', '\\x2e'],
    ['..', '\\x2e.'],
    ['...', '...'],
    ['.git', '\\x2egit'],
    ['.GiT', '\\x2eGiT'],
    ['.github', '.github'],
    ['a/b', 'a\\x2fb'],
    ['a\0b', 'a\\x00b'],
    ['a\nb', 'a\nb'],
    // Overlong and surrogate forms are not UTF-8.
    ['\u00c0\u00af', '\\xc0\\xaf'],
    ['\u00ed\u00a0\u0080', '\\xed\\xa0\\x80'],
  ]
  for (const [raw, shown] of table) assert.equal(safeName(raw), shown, JSON.stringify(raw))
})

test('long names are cut at a character border and keep apart by a hash', () => {
  const [first = '', second = ''] = displayNames([latin1('é'.repeat(200)), latin1('é'.repeat(201))], ['aa', 'bb'])
  assert.match(first, /^é{123}~[0-9a-f]{8}$/)
  assert.equal(Buffer.byteLength(first), 255)
  assert.notEqual(first, second)
})

test('who is shown as it is keeps its name; who collides gets a suffix', () => {
  assert.deepEqual(displayNames(['\u00ff', '\\xff', 'x', 'x'], ['11111111aa', '22222222aa', '33333333', '44444444']), [
    '\\xff~11111111',
    '\\xff',
    'x',
    'x~44444444',
  ])
})

test('names are always distinct, fit, and the same every time', () => {
  const unit = fc.constantFrom('a', '.', 'g', 'i', 't', '/', '\0', '\u00ff', '\u00c3', '\u00a9', '\\', 'x', '~', 'f')
  const raw = fc.oneof(fc.string({ unit, maxLength: 4 }), fc.string({ unit, minLength: 250, maxLength: 260 }))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(raw, fc.constantFrom('', 'deadbeef00', 'deadbeef11')), { maxLength: 60 }),
      (entries) => {
        const shown = displayNames(
          entries.map(([name]) => name),
          entries.map(([, own]) => own),
        )
        assert.equal(new Set(shown).size, entries.length)
        for (const name of shown) {
          assert.ok(
            name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name) && Buffer.byteLength(name) <= 255,
          )
          assert.equal(Buffer.from(name).toString(), name)
        }
      },
    ),
  )
})

test('a link to a name that is escaped leads to the escaped name', () => {
  assert.equal(displayTarget('../a/y.\u00e9'), '../a/y.\\xe9')
  assert.equal(displayTarget(latin1('../é')), '../é')
})
