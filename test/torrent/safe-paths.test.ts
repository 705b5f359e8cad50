import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { safeName, safeNameAt, withSuffix } from '../../lib/torrent/safe-name.js'
import { SafePaths } from '../../lib/torrent/safe-paths.js'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)

function pathsOf(raw: readonly (readonly (string | Uint8Array)[])[]): string[] {
  const safe = new SafePaths()
  for (const path of raw) safe.add(path.map((name) => safeName(Buffer.from(name as string))))
  return safe.paths().map((path) => path.join('/'))
}

test('names that are safe stay, others are shown with what they are made of', () => {
  assert.equal(safeName(Buffer.from('Été ✓ [1].mkv')), 'Été ✓ [1].mkv')
  assert.equal(safeName(Buffer.from('a/b\0c')), 'a\\x2fb\\x00c')
  assert.equal(safeName(Buffer.from('..')), '\\x2e.')
  assert.equal(safeName(Buffer.from('.')), '\\x2e')
  assert.equal(safeName(Buffer.from('.Git')), '\\x2eGit')
  assert.equal(safeName(Buffer.from('.gitignore')), '.gitignore')
  assert.equal(safeName(Buffer.from('ff41c3', 'hex')), '\\xffA\\xc3')
  assert.equal(safeName(Buffer.from('')), '')
})

test('long names are cut before their extension, between characters, and stay distinct', () => {
  const one = safeName(Buffer.from(`${'é'.repeat(200)}1.flac`))
  const two = safeName(Buffer.from(`${'é'.repeat(200)}2.flac`))
  assert.notEqual(one, two)
  for (const name of [one, two]) {
    assert.ok(Buffer.byteLength(name) <= 255)
    assert.match(name, /^é+~[\da-f]{8}\.flac$/)
  }
  assert.equal(withSuffix('a.tar.gz', ' (2)'), 'a.tar (2).gz')
  assert.equal(withSuffix('a.b', ' (2)', 'folder'), 'a.b (2)')
  assert.equal(withSuffix('.hidden', ' (2)'), '.hidden (2)')
})

test('natural names win, made names go round them', () => {
  assert.deepEqual(pathsOf([['b'], ['b'], ['b (2)'], ['b']]), ['b', 'b (3)', 'b (2)', 'b (4)'])
  assert.deepEqual(pathsOf([['a'], ['a', 'b']]), ['a (2)', 'a/b'])
  assert.deepEqual(pathsOf([['', 'etc', '', 'passwd'], ['']]), ['etc/passwd', '_'])
  assert.deepEqual(pathsOf([['a/b'], ['a\\x2fb']]), ['a\\x2fb', 'a\\x2fb (2)'])
})

test('goal 36: whatever the raw paths are, the display paths are safe and distinct', (t) => {
  t.diagnostic(`seed ${SEED}`)
  const name = fc.oneof(
    fc
      .constantFrom('a', 'b', 'a (2)', '.', '..', '', '/', 'a/b', '.git', 'x'.repeat(300))
      .map((text) => Buffer.from(text)),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  )
  fc.assert(
    fc.property(fc.array(fc.array(name, { maxLength: 4 }), { maxLength: 30 }), (raw) => {
      const safe = new SafePaths()
      for (const path of raw) {
        safe.add(
          path.map((bytes) => {
            const surrounded = Buffer.concat([Buffer.from('//'), bytes, Buffer.from('/')])
            assert.equal(safeNameAt(surrounded, 2, 2 + bytes.length), safeName(bytes))
            return safeName(bytes)
          }),
        )
      }
      const paths = safe.paths()
      const files = new Set(paths.map((path) => path.join('/')))
      assert.equal(files.size, raw.length)
      for (const path of paths) {
        assert.ok(path.length > 0)
        for (const part of path) {
          assert.ok(part !== '' && part !== '.' && part !== '..' && !/[/\0]/.test(part))
          assert.ok(Buffer.byteLength(part) <= 255)
        }
        for (let depth = 1; depth < path.length; depth += 1) assert.ok(!files.has(path.slice(0, depth).join('/')))
      }
    }),
    { seed: SEED, numRuns: 500 },
  )
})
