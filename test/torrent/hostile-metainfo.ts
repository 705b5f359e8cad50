import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'
import { makeInfo, makeTorrent, type MadeFile, type MadeInfo } from '../support/metainfo.js'

/** A hostile metainfo file: it must be refused, or give safe distinct names. */
export interface Hostile {
  readonly name: string
  readonly bytes: () => Buffer
  readonly expect: 'refused' | 'safe'
  /** Of many megabytes: measured in a process of its own. */
  readonly heavy?: boolean
}

const MIB = 1024 * 1024
type Extra = { readonly [key: string]: Encodable | undefined }

const single =
  (extra: Extra, options: MadeInfo = {}) =>
  (): Buffer =>
    makeTorrent({ ...options, extra })
const paths =
  (...all: readonly (readonly (string | Uint8Array)[])[]) =>
  (): Buffer =>
    makeTorrent({ files: all.map((path) => ({ path, length: 7 })) })
const text = (bencode: string) => (): Buffer => Buffer.from(bencode, 'latin1')
/** Any info dictionary as raw bencode in a torrent. */
const info = (bencode: string) => text(`d4:info${bencode}e`)
const PIECE = `6:pieces20:${'x'.repeat(20)}`

function manyFiles(count: number, path: (index: number) => string): Buffer {
  const list = Array.from({ length: count }, (_, index) => `d6:lengthi0e4:path${path(index)}e`).join('')
  return text(`d4:infod5:filesl${list}e4:name1:n12:piece lengthi16384e6:pieces0:ee`)()
}

function hybrid(files: readonly MadeFile[], tree: Encodable, pieceLength = 16_384): () => Buffer {
  return () =>
    encodeBencode({ info: makeInfo({ files, pieceLength, extra: { 'meta version': 2, 'file tree': tree } }) })
}

const leaf = (length: number): Encodable => new Map([['', { length, 'pieces root': Buffer.alloc(32) }]])

export const HOSTILE: readonly Hostile[] = [
  // The bencode itself.
  { name: 'nothing at all', bytes: text(''), expect: 'refused' },
  { name: 'text', bytes: text('<html>not found</html>'), expect: 'refused' },
  { name: 'a list that never ends for some decoders', bytes: text('l-3:e'), expect: 'refused' },
  { name: 'the same inside info', bytes: info('l-3:e'), expect: 'refused' },
  { name: 'a negative string length', bytes: text('d-4:info3:abce'), expect: 'refused' },
  { name: 'a string length of 2^53', bytes: text('d9007199254740992:infoe'), expect: 'refused' },
  { name: 'a string length of a hundred digits', bytes: text(`d${'9'.repeat(100)}:infoe`), expect: 'refused' },
  { name: 'a string longer than the file', bytes: text('d4:info100:abce'), expect: 'refused' },
  { name: 'a key that is an integer', bytes: text('di1e4:infoe'), expect: 'refused' },
  { name: 'a key without a value', bytes: text('d4:infoe'), expect: 'refused' },
  { name: 'an integer without digits', bytes: info('d6:lengthiee'), expect: 'refused' },
  { name: 'an integer that is a fraction', bytes: info('d6:lengthi1.5ee'), expect: 'refused' },
  { name: 'an integer of a million digits', bytes: info(`d6:lengthi${'1'.repeat(MIB)}ee`), expect: 'refused' },
  { name: 'cut off', bytes: () => makeTorrent({}).subarray(0, 100), expect: 'refused' },
  { name: 'a million open lists', bytes: text('l'.repeat(MIB)), expect: 'refused' },
  { name: 'a million open lists in a dictionary', bytes: text(`d4:info${'l'.repeat(MIB)}`), expect: 'refused' },
  { name: '30 MiB of open dictionaries', bytes: text(`d1:x${'d0:'.repeat(10 * MIB)}`), expect: 'refused', heavy: true },
  { name: '30 MiB of empty lists', bytes: text(`d1:xl${'le'.repeat(15 * MIB)}ee`), expect: 'refused', heavy: true },
  { name: 'bigger than 32 MiB', bytes: () => Buffer.alloc(33 * MIB, 0x64), expect: 'refused', heavy: true },
  { name: 'info twice', bytes: text('d4:infode4:infodee'), expect: 'refused' },
  {
    name: 'a million other keys',
    bytes: () => Buffer.concat([Buffer.from(`d${'1:ai0e'.repeat(MIB)}`), makeTorrent({}).subarray(1)]),
    expect: 'safe',
    heavy: true,
  },
  { name: 'keys that objects have', bytes: () => makeTorrent({}, { constructor: 'x', toString: 1 }), expect: 'safe' },
  {
    name: '__proto__ in info',
    bytes: info(`d9:__proto__d8:pollutedi1ee6:lengthi1e4:name1:a12:piece lengthi16384e${PIECE}e`),
    expect: 'safe',
  },
  // What info says.
  { name: 'no info', bytes: text('d8:announce3:fooe'), expect: 'refused' },
  { name: 'info is a list', bytes: info('le'), expect: 'refused' },
  { name: 'info is a string', bytes: info('3:abc'), expect: 'refused' },
  { name: 'info is empty', bytes: info('de'), expect: 'refused' },
  { name: 'no name', bytes: single({ name: undefined }), expect: 'refused' },
  { name: 'the name is a number', bytes: single({ name: 5 }), expect: 'refused' },
  { name: 'no pieces', bytes: single({ pieces: undefined }), expect: 'refused' },
  { name: 'pieces of 19 bytes', bytes: single({ pieces: Buffer.alloc(19) }), expect: 'refused' },
  { name: 'too few pieces', bytes: single({ pieces: Buffer.alloc(20) }), expect: 'refused' },
  { name: 'too many pieces', bytes: single({ pieces: Buffer.alloc(2000) }), expect: 'refused' },
  { name: 'a piece length of 0', bytes: single({ 'piece length': 0 }), expect: 'refused' },
  {
    name: 'a piece length of 1',
    bytes: single({ 'piece length': 1, pieces: Buffer.alloc(2_000_000) }),
    expect: 'refused',
  },
  { name: 'a negative piece length', bytes: single({ 'piece length': -16_384 }), expect: 'refused' },
  {
    name: 'a piece length of 2^40',
    bytes: single({ 'piece length': 2 ** 40, pieces: Buffer.alloc(20) }),
    expect: 'refused',
  },
  { name: 'a piece length that is text', bytes: single({ 'piece length': '16384' }), expect: 'refused' },
  { name: 'a negative length', bytes: single({ length: -1 }), expect: 'refused' },
  { name: 'a length of 2^53 - 1', bytes: single({ length: Number.MAX_SAFE_INTEGER }), expect: 'refused' },
  { name: 'a length beyond 2^53', bytes: single({ length: 2n ** 63n }), expect: 'refused' },
  { name: 'a length that is text', bytes: single({ length: '5' }), expect: 'refused' },
  { name: 'no length and no files', bytes: single({ length: undefined }), expect: 'refused' },
  {
    name: 'length twice',
    bytes: info(`d6:lengthi1e6:lengthi2e4:name1:a12:piece lengthi16384e${PIECE}e`),
    expect: 'refused',
  },
  {
    name: '32 MiB of piece hashes',
    bytes: single({ pieces: Buffer.alloc(31 * MIB - 16) }),
    expect: 'refused',
    heavy: true,
  },
  // Its files.
  { name: 'no files in the list', bytes: single({ files: [] }), expect: 'refused' },
  { name: 'files is a dictionary', bytes: single({ files: { a: 1 } }), expect: 'refused' },
  { name: 'a file is a number', bytes: single({ files: [5] }), expect: 'refused' },
  { name: 'a file without a path', bytes: single({ files: [{ length: 5 }] }), expect: 'refused' },
  { name: 'a file with an empty path', bytes: single({ files: [{ length: 5, path: [] }] }), expect: 'refused' },
  { name: 'a path that is text', bytes: single({ files: [{ length: 5, path: 'a/b' }] }), expect: 'refused' },
  { name: 'a path of numbers', bytes: single({ files: [{ length: 5, path: [1, 2] }] }), expect: 'refused' },
  { name: 'a path of lists', bytes: single({ files: [{ length: 5, path: [['a']] }] }), expect: 'refused' },
  { name: 'a file of negative length', bytes: single({ files: [{ length: -5, path: ['a'] }] }), expect: 'refused' },
  {
    name: 'lengths that add up beyond 2^53',
    bytes: single({ files: [1, 2, 3].map((n) => ({ length: Number.MAX_SAFE_INTEGER - n, path: [`${n}`] })) }),
    expect: 'refused',
  },
  {
    name: 'a negative length that makes up for another',
    bytes: single({
      files: [
        { length: 200_000, path: ['a'] },
        { length: -100_000, path: ['b'] },
      ],
    }),
    expect: 'refused',
  },
  { name: 'a million files', bytes: () => manyFiles(1_000_000, () => 'l1:ae'), expect: 'refused', heavy: true },
  { name: '100,000 files of one name', bytes: () => manyFiles(100_000, () => 'l1:ae'), expect: 'safe', heavy: true },
  {
    name: '100,000 files in as many folders',
    bytes: () => manyFiles(100_000, (index) => `l6:${String(index).padStart(6, '0')}1:ae`),
    expect: 'refused',
    heavy: true,
  },
  {
    name: 'folders nested as wide and deep as 30 MiB allow',
    bytes: () => manyFiles(100_000, (index) => `l6:${String(index).padStart(6, '0')}${'1:a'.repeat(70)}e`),
    expect: 'refused',
    heavy: true,
  },
  { name: '200 folders deep', bytes: paths(Array.from({ length: 200 }, () => 'a')), expect: 'refused' },
  { name: '100,000 folders deep', bytes: paths(Array.from({ length: 100_000 }, () => 'a')), expect: 'refused' },
  // Names.
  { name: 'up and out', bytes: paths(['..', '..', 'etc', 'passwd']), expect: 'safe' },
  { name: 'an absolute path', bytes: paths(['', 'etc', 'passwd']), expect: 'safe' },
  { name: 'an absolute path in one name', bytes: paths(['/etc/passwd']), expect: 'safe' },
  { name: 'slashes in names', bytes: paths(['a/../../b', 'c/d']), expect: 'safe' },
  { name: 'only empty names', bytes: paths(['', ''], ['']), expect: 'safe' },
  { name: 'dots', bytes: paths(['.'], ['.', '.'], ['a', '.', 'b']), expect: 'safe' },
  { name: '.git and its hooks', bytes: paths(['.git', 'config'], ['.GIT', 'hooks', 'x']), expect: 'safe' },
  { name: 'NUL in a name', bytes: paths(['a\0b'], ['a', 'b\0'], ['\0']), expect: 'safe' },
  { name: 'control characters and escapes', bytes: paths(['\x1b[2Ja\nb\r\t\x07'], ['\u202Etxt.exe']), expect: 'safe' },
  {
    name: 'invalid UTF-8',
    bytes: paths([Buffer.from('ff6665c3', 'hex')], [Buffer.from('eda080', 'hex')]),
    expect: 'safe',
  },
  { name: 'a name that looks like an escape', bytes: paths(['a\\x2fb'], ['a/b']), expect: 'safe' },
  { name: 'one name twice', bytes: paths(['a', 'b'], ['a', 'b'], ['a', 'b']), expect: 'safe' },
  { name: 'the made name is there too', bytes: paths(['b'], ['b'], ['b (2)'], ['b (3)']), expect: 'safe' },
  { name: 'a file that is also a folder', bytes: paths(['a'], ['a', 'b'], ['a', 'b', 'c']), expect: 'safe' },
  { name: 'a folder that is also a file', bytes: paths(['a', 'b', 'c'], ['a', 'b'], ['a']), expect: 'safe' },
  {
    name: 'names of 300 bytes that differ at the end',
    bytes: paths([`${'é'.repeat(150)}1`], [`${'é'.repeat(150)}2`]),
    expect: 'safe',
  },
  { name: 'a name of 1 MiB', bytes: paths(['n'.repeat(MIB)], [Buffer.alloc(MIB, 0xff)]), expect: 'safe' },
  { name: 'a torrent named ..', bytes: single({ name: '..' }), expect: 'safe' },
  { name: 'a torrent named /etc/passwd', bytes: single({ name: '/etc/passwd' }), expect: 'safe' },
  { name: 'a torrent named with nothing', bytes: single({ name: '' }), expect: 'safe' },
  { name: 'a torrent named with NUL and a newline', bytes: single({ name: 'a\0\nb' }), expect: 'safe' },
  {
    name: 'path.utf-8 that differs from path',
    bytes: single({ files: [{ length: 100_000, path: ['a'], 'path.utf-8': ['..', 'b'] }] }),
    expect: 'safe',
  },
  {
    name: 'path.utf-8 that is no path',
    bytes: single({ files: [{ length: 100_000, path: ['a'], 'path.utf-8': 5 }] }),
    expect: 'safe',
  },
  {
    name: 'a link out of the torrent',
    bytes: () =>
      makeTorrent({
        files: [
          { path: ['l'], length: 0, attr: 'l', symlinkPath: ['..', '..', 'etc', 'passwd'] },
          { path: ['a'], length: 5 },
        ],
      }),
    expect: 'safe',
  },
  {
    name: 'links in a circle',
    bytes: () =>
      makeTorrent({
        files: [
          { path: ['x'], length: 0, attr: 'l', symlinkPath: ['y'] },
          { path: ['y'], length: 0, attr: 'l', symlinkPath: ['x'] },
          { path: ['a'], length: 5 },
        ],
      }),
    expect: 'safe',
  },
  {
    name: 'padding named to hide a file',
    bytes: () =>
      makeTorrent({
        files: [
          { path: ['.pad', '1'], length: 5, attr: 'p' },
          { path: ['.pad', '1'], length: 5 },
          { path: ['.pad'], length: 5 },
        ],
      }),
    expect: 'safe',
  },
  // What else it says.
  {
    name: 'trackers of every wrong kind',
    bytes: () =>
      makeTorrent({}, { announce: 5, 'announce-list': [5, ['', 'file:///etc/passwd', 'http://a b/', {}], {}, [[]]] }),
    expect: 'safe',
  },
  {
    name: '200,000 trackers',
    bytes: () =>
      makeTorrent(
        {},
        { 'announce-list': Array.from({ length: 200_000 }, (_, index) => [`udp://t${index}.example:1/announce`]) },
      ),
    expect: 'safe',
    heavy: true,
  },
  {
    name: 'a tracker URL of 1 MiB',
    bytes: () => makeTorrent({}, { announce: `http://${'a'.repeat(MIB)}/` }),
    expect: 'safe',
  },
  {
    name: 'web seeds of every wrong kind',
    bytes: () =>
      makeTorrent({}, { 'url-list': [5, 'file:///etc/shadow', 'ftp://x/', ['http://x/'], 'http://x/\r\nHost: y'] }),
    expect: 'safe',
  },
  {
    name: 'nodes of every wrong kind',
    bytes: () => makeTorrent({}, { nodes: [5, [], ['a'], ['a', 'b'], ['a', -1], ['a', 70_000], ['a b', 1], [1, 1]] }),
    expect: 'safe',
  },
  { name: 'a creation date in year 10^12', bytes: () => makeTorrent({}, { 'creation date': 2 ** 50 }), expect: 'safe' },
  // BEP 52.
  {
    name: 'v2 alone',
    bytes: single({ pieces: undefined, length: undefined, 'meta version': 2, 'file tree': { a: leaf(5) } }),
    expect: 'refused',
  },
  { name: 'version 3', bytes: single({ 'meta version': 3 }), expect: 'refused' },
  {
    name: 'a hybrid with another name in v2',
    bytes: hybrid([{ path: ['a'], length: 5 }], { b: leaf(5) }),
    expect: 'refused',
  },
  {
    name: 'a hybrid with another length in v2',
    bytes: hybrid([{ path: ['a'], length: 5 }], { a: leaf(6) }),
    expect: 'refused',
  },
  {
    name: 'a hybrid with more files in v2',
    bytes: hybrid([{ path: ['a'], length: 5 }], { a: leaf(5), b: leaf(5) }),
    expect: 'refused',
  },
  { name: 'a hybrid without a tree', bytes: single({ 'meta version': 2 }), expect: 'refused' },
  { name: 'a hybrid whose tree is a list', bytes: hybrid([{ path: ['a'], length: 5 }], ['a']), expect: 'refused' },
]
