import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { appendFile, chmod, mkdir, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { createTorrent, type CreateOptions } from '../../lib/torrent/create.js'
import { hashPieces } from '../../lib/torrent/create-hash.js'
import { madePieceLength } from '../../lib/torrent/create-rule.js'
import type { Metainfo } from '../../lib/torrent/metainfo.js'
import { pseudoRandom } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
const LIMIT = { timeout: 180_000 }
const KIB = 1024

function make(path: string, options: Partial<CreateOptions> = {}): Promise<Metainfo> {
  return createTorrent({ path, signal: new AbortController().signal, ...options })
}

async function refused(promise: Promise<unknown>, code: ErrorCode, said: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isAnnexfsError(error, code), String(error))
    assert.match(error.message, said)
    return true
  })
}

/** As webtorrent reads metainfo: by a package of its own, which has no types. */
async function parseTorrent(bytes: Buffer): Promise<{ infoHash: string; files: readonly unknown[] }> {
  const name: string = 'parse-torrent'
  const { default: parse } = (await import(name)) as { default: (bytes: Buffer) => ReturnType<typeof parseTorrent> }
  return parse(bytes)
}

/** A folder with names that sort differently by bytes, by words and by folders. */
async function sampleFolder(folder: string): Promise<string> {
  const root = join(folder, 'Sämple folder')
  for (const name of ['a', 'a-b', 'B', 'ä', '.hidden']) await mkdir(join(root, name), { recursive: true })
  const files = {
    'a/z': 100_000,
    'a-b/y': 1,
    'a.c': 70_000,
    'B/x': 0,
    'ä/ö': 33_000,
    '.hidden/f': 5,
    Z: 16 * KIB,
    z: 200_001,
  }
  for (const [name, length] of Object.entries(files)) await writeFile(join(root, name), pseudoRandom(length, name))
  return root
}

test(
  'infohash and pieces are those that mktorrent, transmission, libtorrent and webtorrent make of the same',
  LIMIT,
  async (t) => {
    const folder = await temporaryFolder(t)
    const root = await sampleFolder(folder)
    const cases = [
      { path: root, power: 15, options: {}, args: [] },
      { path: root, power: 16, options: { private: true, source: 'SRC' }, args: ['-p', '-s', 'SRC'] },
      { path: join(root, 'z'), power: 15, options: {}, args: [] },
      { path: join(root, 'z'), power: 18, options: { name: 'other' }, args: ['-n', 'other'] },
    ]
    for (const [index, { path, power, options, args }] of cases.entries()) {
      const theirs = join(folder, `${index}.torrent`)
      await run('mktorrent', ['-l', String(power), ...args, '-o', theirs, path])
      const ours = await make(path, { ...options, pieceLength: 2 ** power })
      const shown = await run('transmission-show', [theirs])
      assert.match(shown.stdout, new RegExp(`Hash(?: v1)?: ${ours.infohash}`), `case ${index}`)
      await writeFile(join(folder, 'ours.torrent'), ours.raw)
      const again = await run('transmission-show', [join(folder, 'ours.torrent')])
      assert.match(again.stdout, new RegExp(`Hash(?: v1)?: ${ours.infohash}`))
      const python = 'import libtorrent as l,sys; i=l.torrent_info(sys.argv[1]); print(i.info_hash(), i.num_files())'
      const libtorrent = await run('/usr/bin/python3', ['-c', python, join(folder, 'ours.torrent')])
      assert.equal(libtorrent.stdout, `${ours.infohash} ${ours.files.length}\n`)
      const webtorrent = await parseTorrent(ours.raw)
      assert.deepEqual([webtorrent.infoHash, webtorrent.files.length], [ours.infohash, ours.files.length])
    }
  },
)

test('each piece has the hash of its bytes, whatever the files and the piece length', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const seed = Number(process.env['ANNEXFS_TEST_SEED'] ?? Date.now() % 1_000_000)
  t.diagnostic(`ANNEXFS_TEST_SEED=${seed}`)
  let number = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.nat(70_000), fc.constantFrom(0, 1, 16_383, 16_384, 16_385, 32_768)), {
        minLength: 1,
        maxLength: 9,
      }),
      fc.constantFrom(14, 15, 16),
      async (lengths, power) => {
        if (lengths.every((length) => length === 0)) return
        const root = join(folder, String((number += 1)))
        await mkdir(root)
        const contents = lengths.map((length, index) => pseudoRandom(length, `${number} ${index}`))
        for (const [index, content] of contents.entries()) await writeFile(join(root, `f${index}`), content)
        const metainfo = await make(root, { pieceLength: 2 ** power })
        const all = Buffer.concat(contents)
        for (let piece = 0; piece * 2 ** power < all.length; piece++) {
          const bytes = all.subarray(piece * 2 ** power, (piece + 1) * 2 ** power)
          const digest = createHash('sha1').update(bytes).digest()
          assert.ok(digest.equals(metainfo.space.hashes.at(piece)), `piece ${piece}`)
        }
      },
    ),
    { seed, numRuns: 25, endOnFailure: true },
  )
})

test('the piece length gives 1,025 to 2,048 pieces within its bounds', () => {
  const MIB = KIB * KIB
  for (const [size, pieceLength] of [
    [1, 16 * KIB],
    [32 * MIB, 16 * KIB],
    [32 * MIB + 1, 32 * KIB],
    [700 * MIB, 512 * KIB],
    [4 * KIB * MIB, 2 * MIB],
    [32 * KIB * MIB, 16 * MIB],
    [500 * KIB * MIB, 16 * MIB],
  ] as const) {
    assert.equal(madePieceLength(size), pieceLength, String(size))
  }
})

test('what the metainfo says is what was asked for', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'one')
  await writeFile(file, pseudoRandom(50_000, 'one'))
  const trackers = [['http://127.0.0.1:1/announce', 'udp://127.0.0.1:2'], ['ws://127.0.0.1:3/']]
  const webSeeds = ['http://127.0.0.1:4/one', 'https://127.0.0.1:5/one']
  const createdAt = 1_700_000_000_999
  const metainfo = await make(file, { trackers, webSeeds, createdAt, comment: 'ö\n', private: true })
  assert.deepEqual(metainfo.trackers, trackers)
  assert.deepEqual(metainfo.webSeeds, webSeeds)
  assert.equal(metainfo.createdAt, 1_700_000_000_000)
  assert.equal(metainfo.private, true)
  assert.equal(metainfo.multiFile, false)
  assert.ok(metainfo.raw.includes(Buffer.from('7:comment3:ö\n')))
  // Without a date and a creator nothing depends on when and by what it is made.
  assert.ok((await make(file)).raw.equals((await make(file)).raw))
  assert.deepEqual((await make(file, { trackers: [['udp://127.0.0.1:2']] })).trackers, [['udp://127.0.0.1:2']])
})

test('links are followed, .git and the torrent itself left out, names kept byte by byte', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const root = join(folder, 'root')
  const out = join(root, 'root.torrent')
  await mkdir(join(root, '.git'), { recursive: true })
  await mkdir(join(root, 'sub', '.git'), { recursive: true })
  await mkdir(join(folder, 'elsewhere'))
  await writeFile(join(root, '.git', 'config'), 'secret')
  await writeFile(join(root, 'sub', '.git', 'config'), 'secret')
  await writeFile(out, 'old')
  await writeFile(join(folder, 'elsewhere', 'far'), 'far')
  await symlink('../elsewhere', join(root, 'linked'))
  await symlink('linked/far', join(root, 'near'))
  const odd = Buffer.concat([Buffer.from(root), Buffer.from([0x2f, 0xff, 0x0a, 0x80])])
  await writeFile(odd, 'odd')
  const metainfo = await make(root, { except: out })
  assert.deepEqual(
    metainfo.files.map((file) => file.rawPath.map((name) => name.toString('latin1')).join('/')),
    ['linked/far', 'near', '\xff\n\x80'],
  )
})

test('what cannot be a torrent is refused, and said', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const at = async (name: string): Promise<string> => {
    const path = join(folder, name)
    await mkdir(path)
    await writeFile(join(path, 'file'), 'x')
    return path
  }
  await refused(make(join(folder, 'nothing')), 'NOT_FOUND', /nothing/)
  const empty = join(folder, 'empty')
  await mkdir(empty)
  await refused(make(empty), 'INVALID', /not a byte/)
  await writeFile(join(empty, 'file'), '')
  await refused(make(join(empty, 'file')), 'INVALID', /not a byte/)
  await refused(make('/dev/null'), 'INVALID', /neither a file nor a folder/)
  const pipes = await at('pipes')
  await run('mkfifo', [join(pipes, 'pipe')])
  await refused(make(pipes), 'INVALID', /pipe cannot be in a torrent/)
  const loop = await at('loop')
  await symlink('..', join(loop, 'up'))
  await mkdir(join(loop, 'below'))
  await symlink('..', join(loop, 'below', 'up'))
  await refused(make(loop), 'INVALID', /a folder that it lies in/)
  const dangling = await at('dangling')
  await symlink('nowhere\u001b[2J', join(dangling, 'link\u001b[2J'))
  await refused(make(dangling), 'INVALID', /link\\x1b\[2J cannot be in a torrent/)
  const good = await at('good')
  for (const pieceLength of [8 * KIB, 48 * KIB, 256 * KIB * KIB, 0]) {
    await refused(make(good, { pieceLength }), 'USAGE', /power of two/)
  }
  await refused(make(good, { trackers: [['gopher://x']] }), 'USAGE', /gopher.*tracker/)
  await refused(make(good, { webSeeds: ['ftp://x'] }), 'USAGE', /ftp.*web seed/)
  for (const name of ['', '.', '..', 'a/b']) await refused(make(good, { name }), 'USAGE', /--name/)
})

test('a file that changes while it is hashed fails the torrent', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'file')
  for (const change of [() => appendFile(file, 'x'), () => truncate(file, 10), () => utimes(file, 1, 1)]) {
    await writeFile(file, pseudoRandom(20_000_000, 'changing'))
    let changed: Promise<void> | undefined
    const onStart = (): void => {
      changed = change()
    }
    await refused(make(file, { onStart }), 'INVALID', /was changed while it was read/)
    await changed
  }
})

test('hashing stops when it is told to, and leaves no thread', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const file = join(folder, 'file')
  await writeFile(file, '')
  await truncate(file, 4 * 1024 ** 3)
  const controller = new AbortController()
  let told = 0
  const onBytes = (bytes: number): void => {
    told += bytes
    controller.abort()
  }
  await assert.rejects(make(file, { signal: controller.signal, onBytes }), (error) => isAnnexfsError(error, 'ABORTED'))
  assert.ok(told < 1024 ** 3, `${told} bytes were hashed`)
  await refused(make(file, { signal: controller.signal }), 'ABORTED', /gave up/)
})

test('pieces of files that are not there, or too short, are not there; padding is zeros', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const [a, b] = [join(folder, 'a'), join(folder, 'b')]
  await writeFile(a, pseudoRandom(20_000, 'a'))
  await writeFile(b, pseudoRandom(30_000, 'b'))
  const signal = new AbortController().signal
  const parts = [
    { path: Buffer.from(a), length: 20_000 },
    { path: null, length: 12_768 },
    { path: Buffer.from(b), length: 40_000 },
    { path: Buffer.from(join(folder, 'c')), length: 20_000 },
    { path: undefined, length: 20_000 },
  ]
  const found = await hashPieces(parts, 16_384, { signal })
  assert.equal(found.count, Math.ceil(112_768 / 16_384))
  assert.deepEqual(
    Array.from({ length: found.count }, (_, index) => found.there(index)),
    [true, true, true, false, false, false, false],
  )
  const second = createHash('sha1')
    .update(pseudoRandom(20_000, 'a').subarray(16_384))
    .update(Buffer.alloc(12_768))
    .digest()
  assert.ok(found.digests.subarray(20, 40).equals(second))
  await chmod(a, 0o600)
})
