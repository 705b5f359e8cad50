import assert from 'node:assert/strict'
import { readFile, readdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { compatibleDecode, type CompatibleDecode, type CompatibleStyle } from '../../lib/torrent/bencode-compat.js'
import { installSafeBencode } from '../../lib/torrent/bencode-install.js'
import { millisecondsOf } from './cost.js'
import { measured } from '../support/marks.js'

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31)
const require = createRequire(import.meta.url)

interface Bencode {
  decode: CompatibleDecode
  encode: (value: unknown) => Uint8Array
}

interface Copy {
  readonly folder: string
  readonly style: CompatibleStyle
  readonly module: Bencode
  /** As it was before anything was replaced. */
  readonly original: CompatibleDecode
}

/** Every physical copy of `bencode` under node_modules. */
async function findCopies(): Promise<Copy[]> {
  const top = join(dirname(require.resolve('webtorrent/package.json')), '..')
  const copies: Copy[] = []
  const walk = async (modules: string): Promise<void> => {
    for (const entry of await readdir(modules, { withFileTypes: true })) {
      if (!entry.isDirectory()) continue
      const folder = join(modules, entry.name)
      if (entry.name.startsWith('@')) {
        await walk(folder)
        continue
      }
      if (entry.name === 'bencode') copies.push(await loadCopy(folder))
      const names = await readdir(folder)
      if (names.includes('node_modules')) await walk(join(folder, 'node_modules'))
    }
  }
  await walk(top)
  return copies
}

async function loadCopy(folder: string): Promise<Copy> {
  const { version, type } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Record<string, string>
  const entry = join(folder, type === 'module' ? 'index.js' : 'lib/index.js')
  const { default: module } = (await import(pathToFileURL(entry).href)) as { default: Bencode }
  return { folder, style: version?.startsWith('2.') === true ? 'views' : 'copies', module, original: module.decode }
}

const copies = await findCopies()

/** Refused on purpose: they would change what every object can do. */
const REFUSED = new Set(['__proto__'])

const protocolValue = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    fc.maxSafeInteger(),
    fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc
      .dictionary(
        fc.stringMatching(/^[a-z_ .0-9]{1,12}$/).filter((name) => !REFUSED.has(name)),
        tie('value'),
        { maxKeys: 4 },
      )
      .map((entries) => ({ ...entries })),
  ),
})).value

test('valid bencode decodes as with the original, in both generations', (t) => {
  t.diagnostic(`seed ${SEED}`)
  assert.deepEqual(new Set(copies.map(({ style }) => style)), new Set(['copies', 'views']))
  for (const { style, module, original } of copies) {
    const ours = compatibleDecode(style)
    fc.assert(
      fc.property(protocolValue, fc.nat({ max: 3 }), (value, padding) => {
        const bytes = Buffer.from(module.encode(value))
        const padded = Buffer.concat([Buffer.alloc(padding, 0x30), bytes, Buffer.alloc(padding, 0x39)])
        for (const args of [
          [bytes],
          [padded, padding],
          [padded, padding, padding + bytes.length],
          [new Uint8Array(bytes)],
        ] as const) {
          const [data, start, end] = args
          assert.deepEqual(ours(data, start, end), original(data, start, end))
          assert.equal(ours.position, original.position)
          assert.equal(ours.bytes, original.bytes)
        }
        const ascii = bytes.toString('latin1')
        if (Buffer.from(ascii).equals(bytes)) assert.deepEqual(ours(ascii), original(ascii))
      }),
      { seed: SEED, numRuns: 300 },
    )
    // The original cannot decode dictionaries as text in its fourth generation.
    assert.deepEqual(ours(Buffer.from('l1:ai1ee'), 'utf8'), original(Buffer.from('l1:ai1ee'), 'utf8'))
    for (const nothing of [null, undefined, '', Buffer.alloc(0)]) assert.equal(ours(nothing), original(nothing))
    assert.deepEqual(ours(Buffer.from('d2:\xff\xfei1ee', 'latin1')), original(Buffer.from('d2:\xff\xfei1ee', 'latin1')))
  }
})

test('byte strings are of the kind that the packages expect', () => {
  const bytes = Buffer.from('3:abc')
  assert.equal(Buffer.isBuffer(compatibleDecode('copies')(bytes)), false)
  assert.ok(compatibleDecode('copies')(bytes) instanceof Uint8Array)
  assert.equal(Buffer.isBuffer(compatibleDecode('views')(bytes)), true)
})

const BOMBS = {
  'a negative length': 'l-3:e',
  'a negative length in a dictionary': 'd1:m-3:e',
  'a million levels': 'l'.repeat(1_000_000),
  'a huge length': '4294967295:x',
  'a key __proto__': 'd9:__proto__d8:pollutedi1eee',
  'a toString that is no function': 'd1:md6:ut_pexd8:toStringi1eeee',
  'a valueOf that is no function': 'd1:yd7:valueOfi1eee',
  'a fraction': 'i1.5e',
  'a million values': `l${'i1e'.repeat(1_000_001)}e`,
}

test('goal 31: every copy of bencode that is installed refuses bombs at once', async (t) => {
  const covered = await installSafeBencode()
  assert.deepEqual([...covered].sort(), copies.map(({ folder }) => folder).sort())
  let worst = 0
  for (const { module, original, folder } of copies) {
    assert.notEqual(module.decode, original, folder)
    for (const [name, bomb] of Object.entries(BOMBS)) {
      const milliseconds = millisecondsOf(() =>
        assert.throws(() => module.decode(Buffer.from(bomb)), /bencode/, `${name} in ${folder}`),
      )
      worst = Math.max(worst, milliseconds)
    }
    assert.equal(({} as Record<string, unknown>)['polluted'], undefined)
    assert.deepEqual(module.decode(module.encode({ a: 1 })), { a: 1 })
  }
  measured(t, 'the slowest took', worst, { mark: 1000, alarm: 20_000 })
})

test('goal 31: the packages that decode for the swarm have the replaced decoder', async () => {
  await installSafeBencode()
  const webtorrent = require.resolve('webtorrent')
  const users = {
    'bittorrent-protocol': ['webtorrent'],
    ut_metadata: ['webtorrent'],
    ut_pex: ['webtorrent'],
    'parse-torrent': ['webtorrent'],
    'create-torrent': ['webtorrent'],
    'bittorrent-tracker': ['webtorrent', 'torrent-discovery'],
    'bittorrent-dht': ['webtorrent', 'torrent-discovery'],
    'k-rpc-socket': ['webtorrent', 'torrent-discovery', 'bittorrent-dht', 'k-rpc'],
  }
  for (const [user, chain] of Object.entries(users)) {
    let from = webtorrent
    for (const step of [...chain.slice(1), user]) from = await packageFile(step, from)
    const bencode = dirname(await packageFile('bencode', from))
    const copy = copies.find(({ folder }) => folder === bencode)
    assert.ok(copy !== undefined && copy.module.decode !== copy.original, user)
  }
})

/** The package.json of `name` as seen from the file `from`. */
async function packageFile(name: string, from: string): Promise<string> {
  for (let folder = dirname(from); ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', name, 'package.json')
    try {
      await readFile(candidate)
      return candidate
    } catch (error) {
      if (dirname(folder) === folder) throw error
    }
  }
}
