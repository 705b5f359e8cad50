import assert from 'node:assert/strict'
import { chmod, chown, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { configured, type ConfiguredGiven, type Places } from '../../cmd/config-layers.js'
import { readConfigFile } from '../../cmd/config-file.js'
import { settingsSchema } from '../../cmd/config-schema.js'
import type { Command } from '../../cmd/help.js'
import { parseArguments, SOURCE_OPTIONS } from '../../cmd/options.js'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { annexWorld } from '../support/annex.js'
import { annexfs, mountSession, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const MOUNT: Command = {
  name: 'mount',
  summary: '',
  usage: [],
  description: '',
  options: [{ name: 'allow-other', help: '' }, { name: 'daemon', help: '' }, ...SOURCE_OPTIONS],
  run: () => Promise.resolve(0),
}
const SCHEMA = settingsSchema([MOUNT])
const NOTHING = { sources: [], mountpoint: undefined }

interface World {
  readonly folder: string
  readonly places: Places
  readonly given: (argv: readonly string[], environment?: NodeJS.ProcessEnv) => Promise<ConfiguredGiven>
}

async function world(t: TestContext): Promise<World> {
  const folder = await temporaryFolder(t)
  const places = { userFile: join(folder, 'user.toml'), systemFile: join(folder, 'system.toml'), environment: {} }
  return {
    folder,
    places,
    given: async (argv, environment = {}) => {
      const { given, notices } = await configured(parseArguments(argv, MOUNT.options), MOUNT, [MOUNT], {
        ...places,
        environment,
      })
      assert.deepEqual(notices, [])
      return given
    },
  }
}

async function refused(promise: Promise<unknown>, code: ErrorCode, said: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isAnnexfsError(error, code), String(error))
    assert.match(error.message, said)
    return true
  })
}

test('each setting is that of the first place that has it, and says from where', LIMIT, async (t) => {
  const { places, given } = await world(t)
  await writeFile(
    places.systemFile,
    'cache-size = "1GiB"\nreadahead = "1MiB"\nverify = "strict"\nport = 1000\nno-dht = true\n',
  )
  await writeFile(places.userFile, '# mine\ncache-size = "2GiB"\nreadahead = "2MiB"\nport = 2000\n')
  const argv = ['--cache-size', '4GiB', 'source', 'mountpoint']
  const found = await given(argv, { ANNEXFS_CACHE_SIZE: '3GiB', ANNEXFS_READAHEAD: '3MiB' })
  for (const [name, value, origin] of [
    ['cache-size', '4GiB', 'command line'],
    ['readahead', '3MiB', 'environment ANNEXFS_READAHEAD'],
    ['port', '2000', `${places.userFile}:4`],
    ['verify', 'strict', `${places.systemFile}:3`],
    ['min-free', '1GiB', 'default'],
  ] as const) {
    assert.deepEqual([found.get(name), found.origin(name)], [value, origin], name)
  }
  assert.deepEqual([found.has('no-dht'), found.origin('no-dht')], [true, `${places.systemFile}:5`])
  assert.deepEqual([found.has('no-lsd'), found.origin('no-lsd')], [false, 'default'])
})

test('--config, and ANNEXFS_CONFIG, stand for all other files', LIMIT, async (t) => {
  const { folder, places, given } = await world(t)
  await writeFile(places.systemFile, 'cache-size = "1GiB"\n')
  const own = join(folder, 'own.toml')
  await writeFile(own, 'readahead = "2MiB"\n')
  for (const found of [await given(['--config', own, 'a', 'b']), await given(['a', 'b'], { ANNEXFS_CONFIG: own })]) {
    assert.deepEqual([found.get('readahead'), found.get('cache-size')], ['2MiB', '10GiB'])
  }
  assert.equal((await given(['--config', '/dev/null', 'a', 'b'])).get('cache-size'), '10GiB')
  await refused(given(['--config', join(folder, 'nothing.toml'), 'a', 'b']), 'NOT_FOUND', /nothing\.toml/)
  await refused(given(['--config', folder, 'a', 'b']), 'INVALID', /is a folder/)
})

test('switches can be turned off and on again, lists are replaced', LIMIT, async (t) => {
  const { places, given } = await world(t)
  await writeFile(
    places.userFile,
    'dht = false\nno-lsd = true\nrecursive = true\nallow-other = true\npeer = ["127.0.0.1:1", "127.0.0.1:2"]\nallow-address = "10.0.0.0/8"\n',
  )
  const found = await given(['a', 'b'])
  for (const name of ['no-dht', 'no-lsd', 'recursive', 'allow-other']) assert.equal(found.has(name), true, name)
  assert.deepEqual(found.all('peer'), ['127.0.0.1:1', '127.0.0.1:2'])
  assert.deepEqual(found.all('allow-address'), ['10.0.0.0/8'])
  const undone = await given([
    '--dht',
    '--lsd',
    '--no-recursive',
    '--no-allow-other',
    '--peer',
    '127.0.0.1:3',
    'a',
    'b',
  ])
  for (const name of ['no-dht', 'no-lsd', 'recursive', 'allow-other']) {
    assert.deepEqual([undone.has(name), undone.origin(name)], [false, 'command line'], name)
  }
  assert.deepEqual(undone.all('peer'), ['127.0.0.1:3'])
  const environment = await given(['a', 'b'], {
    ANNEXFS_DHT: 'yes',
    ANNEXFS_NO_LSD: '0',
    ANNEXFS_PEER: ' 127.0.0.1:4  127.0.0.1:5 ',
  })
  assert.deepEqual([environment.has('no-dht'), environment.has('no-lsd')], [false, false])
  assert.deepEqual(environment.all('peer'), ['127.0.0.1:4', '127.0.0.1:5'])
  assert.throws(() => parseArguments(['--dht', '--no-dht'], MOUNT.options), /opposite/)
})

test('tables for one SOURCE and one MOUNTPOINT count there alone, the mount before the source', LIMIT, async (t) => {
  const { folder, places, given } = await world(t)
  await writeFile(
    places.userFile,
    `cache-size = "1GiB"
readahead = "1MiB"
port = 1
[source."${folder}/a"]
readahead = "2MiB"
port = 2
[mount."${folder}/mnt"]
port = 3
[source."https://host.example/x.git"]
ref = "v1"
`,
  )
  const values = async (...argv: string[]): Promise<(string | undefined)[]> => {
    const found = await given(argv)
    return ['cache-size', 'readahead', 'port', 'ref'].map((name) => found.get(name))
  }
  assert.deepEqual(await values('x', `${folder}/other`), ['1GiB', '1MiB', '1', undefined])
  assert.deepEqual(await values(`${folder}/a`, `${folder}/other`), ['1GiB', '2MiB', '2', undefined])
  assert.deepEqual(await values(`${folder}/b/../a/`, `${folder}/mnt/`), ['1GiB', '2MiB', '3', undefined])
  assert.deepEqual(await values('https://host.example/x.git', 'm'), ['1GiB', '1MiB', '1', 'v1'])
  assert.equal((await given([`${folder}/a`, `${folder}/mnt`])).origin('port'), `${places.userFile}:8`)
})

test('what is wrong in a file is said with its file and line', LIMIT, async (t) => {
  const { places, given } = await world(t)
  const rows = [
    ['\n\ncache-sise = "1GiB"', ':3: there is no setting "cache-sise"'],
    ['a = 1\n', ':1: there is no setting "a"'],
    ['daemon = true', ':1: there is no setting "daemon"'],
    ['config = "x"', ':1: there is no setting "config"'],
    ['verify = "strict"\ncache-size = true', ':2: cache-size wants a text (SIZE), not true'],
    ['cache-size = ["1GiB"]', ':1: cache-size wants a text (SIZE), not a list'],
    ['cache-size = "lots"', ':1: cache-size wants a size'],
    ['cache-size = -1', ':1: cache-size wants a text'],
    ['cache-size = ""', ':1: cache-size wants a text'],
    ['read-timeout = "soon"', ':1: read-timeout wants a time'],
    ['verify = "maybe"', ':1: verify wants one of normal, strict'],
    ['no-dht = "yes"', ':1: no-dht wants true or false, not "yes"'],
    ['recursive = 1', ':1: recursive wants true or false, not 1'],
    ['cache-size = false', ':1: cache-size wants a text'],
    ['no-cache-size = true', ':1: there is no setting "no-cache-size"'],
    ['peer = [1.5, {}]', ':1: peer wants a list of texts (HOST:PORT), not a table'],
    ['mount = 1', ':1: mount is a table'],
    ['[mount]\nverify = "strict"', ':2: in [mount] there are only tables'],
    ['# x\n[mount."/mnt"]\nverify = "no"\n', ':3: verify wants one of'],
    ['[mount."/mnt"]\nx = 1', ':2: there is no setting "x"'],
    ['verify = "strict"\nverify = "normal"', ':2: '],
    ['verify = strict', ':1: '],
    ['verify = "strict', ':1: '],
    ['ref = 2026-01-01', ':1: ref wants a text (REF), not a date'],
    ['log-level = """\ncache-size = "1"\n"""\nfoo = 1', /:\d: (there is no setting "foo"|log-level wants)/],
  ] as const
  for (const [text, said] of rows) {
    await writeFile(places.userFile, text)
    await assert.rejects(given(['a', 'b']), (error) => {
      assert.ok(isAnnexfsError(error, 'USAGE'), `${text}: ${String(error)}`)
      if (typeof said === 'string')
        assert.ok(error.message.startsWith(`${places.userFile}${said}`), `${text}: ${error.message}`)
      else assert.match(error.message, said)
      return true
    })
  }
  await refused(given(['a', 'b'], { ANNEXFS_VERIFY: 'x' }), 'USAGE', /ANNEXFS_VERIFY: verify wants/)
})

test('a file of somebody else, or that everybody can write, is refused; others may be links', LIMIT, async (t) => {
  const { folder, places, given } = await world(t)
  await writeFile(places.userFile, 'verify = "strict"\n')
  await chmod(places.userFile, 0o666)
  await refused(given(['a', 'b']), 'FORBIDDEN', /can be written by everybody.*chmod/)
  await chmod(places.userFile, 0o644)
  assert.equal((await given(['a', 'b'])).get('verify'), 'strict')
  if (process.getuid?.() === 0) {
    await chown(places.userFile, 12_345, 12_345)
    await refused(given(['a', 'b']), 'FORBIDDEN', /belongs to user 12345/)
    await chown(places.userFile, 0, 0)
  }
  await symlink(places.userFile, join(folder, 'link.toml'))
  const linked = await readConfigFile(join(folder, 'link.toml'), SCHEMA, NOTHING, 'mine')
  assert.deepEqual(
    linked.map(({ name }) => name),
    ['verify'],
  )
  await writeFile(places.userFile, `#${'x'.repeat(1024 * 1024)}`)
  await refused(given(['a', 'b']), 'INVALID', /larger than/)
})

test(
  "git's configuration of the repository, of the user and of the system counts, and nothing committed",
  LIMIT,
  async (t) => {
    const annex = await annexWorld(t)
    const repository = await annex.repository('a')
    await annex.write('a', 'committed', '[annexfs]\n\tport = 7777\n')
    await annex.git('a', 'config', 'annexfs.cacheSize', '1GiB')
    await annex.git('a', 'config', 'annexfs.read-timeout', '7s')
    await annex.git('a', 'config', 'annexfs.dht', 'false')
    await annex.git('a', 'config', '--add', 'annexfs.peer', '127.0.0.1:1')
    await annex.git('a', 'config', '--add', 'annexfs.peer', '127.0.0.1:2')
    await annex.git('a', 'config', 'include.path', '../committed')
    const env = {
      HOME: annex.folder,
      GIT_CONFIG_SYSTEM: join(annex.folder, 'system.gitconfig'),
      GIT_CONFIG_NOSYSTEM: '0',
    }
    await writeFile(
      join(annex.folder, '.gitconfig'),
      '[annexfs]\n\tcacheSize = 2GiB\n\treadahead = 2MiB\n\tminFree = 5MiB\n',
    )
    await writeFile(env.GIT_CONFIG_SYSTEM, '[annexfs]\n\tmax-connections = 9\n\treadahead = 3MiB\n\tlearnSizes\n')
    await mkdir(join(annex.folder, '.config', 'annexfs'), { recursive: true })
    await writeFile(
      join(annex.folder, '.config', 'annexfs', 'annexfs.toml'),
      'readahead = "4MiB"\nmax-connections = 8\n',
    )
    const rows = async (...places: string[]): Promise<Map<string, { value: unknown; origin: string }>> => {
      const { code, stdout, stderr } = await annexfs(t, ['config', '--json', ...places], { env })
      assert.equal(code, 0, stderr)
      const list = JSON.parse(stdout.toString()) as { name: string; value: unknown; origin: string }[]
      return new Map(list.map((row) => [row.name, row]))
    }
    const one = await rows(repository, '/mnt')
    for (const [name, value, origin] of [
      ['cache-size', '1GiB', /a\/\.git\/config: annexfs\.cachesize$/],
      ['read-timeout', '7s', /a\/\.git\/config/],
      ['no-dht', true, /a\/\.git\/config/],
      ['peer', ['127.0.0.1:1', '127.0.0.1:2'], /a\/\.git\/config/],
      ['readahead', '2MiB', /\.gitconfig/],
      ['min-free', '5MiB', /\.gitconfig/],
      ['max-connections', '8', /annexfs\.toml:2$/],
      ['learn-sizes', true, /system\.gitconfig/],
      ['port', '0', /^default$/],
    ] as const) {
      assert.deepEqual(one.get(name)?.value, value, name)
      assert.match(one.get(name)?.origin ?? '', origin)
    }
    // Of several SOURCEs none decides for the others.
    assert.equal((await rows(repository, annex.folder, '/mnt')).get('cache-size')?.value, '2GiB')
    await annex.git('a', 'config', 'annexfs.cacheSise', '1GiB')
    const wrong = await annexfs(t, ['ls', repository], { env })
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, /a\/\.git\/config: annexfs\.cachesise: there is no setting "cachesise"/)
  },
)

test('settings in a repository that belongs to somebody else do not count, and that is said', LIMIT, async (t) => {
  if (process.getuid?.() !== 0) return t.skip('only root can give a repository to somebody else')
  const annex = await annexWorld(t)
  const repository = await annex.repository('a')
  await annex.addAnnexed('a', { file: 'x' })
  await annex.git('a', 'config', 'annexfs.allowAddress', 'all')
  await annex.git('a', 'config', 'annexfs.listen', '0.0.0.0:1')
  await runProgram('chown', ['-R', '12345', join(repository, '.git')])
  const { code, stdout, stderr } = await annexfs(t, ['config', '--json', repository, '/mnt'], {})
  assert.equal(code, 0, stderr)
  assert.match(stdout.toString(), /"name": "allow-address",\s+"value": \[\],\s+"origin": "default"/)
  const listed = await annexfs(t, ['ls', repository])
  assert.equal(listed.code, 0, listed.stderr)
  assert.match(listed.stderr, /warn: .*\.git\/config is not yours alone, so its annexfs settings do not count/)
})

test(
  'config prints TOML that gives the same settings again, and values out of range with their place',
  LIMIT,
  async (t) => {
    const folder = await temporaryFolder(t)
    const file = join(folder, 'annexfs.toml')
    await writeFile(
      file,
      'cache-dir = "/tmp/with \\"quotes\\" and \\t tab"\npeer = ["127.0.0.1:1"]\nno-dht = true\nmax-connections = 7\n',
    )
    const first = await annexfs(t, ['config', '--config', file])
    assert.equal(first.code, 0, first.stderr)
    assert.match(first.stdout.toString(), new RegExp(`^max-connections = "7" +# ${file}:4$`, 'm'))
    const again = join(folder, 'again.toml')
    await writeFile(again, first.stdout)
    const second = await annexfs(t, ['config', '--config', again])
    const bare = (text: Buffer): string => text.toString().replace(/ +# .*$/gm, '')
    assert.equal(second.code, 0, second.stderr)
    assert.equal(bare(second.stdout), bare(first.stdout))
    await writeFile(file, '\nmax-connections = 0\n')
    const wrong = await annexfs(t, ['config', '--config', file])
    assert.equal(wrong.code, 2)
    assert.match(wrong.stderr, new RegExp(`${file}:2: max-connections wants a whole number`))
  },
)

test('the examples of the documentation are taken as they are', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const text = await readFile(new URL('../../../doc/CONFIGURATION.md', import.meta.url), 'utf8')
  const examples = Array.from(text.matchAll(/^```toml\n([^]*?)^```$/gm))
  assert.ok(examples.length > 0)
  const file = join(folder, 'example.toml')
  for (const [, example = ''] of examples) {
    await writeFile(file, example)
    const about = { sources: ['/srv/repositories/films'], mountpoint: '/mnt/films' }
    const settings = await readConfigFile(file, SCHEMA, about, 'any')
    const values = new Map(settings.map(({ name, value }) => [name, value]))
    assert.deepEqual(values.get('cache-size'), ['200GiB'])
    assert.equal(values.get('recursive'), true)
    assert.equal(values.get('no-dht'), true)
    assert.equal(values.has('ref'), false)
  }
})

test('a mount takes its settings from files, and logs JSON without secrets when they say so', LIMIT, async (t) => {
  const annex = await annexWorld(t)
  const repository = await annex.repository('a')
  await annex.addAnnexed('a', { file: 'content' })
  await annex.git('a', 'remote', 'add', 'web', 'http://user:c4n4ry@127.0.0.1:9/x.git')
  const config = join(annex.folder, 'annexfs.toml')
  await writeFile(config, 'log-format = "json"\nlog-level = "debug"\n')
  const session = await mountSession(t, [repository], { options: ['--config', config] })
  await session.logged(/mounted/)
  assert.equal(await session.stop(), 0)
  const lines = session.log().trim().split('\n')
  for (const line of lines) {
    const parsed = JSON.parse(line) as Record<string, unknown>
    assert.deepEqual(Object.keys(parsed).slice(0, 3), ['time', 'level', 'msg'])
  }
  assert.ok(!session.log().includes('c4n4ry'))
  const failed = await annexfs(t, ['ls', join(annex.folder, 'nothing'), '--config', config])
  assert.equal(failed.code, 3)
  const last = JSON.parse(failed.stderr.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
  assert.equal(last['level'], 'error')
  assert.match(String(last['msg']), /nothing/)
})

test('a SOURCE with a password is shown without it, in log, errors and the table of mounts', LIMIT, async (t) => {
  const { code, stderr } = await annexfs(t, [
    'ls',
    'https://user:c4n4ry-pw@127.0.0.1:9/x.git?token=c4n4ry-tk',
    '--log-level=debug',
  ])
  assert.notEqual(code, 0)
  assert.match(stderr, /127\.0\.0\.1:9/)
  assert.doesNotMatch(stderr, /c4n4ry/)
})
