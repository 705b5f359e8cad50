import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { execFile } from 'node:child_process'
import { readFile, readdir, mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { isAnnexfsError } from '../../lib/errors.js'
import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'
import { parseMagnet } from '../../lib/torrent/magnet.js'
import { metainfoFromInfo, parseMetainfo, type Metainfo } from '../../lib/torrent/metainfo.js'
import { makeInfo, makeTorrent, type MadeFile } from '../support/metainfo.js'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
/** What webtorrent is tested with. */
const FIXTURES = join(dirname(fileURLToPath(import.meta.resolve('webtorrent-fixtures'))), 'fixtures')

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')
/** A torrent around raw bencode. */
const around = (info: string): Buffer => Buffer.from(`d4:info${info}4:spam3:haee`, 'latin1')
const shown = (metainfo: Metainfo): { path: string; length: number }[] =>
  metainfo.files.filter((file) => !file.hidden).map(({ path, length }) => ({ path: path.join('/'), length }))

interface Parsed {
  readonly infoHash: string
  readonly name: string
  readonly length: number
  readonly pieceLength: number
  readonly pieces: readonly string[]
  readonly announce: readonly string[]
  readonly urlList: readonly string[]
  readonly created?: Date
  readonly private?: boolean
  readonly files: readonly { path: string; name: string; length: number; offset: number }[]
}

test('the fixtures of webtorrent read as parse-torrent reads them', async () => {
  const parser = (await import(import.meta.resolve('parse-torrent'))) as {
    default: (bytes: Uint8Array) => Promise<Parsed>
  }
  const names = (await readdir(FIXTURES)).filter((name) => name.endsWith('.torrent') && name !== 'corrupt.torrent')
  assert.ok(names.length >= 8)
  for (const name of names) {
    const bytes = await readFile(join(FIXTURES, name))
    const ours = parseMetainfo(bytes)
    const theirs = await parser.default(bytes)
    assert.equal(ours.infohash, theirs.infoHash, name)
    assert.equal(ours.name, theirs.name)
    assert.equal(ours.length, theirs.length)
    assert.equal(ours.space.pieceLength, theirs.pieceLength)
    assert.deepEqual(
      theirs.pieces.map((_, index) => Buffer.from(ours.space.hashes.at(index)).toString('hex')),
      theirs.pieces,
    )
    assert.deepEqual(ours.trackers.flat(), theirs.announce)
    assert.deepEqual(ours.webSeeds, theirs.urlList)
    assert.equal(ours.createdAt, theirs.created?.getTime())
    assert.equal(ours.private, theirs.private ?? false)
    assert.deepEqual(
      ours.files.map(({ path, length, offset }) => ({
        path: (ours.multiFile ? [ours.name, ...path] : path).join('/'),
        length,
        offset,
      })),
      theirs.files.map(({ path, length, offset }) => ({ path, length, offset })),
    )
  }
})

test('webtorrent’s corrupt fixture is refused', async () => {
  const bytes = await readFile(join(FIXTURES, 'corrupt.torrent'))
  assert.throws(() => parseMetainfo(bytes), /it has no name/)
})

test('goal 33: the infohash is over the raw bytes of info, whatever their order and form', () => {
  const pieces = `6:pieces20:${'p'.repeat(20)}`
  const infos = {
    'sorted keys': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}e`,
    'unsorted keys': `d4:name1:a${pieces}6:lengthi5e12:piece lengthi16384ee`,
    'an unknown key': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}6:sourced1:z0:1:ai1eee`,
    'leading zeros': `d6:lengthi005e4:name1:a12:piece lengthi016384e${pieces}e`,
    'a negative zero': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}7:privatei-0ee`,
    'an integer beyond 2^64': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}1:xi99999999999999999999999ee`,
    'a name that is not UTF-8': `d6:lengthi5e4:name2:\xff\xfe12:piece lengthi16384e${pieces}e`,
    'a key that is not UTF-8': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}2:\xff\xfei1ee`,
    'a key __proto__': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}9:__proto__d1:xi1eee`,
    'an unknown key twice': `d6:lengthi5e4:name1:a12:piece lengthi16384e${pieces}1:xi1e1:xi2ee`,
  }
  for (const [name, info] of Object.entries(infos)) {
    const metainfo = parseMetainfo(around(info))
    const raw = Buffer.from(info, 'latin1')
    assert.equal(metainfo.infohash, sha1(raw), name)
    assert.deepEqual(metainfo.infoBytes, raw, name)
    assert.equal(metainfo.length, 5, name)
    assert.equal(metainfo.private, false, name)
  }
})

const LIBTORRENT = `
import sys, libtorrent as lt
flags = int(sys.argv[3])
fs = lt.file_storage()
lt.add_files(fs, sys.argv[1])
t = lt.create_torrent(fs, 16384, flags)
t.add_tracker('udp://127.0.0.1:1/announce', 0)
t.add_tracker('http://127.0.0.1:2/announce', 1)
t.add_url_seed('http://127.0.0.1:3/')
lt.set_piece_hashes(t, sys.argv[2])
open(sys.argv[4], 'wb').write(lt.bencode(t.generate()))
info = lt.torrent_info(sys.argv[4])
print(info.info_hashes().v1 if info.info_hashes().has_v1() else '-')
files = info.files()
for i in range(files.num_files()):
    if not files.file_flags(i) & lt.file_storage.flag_pad_file:
        print(files.file_size(i), files.file_path(i))
`
const V1_ONLY = 64
const V2_ONLY = 32
const BOTH = 0

async function madeByLibtorrent(
  t: Parameters<typeof temporaryFolder>[0],
  flags: number,
): Promise<{ bytes: Buffer; infohash: string; files: { path: string; length: number }[]; content: string }> {
  const folder = await temporaryFolder(t)
  const content = join(folder, 'été')
  await mkdir(join(content, 'sub'), { recursive: true })
  await writeFile(join(content, 'one.bin'), randomBytes(40_000))
  await writeFile(join(content, 'sub', 'two ✓.bin'), randomBytes(16_384))
  await writeFile(join(content, 'sub', 'three'), randomBytes(5), { mode: 0o755 })
  const path = join(folder, 'made.torrent')
  const { stdout } = await run('/usr/bin/python3', ['-c', LIBTORRENT, content, folder, String(flags), path])
  const [infohash = '', ...lines] = stdout.trim().split('\n')
  const files = lines.map((line) => {
    const space = line.indexOf(' ')
    return { length: Number(line.slice(0, space)), path: line.slice(space + 1).replace(/^été\//, '') }
  })
  return { bytes: await readFile(path), infohash, files, content }
}

for (const [name, flags] of [
  ['v1', V1_ONLY],
  ['hybrid', BOTH],
] as const) {
  test(`${name === 'hybrid' ? 'goal 34: ' : ''}a ${name} torrent made by libtorrent reads as libtorrent reads it`, async (t) => {
    const { bytes, infohash, files, content } = await madeByLibtorrent(t, flags)
    const metainfo = parseMetainfo(bytes)
    assert.equal(metainfo.infohash, infohash)
    assert.equal(metainfo.name, 'été')
    assert.deepEqual(shown(metainfo), files)
    assert.deepEqual(metainfo.trackers, [['udp://127.0.0.1:1/announce'], ['http://127.0.0.1:2/announce']])
    assert.deepEqual(metainfo.webSeeds, ['http://127.0.0.1:3/'])
    assert.equal(
      metainfo.files.some((file) => file.padding),
      name === 'hybrid',
    )
    for (const file of metainfo.files) {
      if (file.padding || file.offset % metainfo.space.pieceLength !== 0) continue
      const start = await readFile(join(content, ...file.path))
      if (start.length < metainfo.space.pieceLength) continue
      const piece = start.subarray(0, metainfo.space.pieceLength)
      const expected = metainfo.space.hashes.at(file.offset / metainfo.space.pieceLength)
      assert.equal(sha1(piece), Buffer.from(expected).toString('hex'))
    }
  })
}

test('goal 34: a v2-only torrent made by libtorrent is refused with a message that says so', async (t) => {
  const { bytes } = await madeByLibtorrent(t, V2_ONLY)
  assert.throws(
    () => parseMetainfo(bytes),
    (error) => isAnnexfsError(error, 'UNSUPPORTED') && /v2 only/.test(error.message),
  )
})

const leaf = (length: number): Encodable => new Map([['', { length, 'pieces root': Buffer.alloc(32) }]])
const hybrid = (files: readonly MadeFile[], tree: Encodable): Buffer =>
  encodeBencode({ info: makeInfo({ files, extra: { 'meta version': 2, 'file tree': tree } }) })

test('goal 34: a hybrid torrent is refused when its halves disagree', () => {
  const files: readonly MadeFile[] = [
    { path: ['a'], length: 16_384 },
    { path: ['sub', 'b'], length: 5 },
  ]
  assert.equal(parseMetainfo(hybrid(files, { a: leaf(16_384), sub: { b: leaf(5) } })).files.length, 2)
  const disagreeing: Record<string, Encodable> = {
    'another name': { a: leaf(16_384), sub: { c: leaf(5) } },
    'another folder': { a: leaf(16_384), sup: { b: leaf(5) } },
    'another length': { a: leaf(16_384), sub: { b: leaf(6) } },
    'one more': { a: leaf(16_384), sub: { b: leaf(5) }, z: leaf(1) },
    'one fewer': { a: leaf(16_384) },
    none: {},
    'a file that is a folder too': {
      a: new Map([
        ['', { length: 16_384 }],
        ['x', leaf(1)],
      ]),
      sub: { b: leaf(5) },
    },
  }
  for (const [name, tree] of Object.entries(disagreeing)) {
    assert.throws(
      () => parseMetainfo(hybrid(files, tree)),
      (error) => isAnnexfsError(error, 'INVALID') && /disagree/.test(error.message),
      name,
    )
  }
  const unaligned = hybrid(
    [
      { path: ['a'], length: 5 },
      { path: ['b'], length: 5 },
    ],
    { a: leaf(5), b: leaf(5) },
  )
  assert.throws(() => parseMetainfo(unaligned), /does not begin a piece/)
})

test('a torrent made by mktorrent reads as it was made', async (t) => {
  const folder = await temporaryFolder(t)
  const content = join(folder, 'content')
  await mkdir(join(content, 'deep', 'er'), { recursive: true })
  await writeFile(join(content, 'deep', 'er', 'x'), 'x'.repeat(1000))
  await writeFile(join(content, 'y'), 'y'.repeat(70_000))
  const path = join(folder, 'made.torrent')
  const options = ['-p', '-l', '15', '-a', 'http://127.0.0.1:1/a,http://127.0.0.1:2/a', '-a', 'udp://127.0.0.1:3/a']
  await run('mktorrent', [...options, '-w', 'http://127.0.0.1:4/f', '-o', path, content])
  const metainfo = parseMetainfo(await readFile(path))
  assert.equal(metainfo.name, 'content')
  assert.equal(metainfo.private, true)
  assert.equal(metainfo.space.pieceLength, 32_768)
  assert.deepEqual(metainfo.trackers, [['http://127.0.0.1:1/a', 'http://127.0.0.1:2/a'], ['udp://127.0.0.1:3/a']])
  assert.deepEqual(metainfo.webSeeds, ['http://127.0.0.1:4/f'])
  assert.deepEqual(
    shown(metainfo).toSorted((a, b) => a.length - b.length),
    [
      { path: 'deep/er/x', length: 1000 },
      { path: 'y', length: 70_000 },
    ],
  )
})

test('links of a torrent lead to files of it or are hidden', () => {
  const metainfo = parseMetainfo(
    makeTorrent({
      files: [
        { path: ['bin', 'tool'], length: 5, attr: 'x' },
        { path: ['links', 'deep', 'l'], length: 0, attr: 'l', symlinkPath: ['bin', 'tool'] },
        { path: ['out'], length: 0, attr: 'l', symlinkPath: ['..', 'etc', 'passwd'] },
        { path: ['itself'], length: 0, attr: 'l' },
      ],
    }),
  )
  assert.deepEqual(
    metainfo.files.map(({ link, hidden, executable }) => ({ link, hidden, executable })),
    [
      { link: undefined, hidden: false, executable: true },
      { link: '../../bin/tool', hidden: false, executable: false },
      { link: undefined, hidden: true, executable: false },
      { link: undefined, hidden: true, executable: false },
    ],
  )
})

test('the torrent of a magnet has the magnet’s trackers, and only the right metadata is taken', () => {
  const info = encodeBencode(makeInfo({ name: 'm' }))
  const magnet = parseMagnet(
    `magnet:?xt=urn:btih:${sha1(info)}&tr=udp://127.0.0.1:1/a&tr=http://127.0.0.1:2/a&ws=http://127.0.0.1/f&x.pe=127.0.0.1:5`,
  )
  const metainfo = metainfoFromInfo(info, magnet)
  assert.equal(metainfo.infohash, magnet.infohash)
  assert.deepEqual(metainfo.trackers, [['udp://127.0.0.1:1/a'], ['http://127.0.0.1:2/a']])
  assert.deepEqual(metainfo.webSeeds, ['http://127.0.0.1/f'])
  assert.deepEqual(metainfo.peers, ['127.0.0.1:5'])
  assert.deepEqual(parseMetainfo(metainfo.raw).infoBytes, info)
  const other = encodeBencode(makeInfo({ name: 'other' }))
  assert.throws(
    () => metainfoFromInfo(other, magnet),
    (error) => isAnnexfsError(error, 'CORRUPT'),
  )
})
