import assert from 'node:assert/strict'
import { test } from 'node:test'
import { linkKey, pointerKey } from '../../lib/annex/pointer.js'

const KEY = 'SHA256E-s12--a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447.txt'
const LINE = `/annex/objects/${KEY}`

test('pointer files as git-annex takes and refuses them', () => {
  const table: readonly (readonly [string, string, boolean])[] = [
    ['as written', `${LINE}\n`, true],
    ['no newline', LINE, true],
    ['CRLF', `${LINE}\r\n`, true],
    ['more lines', `${LINE}\n/annex/foo\nx /annex/ y\n`, true],
    ['a link target', `../../.git/annex/objects/J7/0G/${KEY}/${KEY}`, true],
    ['another prefix', `../foo/annex/objects/zz/${KEY}\n`, true],
    ['an empty second line', `${LINE}\n\n`, false],
    ['a line without /annex/', `${LINE}\nfoo\n`, false],
    ['a last line without its end', `${LINE}\n/annex/foo`, false],
    ['too long', `${LINE}\n${'/annex/x\n'.repeat(3700)}`, false],
    ['as long as can be', `${LINE}\n${'/annex/x\n'.repeat(3600)}`, true],
    ['not a key', '/annex/objects/foo\n', false],
    ['the key on the second line', `\n${LINE}\n`, false],
    ['empty', '', false],
  ]
  for (const [what, text, taken] of table) {
    assert.equal(pointerKey(Buffer.from(text, 'latin1'))?.raw, taken ? KEY : undefined, what)
  }
})

test('link targets, whatever leads up to the objects', () => {
  for (const target of [
    `../../.git/annex/objects/J7/0G/${KEY}/${KEY}`,
    `.git/annex/objects/e7d/${KEY}/${KEY}`,
    `../.git/modules/sub/annex/objects/x/${KEY}`,
  ]) {
    assert.equal(linkKey(Buffer.from(target))?.raw, KEY)
  }
  assert.equal(linkKey(Buffer.from('.git/annex/objects/f5/7m/a/URL--http&c%%h%a&s20b'))?.raw, 'URL--http://h/a%20b')
  for (const target of ['', 'foo', '../annex/objects', '.git/annex/objects/x/nokey', `annex/objects/${KEY}`]) {
    assert.equal(linkKey(Buffer.from(target)), undefined, target)
  }
})

test('keys of bytes that are not UTF-8 are kept', () => {
  const bytes = Buffer.from('.git/annex/objects/x/WORM-s1-m2--y.\u00e9', 'latin1')
  assert.equal(linkKey(bytes)?.raw, 'WORM-s1-m2--y.\u00e9')
})
