import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { format, inspect } from 'node:util'
import { HiddenCredentials, remoteCredentials, storedCredentials } from '../../lib/annex/credentials.js'
import type { AnnexRemote } from '../../lib/annex/remote.js'
import { AnnexRepository } from '../../lib/annex/repository.js'
import { remoteCipher } from '../../lib/cipher/open.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { annexWorld } from '../support/annex.js'
import { gpgHome } from '../support/gpg.js'
import { httpServer } from '../support/http.js'
import { pseudoRandom } from '../support/peers.js'
import { S3_CREDENTIALS, startS3 } from '../support/s3-server.js'
import { mountSession, runProgram, within } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'
import { startRcloneWebdav, WEBDAV_CREDENTIALS } from '../support/webdav-server.js'

const UUID = '11111111-1111-1111-1111-111111111111'

function remoteOf(kind: string, settings: Readonly<Record<string, string>> = {}, configured = true): AnnexRemote {
  return {
    uuid: UUID,
    name: 'r',
    kind,
    cost: 200,
    trust: 'semitrusted',
    ignore: false,
    config: new Map(Object.entries(settings)),
    configured,
  }
}

const noCipher = (): Promise<undefined> => Promise.resolve(undefined)
const pair = (user: string, password: string): string => Buffer.from(`${user}\n${password}\n`).toString('base64')

test('credentials are not shown by accident', () => {
  const hidden = new HiddenCredentials('canary-user', 'canary-password', 'canary-token')
  const shown = [
    String(hidden),
    JSON.stringify({ hidden }),
    inspect(hidden, { depth: 10, showHidden: true }),
    format('%s %o %O %j', hidden, hidden, hidden, hidden),
    JSON.stringify(Object.entries(hidden)),
    JSON.stringify(Object.assign({}, hidden)),
    inspect(new Error('x', { cause: hidden })),
  ]
  for (const text of shown) assert.doesNotMatch(text, /canary/)
  assert.deepEqual([hidden.user, hidden.password, hidden.token], ['canary-user', 'canary-password', 'canary-token'])
  assert.equal(new HiddenCredentials('u', 'p').token, undefined)
})

test('the environment goes before the repository, and that before remote.log', async (t) => {
  const commonDir = await temporaryFolder(t)
  const find = async (remote: AnnexRemote, environment: NodeJS.ProcessEnv = {}): Promise<unknown> => {
    const found = await remoteCredentials(remote, { commonDir, environment, cipher: noCipher })
    return found === undefined ? undefined : [found.user, found.password, found.token]
  }
  const embedded = { s3creds: pair('embedded', 'secret'), davcreds: pair('dav', 'secret') }
  assert.equal(await find(remoteOf('S3')), undefined)
  assert.deepEqual(await find(remoteOf('S3', embedded)), ['embedded', 'secret', undefined])
  assert.deepEqual(await find(remoteOf('webdav', embedded)), ['dav', 'secret', undefined])
  await mkdir(join(commonDir, 'annex/creds'), { recursive: true })
  await writeFile(join(commonDir, 'annex/creds', UUID), 'file\np:ä ss\n')
  assert.deepEqual(await find(remoteOf('S3', embedded)), ['file', 'p:ä ss', undefined])
  const aws = { AWS_ACCESS_KEY_ID: 'env', AWS_SECRET_ACCESS_KEY: 'key', AWS_SESSION_TOKEN: 'token' }
  assert.deepEqual(await find(remoteOf('S3', embedded), aws), ['env', 'key', 'token'])
  assert.deepEqual(await find(remoteOf('S3', embedded), { AWS_ACCESS_KEY_ID: 'env' }), ['file', 'p:ä ss', undefined])
  assert.deepEqual(await find(remoteOf('webdav'), { WEBDAV_USERNAME: 'u', WEBDAV_PASSWORD: 'p' }), [
    'u',
    'p',
    undefined,
  ])
  assert.equal(await find(remoteOf('rsync', embedded), aws), undefined)
  assert.equal(await find(remoteOf('S3', embedded, false), aws), undefined, 'a host that somebody else has named')
})

test('damaged credentials are an error that does not show them; strange names are no files', async (t) => {
  const commonDir = await temporaryFolder(t)
  await mkdir(join(commonDir, 'annex/creds'), { recursive: true })
  await writeFile(join(commonDir, 'secret'), 'a\nb\n')
  for (const name of ['../../secret', '-x', '', '.', 'a/b']) {
    assert.equal(await storedCredentials(commonDir, name), undefined, name)
  }
  await writeFile(join(commonDir, 'annex/creds', UUID), 'canary')
  await assert.rejects(remoteCredentials(remoteOf('S3'), { commonDir, environment: {}, cipher: noCipher }), (error) => {
    assert.doesNotMatch(inspect(error), /canary/)
    return /should hold credentials/.test(String(error))
  })
})

test(
  'what git-annex embeds in remote.log is read: plain, and encrypted in every way',
  { timeout: 180_000 },
  async (t) => {
    const world = await annexWorld(t)
    const gpg = await gpgHome(t)
    const server = await startRcloneWebdav(t)
    const gpgEnv = { GNUPGHOME: gpg.folder }
    const env = { WEBDAV_USERNAME: WEBDAV_CREDENTIALS.user, WEBDAV_PASSWORD: WEBDAV_CREDENTIALS.password, ...gpgEnv }
    await world.repository('r')
    for (const encryption of ['none', 'shared', 'hybrid', 'pubkey']) {
      const keyId = encryption === 'none' || encryption === 'shared' ? [] : [`keyid=${gpg.keyId}`]
      const settings = ['type=webdav', `url=${server.url}/${encryption}`, 'embedcreds=yes', `encryption=${encryption}`]
      await world.run('r', 'git', ['annex', 'initremote', '--quiet', encryption, ...settings, ...keyId], { env })
    }
    const git = await GitRepository.open(join(world.folder, 'r'), silentLog)
    t.after(() => git.close())
    const annex = await AnnexRepository.open(git, silentLog)
    const folder = await temporaryFolder(t)
    for (const remote of await annex.remotes()) {
      if (remote.kind !== 'webdav') continue
      assert.ok(remote.config.has('davcreds'), remote.name)
      const cipher = remoteCipher({ remote, annex, folder, log: silentLog })
      // Those that git-annex keeps locally too would hide what is tried here.
      const found = await remoteCredentials(remote, { commonDir: folder, environment: {}, cipher })
      assert.deepEqual(
        [found?.user, found?.password],
        [WEBDAV_CREDENTIALS.user, WEBDAV_CREDENTIALS.password],
        remote.name,
      )
    }
  },
)

/** The command lines of all processes, again and again until it is stopped. */
function watchCommandLines(t: TestContext): { seen: Set<string>; stop(): Promise<void> } {
  const seen = new Set<string>()
  let running = true
  const watching = (async () => {
    while (running) {
      for (const pid of await readdir('/proc')) {
        if (!/^\d+$/.test(pid)) continue
        // Gone by now, as often as not.
        seen.add(await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))
      }
      await sleep(2)
    }
  })()
  const stop = async (): Promise<void> => {
    running = false
    await watching
  }
  t.after(stop)
  return { seen, stop }
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.path, entry.name))
}

test(
  'goal 43: no secret is in logs, errors, attributes, the cache or a command line',
  { timeout: 180_000 },
  async (t) => {
    const canary = `canary${randomBytes(8).toString('hex')}`
    const world = await annexWorld(t)
    const gpg = await gpgHome(t)
    const [s3, dav] = [await startS3(t), await startRcloneWebdav(t)]
    await world.repository('a')
    const content = pseudoRandom(700_000, 'secret')
    const names = ['s3', 'dav', 'mixed', 'web', 'repo', 'gone']
    const files = new Map(names.map((name) => [name, Buffer.concat([Buffer.from(name), content])]))
    await world.addAnnexed('a', Object.fromEntries(files))
    const aws = { AWS_ACCESS_KEY_ID: S3_CREDENTIALS.user, AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.password }
    const login = { WEBDAV_USERNAME: WEBDAV_CREDENTIALS.user, WEBDAV_PASSWORD: WEBDAV_CREDENTIALS.password }
    const env = { ...aws, ...login, GNUPGHOME: gpg.folder }
    const bucket = [
      'type=S3',
      'host=127.0.0.1',
      `port=${s3.port}`,
      'protocol=http',
      'requeststyle=path',
      'bucket=canaries',
    ]
    for (const [name, ...settings] of [
      ['s3', ...bucket, 'encryption=none'],
      ['dav', 'type=webdav', `url=${dav.url}/a`, 'embedcreds=yes', 'encryption=shared', 'chunk=256KiB'],
      ['mixed', 'type=webdav', `url=${dav.url}/b`, 'embedcreds=yes', 'encryption=hybrid', `keyid=${gpg.keyId}`],
    ] as const) {
      await world.run('a', 'git', ['annex', 'initremote', '--quiet', name, ...settings], { env })
      await world.run('a', 'git', ['annex', 'move', '--quiet', '--to', name, name], { env })
    }
    // A server that wants a password in the URL, a token in the query, and the user's own header; and refuses one file.
    const objects = new Map<string, Buffer>()
    const server = await httpServer(t, (request, response) => {
      const { authorization = '' } = request.headers
      const path = (request.url ?? '').replace(/\?.*/s, '').split('/').at(-1) ?? ''
      const wanted = request.url?.startsWith('/repo/') === true ? `Basic ${btoa(`reader:${canary}`)}` : ''
      const bytes = objects.get(decodeURIComponent(path))
      const allowed = wanted === '' ? request.headers['x-token'] === canary : authorization === wanted
      if (!allowed || bytes === undefined) response.writeHead(allowed ? 404 : 403).end()
      else response.writeHead(200, { 'content-length': bytes.length }).end(request.method === 'HEAD' ? '' : bytes)
    })
    const keys = new Map(
      await Promise.all(names.map(async (name) => [name, await world.annex('a', 'lookupkey', name)] as const)),
    )
    for (const name of ['web', 'gone']) {
      await world.annex('a', 'registerurl', keys.get(name) ?? '', `${server.url}/${name}?token=${canary}`)
    }
    objects.set('web', files.get('web') ?? content)
    objects.set(keys.get('repo') ?? '', files.get('repo') ?? content)
    await world.git('a', 'remote', 'add', 'repo', server.url.replace('//', `//reader:${canary}@`) + '/repo/.git')
    await world.git('a', 'config', 'remote.repo.annex-uuid', UUID)
    await world.annex('a', 'setpresentkey', keys.get('repo') ?? '', UUID, '1')
    const script = join(world.folder, 'headers')
    await writeFile(script, `#!/bin/sh\necho 'X-Token: ${canary}'\n`)
    await chmod(script, 0o755)
    await world.git('a', 'config', 'annex.http-headers-command', script)
    await world.git('a', 'config', 'annex.security.allowed-ip-addresses', '127.0.0.0/8')
    await world.annex('a', 'drop', '--quiet', '--force', 'web', 'repo', 'gone')
    const stored = join(world.folder, 'a/.git/annex/creds')
    const backup = await temporaryFolder(t)
    for (const file of await readdir(stored)) await copyFile(join(stored, file), join(backup, file))

    const secrets = [
      canary,
      S3_CREDENTIALS.password,
      WEBDAV_CREDENTIALS.password,
      encodeURIComponent(S3_CREDENTIALS.password),
    ]
    for (const line of (await world.git('a', 'show', 'git-annex:remote.log')).split('\n')) {
      // The passphrase of `shared` lies open in remote.log, which everybody with the repository has; still it is not spread.
      const cipher = /encryption=shared.*/.test(line) ? /cipher=(\S+)/.exec(line)?.[1] : undefined
      if (cipher !== undefined)
        secrets.push(Buffer.from(cipher.replace(/&61;/g, '='), 'base64').toString().slice(300, 400))
    }
    assert.ok(secrets.length > 4)

    const lines = watchCommandLines(t)
    const options = ['--log-level', 'debug', '--read-timeout', '20s']
    const mount = await mountSession(t, [join(world.folder, 'a')], { options, env: { GNUPGHOME: gpg.folder } })
    const said: string[] = []
    for (const name of names) {
      const path = join(mount.path, name)
      if (name === 'gone') {
        await within(60_000, name, assert.rejects(readFile(path), { code: 'EIO' }))
      } else {
        const got = await within(60_000, name, readFile(path))
        assert.ok(got.equals(files.get(name) ?? content), `${name}: wrong bytes: ${mount.log()}`)
      }
      said.push((await runProgram('getfattr', ['-d', path])).stdout.toString())
    }
    await lines.stop()
    const places: [string, string][] = [['the log', mount.log()]]
    for (const text of said) places.push(['an attribute', text])
    for (const line of lines.seen) places.push(['a command line', line])
    for (const file of await filesBelow(mount.cache)) places.push([file, (await readFile(file)).toString('latin1')])
    assert.ok(said.some((text) => text.includes('user.annexfs.sources')))
    assert.ok(
      [...lines.seen].some((line) => line.includes('gpg')),
      'gpg was seen at work',
    )
    for (const [where, text] of places) {
      for (const secret of secrets)
        assert.ok(!text.includes(secret), `${where} shows ${secret}: ${text.slice(0, 2000)}`)
    }
    assert.equal(await mount.stop(), 0)
  },
)
