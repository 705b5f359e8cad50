import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld } from '../support/annex.js'
import { annexfs } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const COMMANDS = [
  'mount',
  'unmount',
  'serve',
  'stop',
  'status',
  'ls',
  'cat',
  'get',
  'whereis',
  'pin',
  'evict',
  'cache',
  'manifest',
  'doctor',
]

/** Programs mostly wait while they start: three at a time. */
async function sideBySide<T>(rows: readonly T[], check: (row: T) => Promise<void>): Promise<void> {
  const left = [...rows]
  const worker = async (): Promise<void> => {
    for (let row = left.shift(); row !== undefined; row = left.shift()) await check(row)
  }
  await Promise.all([worker(), worker(), worker()])
}

/** Bad input is answered by a line or two for people, never by a stack trace. */
function assertPlain(stderr: string, what: string): void {
  assert.match(stderr, /^(annexfs: [^\n]+\n)+(See annexfs \w+ --help\n)?$/, what)
  assert.doesNotMatch(stderr, /\n {2,}at |node:internal|TypeError|ReferenceError|undefined/, what)
}

test('--help of the program and of each command is printed, with exit code 0', LIMIT, async (t) => {
  const main = await annexfs(t, ['--help'])
  assert.equal(main.code, 0)
  for (const command of COMMANDS) {
    assert.match(main.stdout.toString(), new RegExp(`^ {2}${command} `, 'm'))
    const forms = [
      [command, '--help'],
      ...(command === 'ls'
        ? [
            [command, '-h'],
            ['help', command],
          ]
        : []),
    ]
    for (const args of forms) {
      const { code, stdout, stderr } = await annexfs(t, args)
      assert.equal(code, 0, args.join(' '))
      assert.match(stdout.toString(), new RegExp(`^Usage: annexfs ${command}`))
      assert.equal(stderr, '')
      for (const line of stdout.toString().split('\n')) assert.ok(line.length <= 80, line)
    }
  }
  assert.match((await annexfs(t, ['--version'])).stdout.toString(), /^annexfs \d+\.\d+\.\d+\n$/)
  assert.equal((await annexfs(t, [])).code, 2)
})

test('a wrong command line is exit code 2 and a line that says what is wrong', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const at = join(folder, 'mnt')
  const torrents = join(folder, 'torrents')
  await mkdir(at)
  await mkdir(torrents)
  const cache = `--cache-dir=${join(folder, 'cache')}`
  const rows = [
    [['frobnicate'], /no command "frobnicate"/],
    [['help', 'frobnicate'], /no command "frobnicate"/],
    [['mount'], /at least one SOURCE and a MOUNTPOINT/],
    [['mount', folder], /at least one SOURCE and a MOUNTPOINT/],
    [['mount', folder, folder, '--frobnicate'], /no option --frobnicate/],
    [['mount', folder, folder, '--frobnicate=1'], /no option --frobnicate/],
    [['mount', folder, folder, '-z'], /no option -z/],
    [['mount', folder, folder, '--no-frobnicate'], /no option --no-frobnicate/],
    [['ls', folder, '--allow-other'], /no option --allow-other/],
    [['mount', folder, folder, '--cache-size', 'lots'], /--cache-size wants a size .*"lots"/],
    [['mount', folder, folder, '--cache-size=-5'], /--cache-size wants a size/],
    [['mount', folder, folder, '--cache-size=1e9'], /--cache-size wants a size/],
    [['mount', folder, folder, '--cache-size=99999999999TB'], /--cache-size wants a size/],
    [['mount', folder, folder, '--cache-size'], /--cache-size wants a value/],
    [['mount', folder, folder, '--cache-size='], /--cache-size wants a value/],
    [['mount', folder, folder, '--cache-size=1G', '--cache-size=2G'], /--cache-size was given 2 times/],
    [['mount', folder, folder, '--read-timeout', 'soon'], /--read-timeout wants a time .*"soon"/],
    [['mount', folder, folder, '--read-timeout', '0'], /--read-timeout wants a time/],
    [['mount', folder, folder, '--read-timeout', '25h'], /--read-timeout wants a time/],
    [['mount', folder, folder, '--readahead', '1 parsec'], /--readahead wants a size/],
    [['mount', folder, folder, '--verify', 'maybe'], /--verify wants one of normal, strict/],
    [['mount', folder, folder, '--log-level', 'loud'], /--log-level wants one of/],
    [['mount', folder, folder, '--port', '65536'], /--port wants a whole number/],
    [['mount', folder, folder, '--port', '1.5'], /--port wants a whole number/],
    [['mount', folder, folder, '--max-connections', '0'], /--max-connections wants a whole number/],
    [['mount', torrents, at, cache, '--peer', 'nonsense'], /peer/],
    [['mount', torrents, at, cache, '--allow-address', 'nonsense'], /nonsense/],
    [['mount', torrents, at, cache, '--allow-address', '127.0.0.0/99'], /127\.0\.0\.0\/99/],
    [['mount', '', folder], /SOURCE is empty/],
    [['unmount'], /one MOUNTPOINT/],
    [['unmount', folder, folder], /one MOUNTPOINT/],
    [['stop', 'http://x/', 'http://y/'], /at most one URL/],
    [['stop', 'http://x:y/'], /stop wants a URL/],
    [['serve', '--daemon'], /at least one SOURCE/],
    [['ls'], /a SOURCE/],
    [['ls', folder, 'a', 'b'], /at most one PATH/],
    [['ls', folder, '../x'], /".."/],
    [['cat', folder], /a SOURCE and one PATH/],
    [['cat', folder, 'x', '--offset', 'far'], /--offset wants a size/],
    [['cat', folder, 'x', '--length=-1'], /--length wants a/],
    [['cache'], /info, check, clear/],
    [['cache', 'burn'], /info, check, clear/],
    [['cache', 'info', 'more'], /info, check, clear/],
    [['ls', torrents, cache, '--ref', 'v1'], /--ref/],
  ] as const
  await sideBySide(rows, async ([args, said]) => {
    const { code, stdout, stderr } = await annexfs(t, args)
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`)
    assert.match(stderr, said, args.join(' '))
    assertPlain(stderr, args.join(' '))
    assert.equal(stdout.length, 0)
  })
})

test('what is not there, or is not what it should be, is exit code 3 and said plainly', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { file: 'x', 'd/e': 'y' })
  const folder = join(world.folder, 'folder')
  await mkdir(folder)
  await writeFile(join(folder, 'text'), 'x')
  await writeFile(join(folder, 'broken.torrent'), 'x')
  const cache = ['--cache-dir', join(world.folder, 'cache')]
  const rows = [
    [['ls', join(folder, 'nothing')], /no such file|ENOENT/i],
    [['ls', join(folder, 'text')], /neither a git repository nor torrents/],
    [['ls', '/dev/null'], /neither a git repository nor torrents/],
    [['ls', '/usr/share/doc'], /neither a git repository nor torrents/],
    [['ls', join(folder, 'broken.torrent')], /broken\.torrent/],
    [['ls', 'magnet:?xt=urn:btih:zz'], /magnet/],
    [['ls', repository, 'nowhere'], /has no \/nowhere/],
    [['ls', repository, 'file/below'], /has no|not a folder/],
    [['cat', repository, 'nowhere'], /has no \/nowhere/],
    [['cat', repository, 'd'], /not a file/],
    [['mount', repository, join(folder, 'nothing')], /nothing/],
    [['mount', repository, join(folder, 'text')], /text/],
    [['unmount', folder], /nothing is mounted|not of annexfs/],
    [['unmount', '/'], /nothing is mounted|not of annexfs/],
    [['unmount', join(folder, 'nothing')], /nothing/],
  ] as const
  await sideBySide(rows, async ([args, said]) => {
    const { code, stderr } = await annexfs(t, [...args, ...(args[0] === 'unmount' ? [] : cache)])
    assert.equal(code, 3, `${args.join(' ')}: ${stderr}`)
    assert.match(stderr, said, args.join(' '))
    assertPlain(stderr, args.join(' '))
  })
})

test('options may stand anywhere, with = or a space; -- ends them', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.write('a', '--long', 'dashes')
  await world.write('a', 'd/x', 'below')
  await world.git('a', 'annex', 'add', '--quiet', '--', '--long', 'd/x')
  await world.git('a', 'commit', '--quiet', '-m', 'add')
  await world.git('a', 'tag', 'v1')
  const cache = join(world.folder, 'cache')
  for (const args of [
    ['ls', '--ref', 'v1', repository, '--cache-dir', cache],
    ['ls', `--cache-dir=${cache}`, repository, '--ref=v1', '--no-dht', '--no-seed', '--no-webseeds'],
    ['ls', '--no-trackers', '--cache-dir', cache, '--ref', 'v1', '--', repository, '/'],
  ]) {
    const { code, stdout, stderr } = await annexfs(t, args)
    assert.equal(code, 0, stderr)
    assert.equal(stdout.toString(), '--long\nd\n')
  }
  const { stdout } = await annexfs(t, ['cat', '--cache-dir', cache, '--', repository, '--long'])
  assert.equal(stdout.toString(), 'dashes')
  const numeric = await annexfs(t, ['cat', '--cache-dir', cache, repository, '0123'])
  assert.match(numeric.stderr, /has no \/0123/, 'numbers stay text')
})
