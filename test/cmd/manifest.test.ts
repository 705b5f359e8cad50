import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, misbehaving } from '../support/http.js'
import { pseudoRandom } from '../support/peers.js'
import { makeSample, PIECE, REACH_NGINX } from '../support/sample.js'
import { annexfs, PROGRAM, runProgram, within, type CommandResult } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const REF = 'refs/annexfs/manifests'

/** Runs annexfs with the git settings of the world's user. */
function run(
  t: Parameters<typeof annexfs>[0],
  world: AnnexWorld,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<CommandResult> {
  const cache = ['--cache-dir', join(world.folder, 'cache'), '--min-free=1MiB', '--no-dht', '--no-lsd']
  const settings = { GIT_CONFIG_GLOBAL: join(world.folder, 'gitconfig'), ...env }
  return annexfs(t, [args[0] ?? '', ...cache, ...args.slice(1)], { env: settings, timeout: 120_000 })
}

async function manifestsIn(world: AnnexWorld, repository: string): Promise<readonly string[]> {
  const listing = await world.git(repository, 'ls-tree', '-r', '--name-only', REF)
  return listing === '' ? [] : listing.split('\n')
}

test('manifest records what the repository has and what it must fetch, once', LIMIT, async (t) => {
  const { world, repository } = await makeSample(t, { empty: 0, small: 100, large: 3 * PIECE + 5 })
  const objects = await world.run('a', 'find', ['.git/annex/objects', '-type', 'f'])
  const dry = await run(t, world, ['manifest', ...REACH_NGINX, repository, '--dry-run'])
  assert.equal(dry.code, 0, dry.stderr)
  assert.match(dry.stdout.toString(), /^local +393221 \/local\/large$/m)
  assert.match(dry.stdout.toString(), /^fetch +100 \/web\/small$/m)
  await assert.rejects(world.git('a', 'rev-parse', '--verify', REF))
  const local = await run(t, world, ['manifest', repository, '--local'])
  assert.match(local.stdout.toString(), /^manifests: 2 recorded \(384 KiB read\).* 6 not here$/m)
  const first = await run(t, world, ['manifest', ...REACH_NGINX, repository, '--jobs', '3'])
  assert.equal(first.code, 0, first.stderr)
  assert.match(first.stdout.toString(), /6 recorded .* 2 known before/)
  assert.equal((await manifestsIn(world, 'a')).length, 8)
  const tip = await world.git('a', 'rev-parse', REF)
  const second = await run(t, world, ['manifest', repository])
  assert.match(second.stdout.toString(), /0 recorded \(0 B read\), 8 known before/)
  assert.equal(await world.git('a', 'rev-parse', REF), tip)
  const again = await run(t, world, ['manifest', repository, 'local', '/local/small', '--again'])
  assert.match(again.stdout.toString(), /0 recorded \(384 KiB read\), 0 known/)
  // Nothing else in the repository has changed.
  assert.ok(objects.equals(await world.run('a', 'find', ['.git/annex/objects', '-type', 'f'])))
  assert.equal(await world.git('a', 'status', '--porcelain'), '')
  assert.equal(await world.git('a', 'fsck', '--strict', '--no-dangling'), '')
})

test('manifest makes the same commit tree wherever it runs, and for every hash', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  for (const backend of ['SHA256E', 'SHA512', 'MD5E', 'SHA1', 'SHA3_256', 'BLAKE2B512E', 'BLAKE2S256']) {
    await world.write('a', `${backend}.bin`, pseudoRandom(200_000, backend))
    await world.annex('a', 'add', '--quiet', `--backend=${backend}`, `${backend}.bin`)
  }
  await world.git('a', 'commit', '--quiet', '-m', 'files')
  await world.git('.', 'clone', '--quiet', 'a', 'b')
  await world.annex('b', 'init', '--quiet', 'b')
  for (const path of [a, join(world.folder, 'b')]) {
    const { code, stdout, stderr } = await run(t, world, ['manifest', path])
    assert.equal(code, 0, stderr)
    assert.match(stdout.toString(), /7 recorded/)
  }
  assert.equal(await world.git('a', 'rev-parse', `${REF}^{tree}`), await world.git('b', 'rev-parse', `${REF}^{tree}`))
})

test('manifests are pushed, fetched and merged as any ref', LIMIT, async (t) => {
  const world = await annexWorld(t)
  await world.repository('origin', { bare: true, plain: true })
  const origin = join(world.folder, 'origin')
  const a = await world.repository('a')
  await world.addAnnexed('a', { one: pseudoRandom(1000, 'one'), two: pseudoRandom(1000, 'two') })
  await world.git('a', 'remote', 'add', 'origin', origin)
  await world.git('a', 'push', '--quiet', 'origin', 'main', 'git-annex')
  await world.git('.', 'clone', '--quiet', 'origin', 'b')
  const b = join(world.folder, 'b')
  await world.annex('b', 'init', '--quiet', 'b')
  await world.git('b', 'remote', 'add', 'a', a)
  assert.equal((await run(t, world, ['manifest', a, 'one'])).code, 0)
  await world.git('a', 'push', '--quiet', 'origin', REF)
  assert.equal((await run(t, world, ['manifest', b, 'two'])).code, 0)
  await assert.rejects(world.git('b', 'push', '--quiet', 'origin', REF), 'no fast-forward')
  await world.git('b', 'fetch', '--quiet', 'origin', `+${REF}:refs/remotes/origin/annexfs/manifests`)
  const merged = await run(t, world, ['manifest', b, '--merge'])
  assert.equal(merged.code, 0, merged.stderr)
  assert.match(merged.stdout.toString(), /^merged refs\/remotes\/origin\/annexfs\/manifests: 1 manifests added/)
  await world.git('b', 'push', '--quiet', 'origin', REF)
  assert.equal((await manifestsIn(world, 'origin')).length, 2)
  assert.equal((await manifestsIn(world, 'b')).length, 2)
})

test('content that is not what its key says is reported, not recorded, and exit code 5', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  await world.addAnnexed('a', { good: pseudoRandom(300_000, 'good'), bad: pseudoRandom(300_000, 'bad'), gone: 'gone' })
  const object = join(a, await world.annex('a', 'contentlocation', await world.annex('a', 'lookupkey', 'bad')))
  const bytes = await readFile(object)
  bytes[150_000] = (bytes[150_000] ?? 0) ^ 1
  await chmod(object, 0o644)
  await writeFile(object, bytes)
  await chmod(object, 0o444)
  await world.annex('a', 'drop', '--force', '--quiet', 'gone')
  const { code, stdout, stderr } = await run(t, world, ['manifest', a])
  assert.equal(code, 5)
  assert.match(stderr, /the object in the repository is not the content of its key.*path=\/bad/)
  assert.match(stderr, /content could not be read.*path=\/gone/)
  assert.match(stdout.toString(), /1 recorded .*1 could not be read, 1 not what their key says/)
  assert.equal((await manifestsIn(world, 'a')).length, 1)
  const { code: missing } = await run(t, world, ['manifest', a, 'gone'])
  assert.equal(missing, 4)
})

test('a false manifest is replaced by --again', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  await world.addAnnexed('a', { x: pseudoRandom(300_000, 'x') })
  assert.equal((await run(t, world, ['manifest', a])).code, 0)
  const [path = ''] = await manifestsIn(world, 'a')
  const good = await world.git('a', 'rev-parse', `${REF}:${path}`)
  const bytes = await world.run('a', 'git', ['cat-file', 'blob', good])
  bytes[bytes.length - 3] = (bytes.at(-3) ?? 0) ^ 1
  const bad = (await world.run('a', 'git', ['hash-object', '-w', '--stdin'], { input: bytes })).toString().trim()
  const env = { GIT_INDEX_FILE: join(world.folder, 'index') }
  await world.run('a', 'git', ['update-index', '--add', '--cacheinfo', `100644,${bad},${path}`], { env })
  const tree = (await world.run('a', 'git', ['write-tree'], { env })).toString().trim()
  await world.git('a', 'update-ref', REF, await world.git('a', 'commit-tree', '-m', 'x', '-p', REF, tree))
  assert.match((await run(t, world, ['manifest', a])).stdout.toString(), /0 recorded .* 1 known before/)
  assert.match((await run(t, world, ['manifest', a, '--again'])).stdout.toString(), /1 recorded/)
  assert.equal(await world.git('a', 'rev-parse', `${REF}:${path}`), good)
})

test('interrupted, manifest records what it has done, and goes on from there', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  const content = pseudoRandom(300_000, 'z')
  await world.addAnnexed('a', { a: pseudoRandom(1000, 'a'), b: pseudoRandom(1000, 'b'), z: content })
  let asked = (): void => undefined
  const reached = new Promise<void>((resolve) => (asked = resolve))
  let silent = true
  const server = await httpServer(t, (request, response) => {
    asked()
    if (!silent) misbehaving(content, 'none')(request, response)
  })
  await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', 'z'), `${server.url}/z`)
  await world.annex('a', 'drop', '--force', '--quiet', 'z')
  const env = { ...process.env, GIT_CONFIG_GLOBAL: join(world.folder, 'gitconfig') }
  const args = ['manifest', '--cache-dir', join(world.folder, 'cache'), ...REACH_NGINX, a]
  const child = spawn(process.execPath, [PROGRAM, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  t.after(() => child.kill('SIGKILL'))
  let said = ''
  child.stdout.on('data', (text: Buffer) => (said += text.toString()))
  await within(60_000, 'the fetch', reached)
  child.kill('SIGINT')
  await within(60_000, 'the end', once(child, 'close'))
  assert.equal(child.exitCode, 1)
  assert.match(said, /2 recorded/)
  assert.equal((await manifestsIn(world, 'a')).length, 2)
  silent = false
  const again = await run(t, world, ['manifest', ...REACH_NGINX, a])
  assert.match(again.stdout.toString(), /1 recorded .* 2 known before/, again.stderr)
})

test('a clone that is made for reading brings the manifests along, and later ones', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  const contents = { x: pseudoRandom(1000, 'x'), y: pseudoRandom(1000, 'y') }
  await world.addAnnexed('a', contents)
  for (const [name, content] of Object.entries(contents)) {
    const server = await httpServer(t, misbehaving(content, 'none'))
    await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', name), `${server.url}/${name}`)
  }
  assert.equal((await run(t, world, ['manifest', a, 'x'])).code, 0)
  const read = (name: string): Promise<CommandResult> =>
    run(t, world, ['cat', ...REACH_NGINX, '--verify=manifest', `file://${a}`, name])
  const first = await read('x')
  assert.ok(first.stdout.equals(contents.x), first.stderr)
  assert.equal((await read('y')).code, 4)
  assert.equal((await run(t, world, ['manifest', a])).code, 0)
  assert.ok((await read('y')).stdout.equals(contents.y))
})

test('what a remote gives is compared with the key before it is recorded', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  const content = pseudoRandom(300_000, 'x')
  await world.addAnnexed('a', { x: content })
  const wrong = Buffer.from(content)
  wrong[9] = (wrong[9] ?? 0) ^ 1
  const server = await httpServer(t, misbehaving(wrong, 'none'))
  await world.annex('a', 'registerurl', await world.annex('a', 'lookupkey', 'x'), `${server.url}/x`)
  await world.annex('a', 'drop', '--force', '--quiet', 'x')
  const { code, stderr } = await run(t, world, ['manifest', ...REACH_NGINX, a])
  assert.equal(code, 5, stderr)
  await assert.rejects(world.git('a', 'rev-parse', '--verify', REF))
})

test('keys without a hash are counted, and sources that are no local repository refused', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  await world.write('a', 'worm', 'worm')
  await world.annex('a', 'add', '--quiet', '--backend=WORM', 'worm')
  await world.write('a', 'ingit', 'x')
  await world.git('a', 'add', '-f', 'ingit')
  await world.git('a', 'commit', '--quiet', '-m', 'x')
  const { code, stdout, stderr } = await run(t, world, ['manifest', a])
  assert.equal(code, 0)
  assert.match(stdout.toString(), /0 recorded .* 1 can have none/)
  assert.match(stderr, /a key can have no manifest.*WORM/)
  await mkdir(join(world.folder, 'torrents'))
  for (const [source, expected] of [
    ['file:///x', 3],
    [join(world.folder, 'torrents'), 3],
    [join(world.folder, 'nowhere'), 3],
  ] as const) {
    assert.equal((await run(t, world, ['manifest', source])).code, expected, source)
  }
  assert.equal((await run(t, world, ['manifest', a, 'nothing'])).code, 3)
  assert.equal((await run(t, world, ['manifest', a, 'worm', '--merge'])).code, 2)
  assert.equal((await run(t, world, ['manifest'])).code, 2)
})

test('signed with an ssh key: read when signatures are demanded, by who trusts the key', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  const content = pseudoRandom(1000, 'x')
  await world.addAnnexed('a', { x: content })
  for (const name of ['signing', 'other']) {
    await world.run('.', 'ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', name])
  }
  const settings = await readFile(join(world.folder, 'gitconfig'), 'utf8')
  const configFor = async (trusted: string): Promise<NodeJS.ProcessEnv> => {
    const signers = join(world.folder, `signers-${trusted}`)
    await writeFile(signers, `test@example.com ${await readFile(join(world.folder, `${trusted}.pub`), 'utf8')}`)
    const key = `  signingkey = ${join(world.folder, 'signing.pub')}\n`
    const text = `${settings}[user]\n${key}[gpg]\n  format = ssh\n[gpg "ssh"]\n  allowedSignersFile = ${signers}\n`
    await writeFile(join(world.folder, `gitconfig-${trusted}`), text)
    return { GIT_CONFIG_GLOBAL: join(world.folder, `gitconfig-${trusted}`) }
  }
  const [trusting, distrusting] = [await configFor('signing'), await configFor('other')]
  const read = (env: NodeJS.ProcessEnv): Promise<CommandResult> =>
    run(t, world, ['cat', a, 'x', '--verify=manifest', '--manifest-signatures=require'], env)

  assert.equal((await run(t, world, ['manifest', a], trusting)).code, 0)
  await world.annex('a', 'copy', '--quiet', '--to', await shelf(world), 'x')
  await world.annex('a', 'drop', '--quiet', '--force', 'x')
  assert.equal((await read(trusting)).code, 4, 'not signed')
  assert.ok((await run(t, world, ['cat', a, 'x', '--verify=manifest'], trusting)).stdout.equals(content))

  await world.git('a', 'update-ref', '-d', REF)
  const made = await run(t, world, ['manifest', a, '--sign'], trusting)
  assert.equal(made.code, 0, made.stderr)
  await world.run('a', 'git', ['verify-commit', REF], { env: trusting })
  assert.ok((await read(trusting)).stdout.equals(content))
  assert.equal((await read(distrusting)).code, 4, 'signed by a stranger')

  // The repository may not say whom to trust, nor which program is to be asked.
  const evil = join(world.folder, 'evil')
  await writeFile(evil, `#!/bin/sh\ntouch ${join(world.folder, 'was-run')}\nexit 0\n`)
  await chmod(evil, 0o755)
  await world.git('a', 'config', 'gpg.ssh.allowedSignersFile', join(world.folder, 'signers-signing'))
  for (const name of ['gpg.program', 'gpg.ssh.program', 'gpg.openpgp.program', 'gpg.x509.program']) {
    await world.git('a', 'config', name, evil)
  }
  assert.equal((await read(distrusting)).code, 4)
  assert.ok((await read(trusting)).stdout.equals(content))
  await assert.rejects(stat(join(world.folder, 'was-run')), { code: 'ENOENT' })
})

test('signed with an OpenPGP key, because commit.gpgSign says so', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const a = await world.repository('a')
  await world.addAnnexed('a', { x: pseudoRandom(1000, 'x') })
  // Short: the agent's socket lies in it.
  const gnupg = join(world.folder, 'g')
  await mkdir(gnupg, { mode: 0o700 })
  const env = { GNUPGHOME: gnupg }
  t.after(() => runProgram('gpgconf', ['--kill', 'all'], { env: { ...process.env, ...env } }))
  const key = ['--batch', '--quiet', '--passphrase', '', '--quick-generate-key', 'Test <test@example.com>', 'ed25519']
  await world.run('.', 'gpg', [...key, 'sign', 'never'], { env })
  await world.git('.', 'config', '--file', 'gitconfig', 'commit.gpgSign', 'true')
  await world.git('.', 'config', '--file', 'gitconfig', 'user.signingKey', 'test@example.com')
  const made = await run(t, world, ['manifest', a], env)
  assert.equal(made.code, 0, made.stderr)
  await world.run('a', 'git', ['verify-commit', REF], { env })
  await world.annex('a', 'copy', '--quiet', '--to', await shelf(world), 'x')
  await world.annex('a', 'drop', '--quiet', '--force', 'x')
  const demand = ['cat', a, 'x', '--verify=manifest', '--manifest-signatures=require']
  assert.equal((await run(t, world, demand, env)).code, 0)
  const stranger = join(world.folder, 'h')
  await mkdir(stranger, { mode: 0o700 })
  t.after(() => runProgram('gpgconf', ['--kill', 'all'], { env: { ...process.env, GNUPGHOME: stranger } }))
  assert.equal((await run(t, world, demand, { GNUPGHOME: stranger })).code, 4)
  await world.annex('a', 'get', '--quiet', 'x')
  const unsigned = await run(t, world, ['manifest', a, '--no-sign', '--again'], env)
  assert.equal(unsigned.code, 0)
})

/** A directory special remote of `a`, and its name. */
async function shelf(world: AnnexWorld): Promise<string> {
  await mkdir(join(world.folder, 'shelf'))
  assert.deepEqual(await readdir(join(world.folder, 'shelf')), [])
  await world.annex('a', 'initremote', '--quiet', 'shelf', 'type=directory', 'directory=../shelf', 'encryption=none')
  return 'shelf'
}
