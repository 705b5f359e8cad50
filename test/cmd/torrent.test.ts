import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cp,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { encodeBencode, type Encodable } from '../../lib/torrent/bencode.js'
import { createTorrent } from '../../lib/torrent/create.js'
import { parseMagnet } from '../../lib/torrent/magnet.js'
import { parseMetainfo, type Metainfo } from '../../lib/torrent/metainfo.js'
import { makeTorrent, pseudoRandom, startLibtorrent, until, type LibtorrentPeer } from '../support/peers.js'
import { annexfs, AT_HOME, homeOf, PROGRAM, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const PIECE = 32 * 1024

interface Swarm {
  readonly folder: string
  /** What is seeded. */
  readonly root: string
  readonly file: string
  readonly metainfo: Metainfo
  readonly peer: LibtorrentPeer
  readonly options: readonly string[]
}

let lastHost = 60

/** A folder, its torrent made by us, and a libtorrent peer that seeds it. */
async function swarmOf(t: TestContext, files: Readonly<Record<string, number>>): Promise<Swarm> {
  const folder = await temporaryFolder(t)
  const root = join(folder, 'seeded', 'Films')
  for (const [name, length] of Object.entries(files)) {
    await mkdir(join(root, name, '..'), { recursive: true })
    await writeFile(join(root, name), pseudoRandom(length, name))
  }
  const metainfo = await createTorrent({ path: root, pieceLength: PIECE, signal: new AbortController().signal })
  const file = join(folder, 'films.torrent')
  await writeFile(file, metainfo.raw)
  const host = `127.0.0.${(lastHost += 1)}`
  const peer = await startLibtorrent(t, {
    host,
    torrent: { file, folder: join(folder, 'seeded') },
    seed: true,
  })
  return { folder, root, file, metainfo, peer, options: [...AT_HOME, `--peer=${peer.address}`] }
}

/** What the process has open. */
async function openedBy(pid: number): Promise<readonly string[]> {
  const folder = `/proc/${pid}/fd`
  const names = await readdir(folder)
  return Promise.all(names.map((name) => readlink(join(folder, name)).catch(() => '')))
}

/** libtorrent counts once a second. */
async function uploadedBy(swarm: Swarm): Promise<number> {
  await sleep(1_500)
  return (await swarm.peer.status()).uploaded
}

async function sameTree(ours: string, theirs: string): Promise<void> {
  const names = (await readdir(theirs, { recursive: true })).sort()
  assert.deepEqual((await readdir(ours, { recursive: true })).sort(), names)
  for (const name of names) {
    if (!(await lstat(join(theirs, name))).isFile()) continue
    assert.ok((await readFile(join(ours, name))).equals(await readFile(join(theirs, name))), name)
  }
}

function python(script: string, ...args: string[]): Promise<string> {
  return runProgram('/usr/bin/python3', ['-c', `import libtorrent as lt, sys\n${script}`, ...args]).then((result) => {
    assert.equal(result.code, 0, result.stderr)
    return result.stdout.toString()
  })
}

const MAKE = `
fs = lt.file_storage(); lt.add_files(fs, sys.argv[1])
t = lt.create_torrent(fs, 16384, getattr(lt.create_torrent, sys.argv[3]) if sys.argv[3] != 'hybrid' else 0)
t.add_tracker('http://127.0.0.1:1/a', 0); t.add_tracker('udp://127.0.0.1:2', 1)
lt.set_piece_hashes(t, sys.argv[1].rsplit('/', 1)[0])
open(sys.argv[2], 'wb').write(lt.bencode(t.generate()))
i = lt.torrent_info(sys.argv[2]).info_hashes()
print(i.v1, i.v2)
`

test('info shows what libtorrent says of v1, v2 and hybrid torrents', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const root = join(folder, 'root')
  await mkdir(join(root, 'sub'), { recursive: true })
  await writeFile(join(root, 'one'), pseudoRandom(40_000, 'one'))
  await writeFile(join(root, 'sub', 'two'), pseudoRandom(20_000, 'two'))
  for (const [version, flag] of [
    ['v1', 'v1_only'],
    ['hybrid', 'hybrid'],
    ['v2', 'v2_only'],
  ] as const) {
    const file = join(folder, `${version}.torrent`)
    const [v1 = '', v2 = ''] = (await python(MAKE, root, file, flag)).trim().split(' ')
    const { code, stdout, stderr } = await annexfs(t, ['torrent', 'info', '--json', file])
    assert.equal(code, 0, stderr)
    const facts = JSON.parse(stdout.toString()) as Record<string, unknown>
    assert.equal(facts['version'], version)
    assert.equal(facts['name'], 'root')
    assert.equal(facts['length'], 60_000)
    assert.equal(facts['pieceLength'], 16_384)
    assert.equal(facts['infohash'], version === 'v2' ? undefined : v1)
    assert.equal(facts['infohashV2'], version === 'v1' ? undefined : v2)
    assert.deepEqual(facts['trackers'], [['http://127.0.0.1:1/a'], ['udp://127.0.0.1:2']])
    assert.deepEqual(
      (facts['files'] as { path: string; length: number }[]).map(({ path, length }) => [path, length]),
      [
        ['one', 40_000],
        ['sub/two', 20_000],
      ],
    )
    const magnet = String(facts['magnet'])
    assert.equal((await annexfs(t, ['torrent', 'magnet', file])).stdout.toString(), `${magnet}\n`)
    const theirs = `p = lt.parse_magnet_uri(sys.argv[1]); h = p.info_hashes; print(h.v1 if h.has_v1() else '', h.v2 if h.has_v2() else '', *p.trackers, p.name)`
    const parts = [
      version === 'v2' ? '' : v1,
      version === 'v1' ? '' : v2,
      'http://127.0.0.1:1/a udp://127.0.0.1:2 root',
    ]
    assert.equal((await python(theirs, magnet)).trim(), parts.join(' ').trim())
    const text = (await annexfs(t, ['torrent', 'info', file])).stdout.toString()
    assert.match(text, /^trackers: +tier 1 +http:\/\/127\.0\.0\.1:1\/a\n +tier 2 +udp:/m)
    assert.match(text, /^ +20000 {2}sub\/two$/m)
    if (version !== 'v2') assert.match(text, new RegExp(`^infohash: +${v1}$`, 'm'))
    if (version !== 'v1') assert.match(text, new RegExp(`^infohash v2: +${v2}$`, 'm'))
  }
})

test('info and magnet take standard input, several files and magnet links', LIMIT, async (t) => {
  const { metainfo, file } = await makeTorrent(t, {
    length: 100,
    pieceLength: PIECE,
    trackers: ['http://127.0.0.1:1/a?k=v&x'],
  })
  const piped = await runProgram('sh', ['-c', '"$0" "$1" torrent info - < "$2"', process.execPath, PROGRAM, file])
  assert.match(piped.stdout.toString(), new RegExp(metainfo.infohash))
  const both = await annexfs(t, ['torrent', 'magnet', file, file])
  const [first = '', second, third] = both.stdout.toString().split('\n')
  assert.deepEqual([second, third], [first, ''])
  const parsed = parseMagnet(first)
  assert.equal(parsed.infohash, metainfo.infohash)
  assert.deepEqual(parsed.trackers, ['http://127.0.0.1:1/a?k=v&x'])
  const bare = (await annexfs(t, ['torrent', 'magnet', '--no-trackers', file])).stdout.toString()
  assert.equal(bare, `magnet:?xt=urn:btih:${metainfo.infohash}&dn=content.bin&xl=100\n`)
  assert.match(
    (await annexfs(t, ['torrent', 'info', first])).stdout.toString(),
    new RegExp(`infohash: +${metainfo.infohash}`),
  )
})

test(
  'what a stranger wrote into a torrent cannot reach the terminal, nor stop its facts from being shown',
  LIMIT,
  async (t) => {
    const folder = await temporaryFolder(t)
    const file = join(folder, 'hostile.torrent')
    const evil = '\u001b]0;owned\u0007\r\nname:  innocent\u009b2J'
    const info: Encodable = {
      files: [
        { length: 1, path: ['..', '..', 'etc', evil] },
        { length: 2, path: [Buffer.from([0xff, 0xfe])] },
      ],
      name: evil,
      'piece length': PIECE,
      pieces: Buffer.alloc(20),
      source: evil,
    }
    await writeFile(
      file,
      encodeBencode({ info, comment: evil.repeat(1000), 'created by': evil, 'creation date': 2 ** 52 }),
    )
    for (const args of [['info'], ['info', '--json'], ['magnet']]) {
      const { code, stdout, stderr } = await annexfs(t, ['torrent', ...args, file])
      assert.equal(code, 0, stderr)
      // oxlint-disable-next-line no-control-regex -- just these must not be there
      assert.doesNotMatch(stdout.toString(), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
      assert.ok(stdout.length < 60_000)
    }
    const { stdout } = await annexfs(t, ['torrent', 'info', file])
    assert.equal(stdout.toString().match(/^name:/gm)?.length, 1)
    assert.match(stdout.toString(), /\\x2e\.\/\\x2e\.\/etc\//)
  },
)

test('a wrong command line, and files that are no torrents, are said plainly', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'broken.torrent'), 'd4:infod')
  await writeFile(join(folder, 'file'), 'x')
  const rows = [
    [[], 2, /wants one of info, magnet, create, download/],
    [['burn'], 2, /not "burn"/],
    [['info'], 2, /wants a FILE/],
    [['info', '--frobnicate'], 2, /no option --frobnicate/],
    [['info', 'nothing'], 3, /nothing/],
    [['info', 'broken.torrent'], 3, /broken\.torrent: /],
    [['magnet', '.'], 3, /not a regular file/],
    [['create'], 2, /one FILE or FOLDER/],
    [['create', 'file', '--piece-length=20KiB'], 2, /power of two/],
    [['create', 'file', '--piece-length=big'], 2, /--piece-length wants a size/],
    [['create', 'file', '--tracker=nonsense'], 2, /nonsense.*tracker/],
    [['create', 'nothing'], 3, /nothing/],
    [['download'], 2, /one FILE, URL or MAGNET/],
    [['download', 'broken.torrent'], 3, /broken\.torrent/],
    [['download', '.'], 3, /neither|no torrent/],
    [['download', 'magnet:?xt=urn:btih:zz'], 3, /magnet/],
    [['download', 'broken.torrent', '--seed', '--no-seed'], 2, /opposite/],
    [['download', 'broken.torrent', '--select', '/'], 2, /selects nothing/],
  ] as const
  for (const [args, wanted, said] of rows) {
    const { code, stdout, stderr } = await annexfs(t, ['torrent', ...args], { cwd: folder })
    assert.equal(code, wanted, `${args.join(' ')}: ${stderr}`)
    assert.match(stderr, said, args.join(' '))
    assert.doesNotMatch(stderr, /\n {2,}at |undefined/)
    assert.equal(stdout.length, 0)
  }
  for (const name of ['info', 'magnet', 'create', 'download']) {
    const { code, stdout } = await annexfs(t, ['torrent', name, '--help'])
    assert.equal(code, 0)
    assert.match(stdout.toString(), new RegExp(`^Usage: annexfs torrent ${name}`))
    for (const line of stdout.toString().split('\n')) assert.ok(line.length <= 80, line)
  }
  assert.match((await annexfs(t, ['help', 'torrent', 'create'])).stdout.toString(), /^Usage: annexfs torrent create/)
  assert.match((await annexfs(t, ['torrent', '--help'])).stdout.toString(), /^ {2}download +\w/m)
})

test('create writes a whole torrent or none, and over nothing unless told to', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'content'), pseudoRandom(100_000, 'content'))
  const made = await annexfs(
    t,
    ['torrent', 'create', 'content', '-t', 'http://127.0.0.1:1/a,udp://127.0.0.1:2', '-t', 'ws://127.0.0.1:3'],
    { cwd: folder },
  )
  assert.equal(made.code, 0, made.stderr)
  const metainfo = parseMetainfo(await readFile(join(folder, 'content.torrent')))
  assert.deepEqual(metainfo.trackers, [['http://127.0.0.1:1/a', 'udp://127.0.0.1:2'], ['ws://127.0.0.1:3']])
  assert.ok(Math.abs((metainfo.createdAt ?? 0) - Date.now()) < 60_000)
  assert.match(
    made.stdout.toString(),
    new RegExp(`^infohash ${metainfo.infohash}\nmagnet:\\?xt=urn:btih:${metainfo.infohash}&`, 'm'),
  )
  const again = await annexfs(t, ['torrent', 'create', 'content'], { cwd: folder })
  assert.equal(again.code, 2)
  assert.match(again.stderr, /is there already; give --force/)
  const forced = await annexfs(t, ['torrent', 'create', 'content', '--force', '--no-date', '--name=other'], {
    cwd: folder,
  })
  assert.equal(forced.code, 0, forced.stderr)
  await mkdir(join(folder, 'out'))
  assert.equal((await annexfs(t, ['torrent', 'create', 'content', '-o', 'out'], { cwd: folder })).code, 0)
  assert.equal((await annexfs(t, ['torrent', 'create', 'content', '-o', 'new/deep.torrent'], { cwd: folder })).code, 0)
  assert.ok((await stat(join(folder, 'out', 'content.torrent'))).isFile())
  // Interrupted: nothing is left.
  await writeFile(join(folder, 'large'), '')
  await truncate(join(folder, 'large'), 40 * 1024 ** 3)
  const child = spawn(process.execPath, [PROGRAM, 'torrent', 'create', 'large'], { cwd: folder, env: homeOf(folder) })
  await until('it reads', async () => (await openedBy(child.pid ?? 0)).includes(join(folder, 'large')))
  child.kill('SIGINT')
  const [code] = (await once(child, 'exit')) as [number]
  assert.equal(code, 1)
  assert.deepEqual((await readdir(folder)).sort(), [
    'content',
    'content.torrent',
    'large',
    'new',
    'other.torrent',
    'out',
  ])
})

test('what cannot be looked at does not pass for what is not there', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'content'), pseudoRandom(100_000, 'content'))
  await symlink('loop', join(folder, 'loop'))
  for (const [out, why] of [
    ['loop', /cannot look at .*loop: ELOOP/],
    ['loop/x.torrent', /cannot look at .*x\.torrent: ELOOP/],
    ['content/x.torrent', /cannot look at .*x\.torrent: ENOTDIR/],
  ] as const) {
    for (const force of [[], ['--force']]) {
      const made = await annexfs(t, ['torrent', 'create', 'content', '-o', out, ...force], { cwd: folder })
      assert.equal(made.code, 6, `${out}: ${made.stderr}`)
      assert.match(made.stderr, why)
    }
  }
  assert.deepEqual((await readdir(folder)).sort(), ['content', 'loop'])
  const swarm = await swarmOf(t, { a: 1000 })
  const to = join(swarm.folder, 'to')
  await mkdir(to)
  await writeFile(join(to, 'Films'), 'no folder')
  const args = ['torrent', 'download', swarm.file, '--to', to, `--cache-dir=${join(swarm.folder, 'cache')}`]
  const got = await annexfs(t, [...args, '--force', ...swarm.options])
  assert.equal(got.code, 6, got.stderr)
  assert.match(got.stderr, /cannot look at .*Films\/a: ENOTDIR/)
})

test('download gets a whole torrent; done again it fetches nothing', LIMIT, async (t) => {
  const files = { 'film.mkv': 3_000_000, 'sub/a.srt': 1_234, 'sub/empty': 0, 'sub/deep/b': PIECE, z: 1 }
  const swarm = await swarmOf(t, files)
  const to = join(swarm.folder, 'to')
  const cache = `--cache-dir=${join(swarm.folder, 'cache')}`
  const first = await annexfs(t, ['torrent', 'download', swarm.file, '--to', to, cache, ...swarm.options])
  assert.equal(first.code, 0, first.stderr)
  await sameTree(join(to, 'Films'), swarm.root)
  assert.deepEqual(await readdir(to), ['Films'])
  const uploaded = await uploadedBy(swarm)
  const fresh = `--cache-dir=${join(swarm.folder, 'fresh')}`
  const second = await annexfs(t, ['torrent', 'download', swarm.file, '--to', to, fresh, ...swarm.options])
  assert.equal(second.code, 0, second.stderr)
  assert.match(second.stderr, /2\.9 MiB of 2\.9 MiB are there already/)
  assert.equal(await uploadedBy(swarm), uploaded)
})

test('download goes on where it was stopped, killed or damaged', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { 'film.mkv': 8_000_000, note: 100 })
  const to = join(swarm.folder, 'to')
  const parts = join(to, `.annexfs-${swarm.metainfo.infohash}`)
  const args = (cache: string): string[] => [
    'torrent',
    'download',
    swarm.file,
    `--to=${to}`,
    `--cache-dir=${join(swarm.folder, cache)}`,
    ...swarm.options,
  ]
  for (const [signal, wanted] of [
    ['SIGINT', 1],
    ['SIGKILL', null],
  ] as const) {
    const child = spawn(process.execPath, [PROGRAM, ...args(signal), '--download-limit=1500KiB'], {
      env: homeOf(swarm.folder),
      stdio: 'ignore',
    })
    const size = async (): Promise<number> => (await stat(join(parts, '0')).catch(() => undefined))?.size ?? 0
    const before = await size()
    for (let i = 0; i < 2_400 && (await size()) < before + 700_000; i++) await sleep(25)
    child.kill(signal)
    const [code] = (await once(child, 'exit')) as [number | null]
    assert.equal(code, wanted)
    const named = await readdir(join(to, 'Films')).catch((): string[] => [])
    assert.ok(!named.includes('film.mkv'), 'nothing has its name before it is whole')
  }
  const part = await open(join(parts, '0'), 'r+')
  const had = (await part.stat()).size
  await part.write(Buffer.from('damage'), 0, 6, PIECE + 5)
  await part.close()
  const uploaded = await uploadedBy(swarm)
  const last = await annexfs(t, args('last'), { timeout: 120_000 })
  assert.equal(last.code, 0, last.stderr)
  await sameTree(join(to, 'Films'), swarm.root)
  const fetched = (await uploadedBy(swarm)) - uploaded
  assert.ok(fetched <= 8_000_100 - had + 20 * PIECE, `fetched ${fetched} though ${had} were there`)
})

test('download of chosen files writes no others and fetches little more', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { 'a/one.mkv': 400_000, 'a/one.srt': 50, 'b/two.mkv': 2_000_000, 'c/x{1}': 10 })
  const rows = [
    [['*.srt'], ['a', 'a/one.srt']],
    [['a'], ['a', 'a/one.mkv', 'a/one.srt']],
    [
      ['a/*.mkv', 'c/x[{]?}'],
      ['a', 'a/one.mkv', 'c', 'c/x{1}'],
    ],
    [['**/*.{srt,foo}'], ['a', 'a/one.srt']],
  ] as const
  for (const [index, [globs, names]] of rows.entries()) {
    const to = join(swarm.folder, `to${index}`)
    const select = globs.flatMap((glob) => ['--select', glob])
    const cache = `--cache-dir=${join(swarm.folder, 'cache')}`
    const { code, stderr } = await annexfs(t, [
      'torrent',
      'download',
      swarm.file,
      '--to',
      to,
      cache,
      ...select,
      ...swarm.options,
    ])
    assert.equal(code, 0, stderr)
    assert.deepEqual((await readdir(join(to, 'Films'), { recursive: true })).sort(), [...names])
    for (const name of names) {
      if (!(await lstat(join(to, 'Films', name))).isFile()) continue
      assert.ok((await readFile(join(to, 'Films', name))).equals(await readFile(join(swarm.root, name))))
    }
  }
  assert.ok((await uploadedBy(swarm)) < 1_500_000, 'the large file was not fetched')
  const none = await annexfs(t, [
    'torrent',
    'download',
    swarm.file,
    '--to',
    swarm.folder,
    '--select',
    '*.iso',
    ...swarm.options,
  ])
  assert.equal(none.code, 3)
  assert.match(none.stderr, /no file of Films is selected/)
})

test('download leaves what is something else alone, and takes what is right wherever it is from', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { a: 100_000, b: 100_000, c: 100_000 })
  const to = join(swarm.folder, 'to')
  const args = [
    'torrent',
    'download',
    swarm.file,
    '--to',
    to,
    `--cache-dir=${join(swarm.folder, 'cache')}`,
    ...swarm.options,
  ]
  await cp(swarm.root, join(to, 'Films'), { recursive: true })
  await rm(join(to, 'Films', 'c'))
  const other = Buffer.alloc(100_000, 1)
  await writeFile(join(to, 'Films', 'b'), other)
  const refused = await annexfs(t, args)
  assert.equal(refused.code, 3, refused.stderr)
  assert.match(refused.stderr, /Films\/b is there and is not what the torrent has/)
  assert.ok((await readFile(join(to, 'Films', 'b'))).equals(other))
  // Another length, a folder, a link.
  await writeFile(join(to, 'Films', 'b'), 'short')
  assert.equal((await annexfs(t, args)).code, 3)
  await rm(join(to, 'Films', 'b'))
  const outside = join(swarm.folder, 'outside')
  await writeFile(outside, other)
  await symlink(outside, join(to, 'Films', 'b'))
  assert.equal((await annexfs(t, args)).code, 3)
  const forced = await annexfs(t, [...args, '--force'])
  assert.equal(forced.code, 0, forced.stderr)
  await sameTree(join(to, 'Films'), swarm.root)
  assert.ok((await readFile(outside)).equals(other), 'a link is replaced, not followed')
})

test('download of a magnet link gets the metadata from peers; names that lead elsewhere do not', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { x: 200_000 })
  const magnet = `magnet:?xt=urn:btih:${swarm.metainfo.infohash}`
  const to = join(swarm.folder, 'to')
  const cache = `--cache-dir=${join(swarm.folder, 'cache')}`
  const { code, stderr } = await annexfs(t, ['torrent', 'download', magnet, '--to', to, cache, ...swarm.options])
  assert.equal(code, 0, stderr)
  await sameTree(join(to, 'Films'), swarm.root)
  const evil = join(swarm.folder, 'evil.torrent')
  const files = [
    { length: 0, path: ['..', '..', 'escaped'] },
    { length: 0, path: ['/etc/passwd'] },
    { length: 0, path: ['link'], attr: 'l', 'symlink path': ['..', '..', 'etc', 'passwd'] },
  ]
  await writeFile(evil, encodeBencode({ info: { files, name: '..', 'piece length': PIECE, pieces: '' } }))
  const safe = join(swarm.folder, 'safe', 'below')
  const done = await annexfs(t, ['torrent', 'download', evil, '--to', safe, cache, ...swarm.options])
  assert.equal(done.code, 0, done.stderr)
  assert.deepEqual(await readdir(join(swarm.folder, 'safe')), ['below'])
  const names = (await readdir(safe, { recursive: true })).sort()
  assert.ok(names.includes('\\x2e./\\x2e./\\x2e./escaped'), names.join(' '))
  assert.ok(names.includes('\\x2e./\\x2fetc\\x2fpasswd'), names.join(' '))
  assert.ok(!names.some((name) => name.endsWith('link')), 'a link that leads nowhere in the torrent is left out')
})

test('download that gets nothing ends with exit code 4 after its patience', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 100_000, pieceLength: PIECE })
  const to = await temporaryFolder(t)
  const args = ['--to', to, '--patience=2s', '--read-timeout=1s', `--cache-dir=${join(to, 'cache')}`, ...AT_HOME]
  for (const source of [torrent.file, `magnet:?xt=urn:btih:${torrent.metainfo.infohash}`]) {
    const { code, stderr } = await annexfs(t, ['torrent', 'download', source, ...args], { timeout: 120_000 })
    assert.equal(code, 4, stderr)
    assert.doesNotMatch(stderr, /\n {2,}at /)
  }
})

test('--seed goes on serving others after the end, until it is told to stop', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { x: 2_000_000 })
  const to = join(swarm.folder, 'to')
  const child = spawn(
    process.execPath,
    [
      PROGRAM,
      'torrent',
      'download',
      swarm.file,
      '--to',
      to,
      '--seed',
      `--cache-dir=${join(swarm.folder, 'cache')}`,
      '--port=38123',
      ...swarm.options,
    ],
    { env: homeOf(swarm.folder), stdio: ['ignore', 'ignore', 'pipe'] },
  )
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stderr.on('data', (text: Buffer) => (said += text.toString()))
  for (let i = 0; i < 1_200 && !said.includes('serving peers'); i++) await sleep(50)
  assert.match(said, /serving peers/)
  await swarm.peer.stop()
  const leech = await startLibtorrent(t, { host: '127.0.0.99', torrent: { file: swarm.file, folder: to }, seed: false })
  await leech.connect('127.0.0.1', 38123)
  let total = 0
  for (let i = 0; i < 900 && total < 2_000_000; i++) {
    await sleep(100)
    total = (await leech.status()).downloaded
  }
  assert.ok(total >= 2_000_000, `the other peer got ${total}`)
  child.kill('SIGINT')
  const [code] = (await once(child, 'exit')) as [number]
  assert.equal(code, 0, said)
})

test('on a terminal of 80 columns progress is one line with percent, rate and time left', LIMIT, async (t) => {
  const swarm = await swarmOf(t, { 'film.mkv': 6_000_000 })
  const to = join(swarm.folder, 'to')
  const words = [
    process.execPath,
    PROGRAM,
    'torrent',
    'download',
    swarm.file,
    '--to',
    to,
    '--download-limit=1500KiB',
    ...swarm.options,
  ]
  const line = `stty cols 80; exec ${words.map((word) => `'${word}'`).join(' ')}`
  const { code, stdout } = await runProgram('script', ['-qec', line, '/dev/null'], { env: homeOf(swarm.folder) })
  assert.equal(code, 0, stdout.toString())
  // oxlint-disable-next-line no-control-regex -- what a terminal is told besides text
  const shown = stdout.toString().split(/[\r\n]|\u001b\[[\d;?]*[A-Za-z]|\u001b[78]/)
  const bars = shown.filter((text) => text.startsWith('fetching'))
  assert.ok(bars.length >= 3, stdout.toString())
  // What waits long is said beside it, whole.
  for (const text of shown) assert.ok(text.length < 80 || text.startsWith('annexfs: reading '), text)
  assert.ok(
    bars.some((text) =>
      /^fetching \[#*-*\] +\d+% {2}[\d.]+ \w+ of 5\.7 MiB {2}[\d.]+ \w+\/s {2}\d+:\d\d {2}1 peer$/.test(text),
    ),
    bars.join('\n'),
  )
  await rename(join(to, 'Films', 'film.mkv'), join(to, 'kept'))
})
