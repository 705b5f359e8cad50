import assert from 'node:assert/strict'
import { chmod, chown, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { isOwn, runConfigured } from '../../lib/annex/command.js'
import { bandwidthOf, limitsOf } from '../../lib/annex/limits.js'
import { headerLines, networkSettings } from '../../lib/annex/network.js'
import { listRemotes, type RunCommand } from '../../lib/annex/remotes.js'
import { annexBytes, annexDuration } from '../../lib/annex/units.js'
import { userHeaders } from '../../lib/annex/user-headers.js'
import { GitConfig } from '../../lib/git/config.js'
import { silentLog } from '../../lib/log/log.js'
import { temporaryFolder } from '../support/temp.js'

function configOf(settings: Readonly<Record<string, string | readonly string[]>>): GitConfig {
  const lines = Object.entries(settings).flatMap(([name, values]) =>
    [values].flat().map((value) => `${name}\n${value}\0`),
  )
  return new GitConfig(Buffer.from(lines.join('')))
}

test('sizes and times are read as git-annex writes them', () => {
  const sizes: readonly (readonly [string, number | undefined])[] = [
    ['1MiB', 1024 ** 2],
    ['1 MB', 1e6],
    ['100 kb', 1e5],
    ['1.5 gigabytes', 1.5e9],
    ['2 mebibyte', 2 * 1024 ** 2],
    ['10', 10],
    ['', undefined],
    ['many', undefined],
    ['-1MB', undefined],
    ['99999999999999999PB', undefined],
  ]
  for (const [text, bytes] of sizes) assert.equal(annexBytes(text), bytes, text)
  const times: readonly (readonly [string, number | undefined])[] = [
    ['1h5m', 65 * 60_000],
    ['30s', 30_000],
    ['1d', 86_400_000],
    ['30', undefined],
    ['', undefined],
    ['1m x', undefined],
  ]
  for (const [text, time] of times) assert.equal(annexDuration(text), time, text)
})

test('limits of a remote go before those of all; what makes no sense is left out', () => {
  const config = configOf({
    'annex.retry': '3',
    'annex.retry-delay': '2',
    'annex.stalldetection': '10KB/1m',
    'annex.bwlimit': '1MiB',
  })
  assert.deepEqual(limitsOf({ config: new Map() }, config), {
    retries: 3,
    retryDelay: 2000,
    stall: { bytes: 10_000, within: 60_000 },
  })
  const own = new Map([
    ['annex-retry', '1000000'],
    ['annex-retry-delay', 'x'],
    ['annex-stalldetection', 'false'],
    ['annex-bwlimit-download', '100KB'],
    ['annex-bwlimit', '5KB'],
  ])
  assert.deepEqual(limitsOf({ config: own }, config), { retries: 20 })
  assert.equal(bandwidthOf({ config: own }, config), 100_000)
  assert.equal(bandwidthOf({ config: new Map() }, config), 1024 ** 2)
  assert.equal(bandwidthOf({ config: new Map([['annex-bwlimit', '0']]) }, config), undefined)
  assert.equal(bandwidthOf({ config: new Map() }, configOf({})), undefined)
})

test('the network settings of the git configuration', () => {
  assert.deepEqual(networkSettings(configOf({})), {
    allow: [],
    refused: [],
    schemes: new Set(['http', 'https']),
    userAgent: undefined,
    headers: [],
    headersCommand: undefined,
    authorities: undefined,
  })
  const settings = networkSettings(
    configOf({
      'annex.security.allowed-ip-addresses':
        '127.0.0.1 ::1 10.0.0.0/8 [127.0.0.1]:80 10.0.0.1:81 [::1]:82 ::1:x 1.2.3.4:0 evil.example',
      'annex.security.allowed-url-schemes': 'HTTPS ftp',
      'annex.user-agent': 'mine/1',
      'annex.http-headers': ['X-A: 1', 'X-B:2', 'no header', 'X C: 3', 'X-D: a\u0007'],
    }),
  )
  assert.deepEqual(settings.allow, ['127.0.0.1', '::1', '10.0.0.0/8', '[127.0.0.1]:80', '10.0.0.1:81', '[::1]:82'])
  assert.deepEqual(settings.refused, ['::1:x', '1.2.3.4:0', 'evil.example'])
  assert.deepEqual([...settings.schemes], ['https', 'ftp'])
  assert.equal(settings.userAgent, 'mine/1')
  assert.deepEqual(settings.headers, [
    ['X-A', '1'],
    ['X-B', '2'],
  ])
  assert.deepEqual(networkSettings(configOf({ 'annex.security.allowed-http-addresses': 'all' })).allow, ['all'])
  assert.equal(networkSettings(configOf({ 'http.sslcainfo': '/a/~/ca.pem' })).authorities, '/a/~/ca.pem')
  assert.equal(networkSettings(configOf({ 'http.sslcainfo': '~/ca.pem' })).authorities, join(homedir(), 'ca.pem'))
  assert.equal(networkSettings(configOf({ 'annex.user-agent': 'a\nb' })).userAgent, undefined)
  assert.equal(headerLines(Array.from({ length: 5000 }, () => 'a: b')).length, 1000)
})

test('the command for headers is run; its headers go instead of the others, and none when it fails', async (t) => {
  const folder = await temporaryFolder(t)
  const settings = networkSettings(configOf({ 'annex.http-headers': 'X-A: 1' }))
  await writeFile(join(folder, 'config'), '')
  const git = { gitDir: folder, commonDir: folder }
  assert.deepEqual(await userHeaders(settings, git, silentLog), [['X-A', '1']])
  const command = (headersCommand: string): Promise<readonly (readonly [string, string])[]> =>
    userHeaders({ ...settings, headersCommand }, git, silentLog)
  assert.deepEqual(await command('echo "X-B: $(echo 2)"; echo nonsense'), [['X-B', '2']])
  assert.deepEqual(await command('echo X-B: 2; exit 1'), [])
  assert.deepEqual(await command('yes X-B: 2'), [], 'endless output')
  if (process.getuid?.() !== 0) return
  await chown(folder, 12_345, 12_345)
  assert.deepEqual(await command(`touch ${folder}/ran; echo X-B: 2`), [], 'of another user')
  await assert.rejects(chmod(join(folder, 'ran'), 0o600), { code: 'ENOENT' })
})

test('commands of the configuration: bounded, and never shown', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'config'), '')
  const git = { gitDir: folder, commonDir: folder }
  assert.equal(await isOwn(git), true)
  assert.equal(await isOwn({ ...git, gitDir: join(folder, 'nothing') }), false)
  if (process.getuid?.() === 0) {
    // A work tree of our own may be linked to somebody else's repository, whose configuration counts.
    const common = await temporaryFolder(t)
    await writeFile(join(common, 'config'), '')
    await chown(common, 12_345, 12_345)
    assert.equal(await isOwn({ ...git, commonDir: common }), false)
  }
  assert.deepEqual(await runConfigured('x', 'pwd; exit 3', folder), { output: `${folder}\n`, code: 3 })
  await assert.rejects(runConfigured('x.y', 'kill -9 $$; echo canary', folder), (error: Error) => {
    assert.match(error.message, /the command of x\.y was killed/)
    assert.doesNotMatch(error.message, /canary/)
    return true
  })
})

test('annex-cost-command and annex-ignore-command are asked; what remote.log says of such settings is not', async (t) => {
  const folder = await temporaryFolder(t)
  await writeFile(join(folder, 'x'), '')
  const config = configOf({
    'remote.a.annex-uuid': '11111111-1111-1111-1111-111111111111',
    'remote.a.annex-s3': 'true',
    'remote.a.annex-cost': '5',
    'remote.a.annex-cost-command': 'echo 42',
    'remote.b.annex-uuid': '22222222-2222-2222-2222-222222222222',
    'remote.b.annex-s3': 'true',
    'remote.b.annex-ignore-command': 'false',
    'remote.b.annex-cost-command': 'echo nonsense',
  })
  const log = new Map([
    ['11111111-1111-1111-1111-111111111111', 'type=S3 name=a'],
    ['22222222-2222-2222-2222-222222222222', 'type=S3 name=b'],
    [
      '33333333-3333-3333-3333-333333333333',
      'type=S3 name=c annex-cost-command=id annex-trustlevel=trusted annex-cost=1',
    ],
  ])
  const asked: string[] = []
  const run: RunCommand = async (setting, command) => {
    asked.push(setting)
    return runConfigured(setting, command, folder)
  }
  const facts = { config, base: '/', log, trust: () => 'semitrusted' as const }
  const found = new Map((await listRemotes({ ...facts, run })).map((remote) => [remote.name, remote]))
  assert.deepEqual(
    ['a', 'b', 'c'].map((name) => [found.get(name)?.cost, found.get(name)?.ignore, found.get(name)?.trust]),
    [
      [42, false, 'semitrusted'],
      [200, 'annex-ignore-command', 'semitrusted'],
      [200, false, 'semitrusted'],
    ],
  )
  assert.deepEqual(asked.sort(), [
    'remote.a.annex-cost-command',
    'remote.b.annex-cost-command',
    'remote.b.annex-ignore-command',
  ])
  const without = new Map((await listRemotes(facts)).map((remote) => [remote.name, remote]))
  assert.deepEqual([without.get('a')?.cost, without.get('b')?.ignore], [5, false])
})
