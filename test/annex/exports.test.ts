import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { Exports } from '../../lib/annex/exports.js'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { KeyPaths } from '../../lib/annex/key-paths.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { annexWorld } from '../support/annex.js'
import { measured } from '../support/marks.js'

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key)
  return key
}

test('goal 39: the paths of 300,000 keys take little memory and are found at once', (t) => {
  const paths = new KeyPaths()
  const count = 300_000
  for (let index = 0; index < count; index++) {
    assert.ok(
      paths.add(`SHA256E-s${index}--key${index % 250_000}`, Buffer.from(`folder ${index % 1000}/file ${index}`)),
    )
  }
  assert.equal(paths.count, count)
  assert.ok(paths.bytes < 40 * 1024 * 1024, `${paths.bytes} bytes`)
  const started = performance.now()
  for (let index = 0; index < count; index += 97) {
    assert.deepEqual(paths.of(`SHA256E-s${index}--key${index % 250_000}`), [
      Buffer.from(`folder ${index % 1000}/file ${index}`),
    ])
  }
  // Each of them by looking at all would be 10^9 steps.
  measured(t, 'found in', performance.now() - started, { mark: 5000, alarm: 60_000 })
  assert.deepEqual(paths.of('SHA256E-s1--other'), [])
})

test('several paths of one key are given in order, and boundedly many', () => {
  const paths = new KeyPaths()
  for (let index = 0; index < 1000; index++) paths.add('SHA256-s1--a', Buffer.from(`p${index}`))
  assert.deepEqual(paths.of('SHA256-s1--a').map(String).slice(0, 3), ['p0', 'p1', 'p2'])
  assert.equal(paths.of('SHA256-s1--a').length, 100)
})

test(
  'keys are found in the trees that git-annex exported, locked, unlocked and with odd names',
  { timeout: 180_000 },
  async (t) => {
    const world = await annexWorld(t)
    await world.repository('r')
    const names = ['a.txt', 'sub/deep/b & c%.txt', 'sub/é ü.txt', 'copy of a.txt', 'unlocked.bin']
    await world.addAnnexed('r', Object.fromEntries(names.map((name) => [name, name.replace('copy of ', '')])))
    await world.annex('r', 'unlock', '--quiet', 'unlocked.bin')
    await world.write('r', 'plain', 'in git\n')
    await world.git('r', 'add', 'plain', 'unlocked.bin')
    await world.git('r', 'commit', '--quiet', '-m', 'more')
    await mkdir(join(world.folder, 'd'))
    await world.annex(
      'r',
      'initremote',
      '--quiet',
      'd',
      'type=directory',
      'directory=../d',
      'encryption=none',
      'exporttree=yes',
    )
    await world.annex('r', 'export', '--quiet', 'main', '--to', 'd')
    const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
    t.after(() => git.close())
    const annex = await AnnexRepository.open(git, silentLog)
    const uuid = await world.git('r', 'config', 'remote.d.annex-uuid')
    const trees = await annex.exportedTrees(uuid)
    assert.deepEqual(trees, [await world.git('r', 'rev-parse', 'main^{tree}')])
    const exports = new Exports(git, silentLog)
    t.after(() => exports.close())
    const at = async (name: string): Promise<string[]> => {
      const key = keyOf(await world.annex('r', 'lookupkey', name))
      return (await exports.paths(key, trees)).map(String)
    }
    assert.deepEqual((await at('a.txt')).sort(), ['a.txt', 'copy of a.txt'])
    for (const name of names.slice(1, 3)) assert.deepEqual(await at(name), [name])
    assert.deepEqual(await at('unlocked.bin'), ['unlocked.bin'])
    assert.deepEqual(await exports.paths(keyOf('SHA256E-s1--nothing'), trees), [])
    assert.deepEqual(
      await exports.paths(keyOf('SHA256E-s1--nothing'), ['1'.repeat(40)]),
      [],
      'a tree that is not there',
    )
  },
)

test('trees that were begun are looked at after those that are complete', { timeout: 180_000 }, async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  const [from, to, one, two, three] = ['11111111-1111', '22222222-2222', 'a', 'b', 'c'].map((text) =>
    text.length === 1 ? text.repeat(40) : text,
  )
  await world.write(
    'r',
    '.git/annex/journal/export.log',
    `5s ${from}:${to} ${one} ${two}\n6s other:${to} ${three}\n7s x:y ${two}\n`,
  )
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  const annex = await AnnexRepository.open(git, silentLog)
  assert.deepEqual(await annex.exportedTrees(to ?? ''), [one, three, two])
})

test('goal 37: hostile trees give no path that leads elsewhere', { timeout: 180_000 }, async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  const target = '.git/annex/objects/xx/yy/SHA256E-s1--a/SHA256E-s1--a'
  const link = (await world.run('r', 'git', ['hash-object', '-w', '--stdin'], { input: target })).toString().trim()
  const raw = (name: string): Buffer =>
    Buffer.concat([Buffer.from(`120000 ${name}\0`, 'latin1'), Buffer.from(link, 'hex')])
  const literally = async (bytes: Buffer): Promise<string> =>
    (await world.run('r', 'git', ['hash-object', '-w', '-t', 'tree', '--literally', '--stdin'], { input: bytes }))
      .toString()
      .trim()
  const tree = await literally(Buffer.concat(['..', '.', 'a/../../b', 'good'].map(raw)))
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  const exports = new Exports(git, silentLog)
  assert.deepEqual((await exports.paths(keyOf('SHA256E-s1--a'), [tree])).map(String), ['good'])
})

test('a tree whose paths do not fit is warned about once', { timeout: 180_000 }, async (t) => {
  const world = await annexWorld(t)
  await world.repository('r')
  await world.addAnnexed('r', { a: 'a', b: 'b', c: 'c' })
  await world.git('r', 'commit', '--quiet', '--allow-empty', '-m', 'all')
  const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
  t.after(() => git.close())
  const tree = await world.git('r', 'rev-parse', 'main^{tree}')
  const warnings: string[] = []
  const log = { ...silentLog, warn: (message: string) => void warnings.push(message) }
  const exports = new Exports(git, log, 2)
  t.after(() => exports.close())
  for (const [name, paths] of Object.entries({ a: ['a'], b: ['b'], c: [] })) {
    const key = keyOf(await world.annex('r', 'lookupkey', name))
    assert.deepEqual((await exports.paths(key, [tree])).map(String), paths)
  }
  assert.deepEqual(warnings, ['the paths of an exported tree are too long together; only the first are looked at'])
})
