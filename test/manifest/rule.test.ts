import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { keyFile, parseKey, type Key } from '../../lib/annex/key.js'
import { encodeManifest, longestManifest, parseManifest } from '../../lib/manifest/format.js'
import {
  canHaveManifest,
  keyAtPath,
  manifestName,
  manifestPath,
  manifestPieceLength,
  manifestProblem,
  type ManifestKey,
} from '../../lib/manifest/rule.js'
import { encodeBencode } from '../../lib/torrent/bencode.js'
import { runProgram } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const KIB = 1024
const MIB = 1024 * KIB

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key !== undefined, raw)
  return key
}

function manifestKey(size: number, extension = ''): ManifestKey {
  const key = keyOf(`SHA256E-s${size}--${createHash('sha256').update(String(size)).digest('hex')}${extension}`)
  assert.ok(canHaveManifest(key))
  return key
}

function digests(key: ManifestKey): Buffer {
  const count = Math.ceil(key.size / manifestPieceLength(key.size))
  return Buffer.concat(Array.from({ length: count }, (_, index) => createHash('sha1').update(String(index)).digest()))
}

test('piece lengths are the smallest power of two from 128 KiB to 16 MiB that gives at most 2,048 pieces', () => {
  const rows: readonly (readonly [number, number])[] = [
    [1, 128 * KIB],
    [256 * MIB, 128 * KIB],
    [256 * MIB + 1, 256 * KIB],
    [512 * MIB, 256 * KIB],
    [2048 * MIB, MIB],
    [2048 * MIB + 1, 2 * MIB],
    [32 * KIB * MIB, 16 * MIB],
    [32 * KIB * MIB + 1, 16 * MIB],
    [10 * MIB * MIB, 16 * MIB],
  ]
  for (const [size, pieceLength] of rows) assert.equal(manifestPieceLength(size), pieceLength, String(size))
})

test('a manifest of up to 32 GiB has at most 41,500 bytes', () => {
  for (const size of [1, MIB, 256 * MIB, 256 * MIB + 1, 4096 * MIB, 32 * KIB * MIB]) {
    const key = manifestKey(size, '.tar.gz')
    assert.ok(encodeManifest(key, digests(key)).length <= 41_500, String(size))
  }
})

test('names are printable ASCII, distinct, and short ones of long keys', () => {
  const digest = 'a'.repeat(64)
  const name = (raw: string): string => manifestName(keyOf(raw))
  assert.equal(name(`SHA256E-s5--${digest}.mp3`), `SHA256E-s5--${digest}.mp3`)
  assert.equal(name(`SHA256E-s5--${digest}.a b`), `SHA256E-s5--${digest}.a%20b`)
  // Bytes that are no UTF-8, and the escapes of git-annex's own file names.
  assert.equal(name(`SHA256E-s5--${digest}.\xff`), `SHA256E-s5--${digest}.%ff`)
  assert.equal(name(`SHA256E-s5--${digest}.a/b`), `SHA256E-s5--${digest}.a%25b`)
  assert.equal(name(`SHA256E-s5--${digest}.a%b`), `SHA256E-s5--${digest}.a&sb`)
  const long = `SHA512E-s5--${'b'.repeat(128)}.${'\xe9'.repeat(60)}`
  assert.equal(name(long), `sha256-${createHash('sha256').update(long, 'latin1').digest('hex')}`)
})

test('only keys with a hash, a size and content can have one, and each has one place', () => {
  for (const raw of [
    'URL-s5--http&c%%host%a',
    'WORM-s5-m1--a',
    `SHA256E--${'a'.repeat(64)}`,
    `SHA256E-s0--${'a'.repeat(64)}`,
    `SHA256E-s9-S4-C1--${'a'.repeat(64)}`,
    `SKEIN256-s5--${'a'.repeat(64)}`,
    `SHA256E-s9007199254740991--${'a'.repeat(64)}`,
  ]) {
    assert.equal(typeof manifestProblem(keyOf(raw)), 'string', raw)
  }
  const key = keyOf(`SHA256E-s5--${'a'.repeat(64)}.\xff`)
  const path = manifestPath(key)
  assert.match(path.slice(0, 2).join('/'), /^[0-9a-f]{3}\/[0-9a-f]{3}$/)
  assert.equal(path[2], `${keyFile(key)}.torrent`)
  assert.equal(keyAtPath(path)?.raw, key.raw)
  assert.equal(keyAtPath(['000', path[1], path[2]]), undefined)
  assert.equal(keyAtPath([path[0], path[1], keyFile(key)]), undefined)
})

test('the infohash is the one that libtorrent computes', LIMIT, async () => {
  for (const size of [1, 128 * KIB, 300 * MIB]) {
    const key = manifestKey(size, '.a b')
    const bytes = encodeManifest(key, digests(key))
    const metainfo = parseManifest(key, bytes)
    const script =
      'import libtorrent as lt, sys, base64\n' +
      'i = lt.torrent_info(lt.bdecode(base64.b64decode(sys.argv[1])))\n' +
      'print(i.info_hash(), i.total_size(), i.piece_length(), i.num_pieces(), i.num_files())'
    const { stdout, stderr } = await runProgram('/usr/bin/python3', [
      '-W',
      'ignore',
      '-c',
      script,
      bytes.toString('base64'),
    ])
    const { pieceLength } = metainfo.space
    const pieces = Math.ceil(size / pieceLength)
    assert.equal(stdout.toString().trim(), `${metainfo.infohash} ${size} ${pieceLength} ${pieces} 1`, stderr)
  }
})

test('what stands beside the info dictionary changes neither infohash nor pieces', () => {
  const key = manifestKey(1000)
  const plain = encodeManifest(key, digests(key))
  const info = plain.subarray('d4:info'.length, -1)
  const besides = Buffer.concat([
    Buffer.from('d8:announce17:http://host/a?x=17:comment2:hi4:info'),
    info,
    Buffer.from('8:url-list13:http://host/be'),
  ])
  const metainfo = parseManifest(key, besides)
  assert.equal(metainfo.infohash, parseManifest(key, plain).infohash)
  assert.deepEqual(metainfo.webSeeds, ['http://host/b'])
  assert.deepEqual(metainfo.trackers, [['http://host/a?x=1']])
})

test('of a manifest with any byte changed nothing but piece hashes can differ', () => {
  const key = manifestKey(300 * KIB)
  const good = encodeManifest(key, digests(key))
  const hashesFrom = good.length - 2 - 60
  for (let at = 0; at < good.length; at++) {
    for (const flip of [1, 2, 4, 8, 16, 32, 64, 128]) {
      const bytes = Buffer.from(good)
      bytes[at] = (bytes[at] ?? 0) ^ flip
      try {
        const { space, files, name } = parseManifest(key, bytes)
        assert.ok(at >= hashesFrom, String(at))
        assert.deepEqual(
          [space.length, space.pieceLength, files.length, name],
          [key.size, 128 * KIB, 1, manifestName(key)],
        )
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'INVALID', String(at))
      }
    }
  }
})

test('hostile manifests are refused', () => {
  const key = manifestKey(300 * KIB)
  const good = digests(key)
  const info = { length: key.size, name: manifestName(key), 'piece length': 128 * KIB, pieces: good }
  const raw = encodeManifest(key, good)
  assert.ok(encodeBencode({ info }).equals(raw), 'canonical')
  const rows: Readonly<Record<string, Buffer>> = {
    empty: Buffer.alloc(0),
    'a list': Buffer.from('le'),
    'cut off': raw.subarray(0, -1),
    trailing: Buffer.concat([raw, Buffer.from('e')]),
    'another length': encodeBencode({ info: { ...info, length: key.size - 1 } }),
    'another piece length': encodeBencode({ info: { ...info, 'piece length': 64 * KIB, pieces: Buffer.alloc(100) } }),
    'another name': encodeBencode({ info: { ...info, name: 'x' } }),
    'too few pieces': encodeBencode({ info: { ...info, pieces: good.subarray(20) } }),
    'too many pieces': encodeBencode({ info: { ...info, pieces: Buffer.concat([good, good]) } }),
    private: encodeBencode({ info: { ...info, private: 1 } }),
    source: encodeBencode({ info: { ...info, source: 'x' } }),
    files: encodeBencode({ info: { ...info, files: [{ length: key.size, path: ['a'] }] } }),
    'a v2 tree': encodeBencode({ info: { ...info, 'meta version': 2, 'file tree': {} } }),
    'a strange key': encodeBencode({ info, nodes: [['127.0.0.1', 1]] }),
    'no info': encodeBencode({ comment: 'x' }),
    'info is a string': encodeBencode({ info: 'x' }),
    'unsorted keys': Buffer.concat([Buffer.from('d4:info'), raw.subarray(7, -1), Buffer.from('7:comment1:xe')]),
    'a leading zero': Buffer.from(raw.toString('latin1').replace('lengthi', 'lengthi0'), 'latin1'),
    'two infos': Buffer.concat([raw.subarray(0, -1), raw.subarray(1)]),
    deep: Buffer.from(`d7:comment${'l'.repeat(10_000)}${'e'.repeat(10_000)}e`),
    'the loop': Buffer.from('d7:commentl-3:ee'),
    'too long': encodeBencode({ comment: 'x'.repeat(70_000), info }),
    'another key': encodeManifest(manifestKey(301 * KIB), digests(manifestKey(301 * KIB))),
  }
  for (const [what, bytes] of Object.entries(rows)) {
    assert.throws(() => parseManifest(key, bytes), { code: 'INVALID' }, what)
  }
  assert.ok(longestManifest(key) < 70_000)
})
