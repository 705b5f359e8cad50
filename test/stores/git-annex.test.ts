import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseKey } from '../../lib/annex/key.js'
import { gitAnnexStore, type GitAnnexOptions } from '../../lib/stores/git-annex.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld } from '../support/annex.js'
import { objectName, readObject, remoteWorld, within, type RemoteWorld } from '../support/external/toy.js'
import { gpgHome } from '../support/gpg.js'

const MIB = 1024 * 1024
const content = randomBytes(2 * MIB + 321)

/** A repository with the annexed file `f`; child processes of this one see the world's home too. */
async function given(t: TestContext): Promise<RemoteWorld> {
  const world = await annexWorld(t)
  for (const [name, value] of Object.entries({
    HOME: world.folder,
    GIT_CONFIG_GLOBAL: world.environment['GIT_CONFIG_GLOBAL'] ?? '',
  })) {
    const before = process.env[name]
    process.env[name] = value
    t.after(() => {
      if (before === undefined) delete process.env[name]
      else process.env[name] = before
    })
  }
  await world.repository('repo')
  await world.addAnnexed('repo', { f: content })
  return remoteWorld(t, world)
}

async function opened(
  t: TestContext,
  made: RemoteWorld,
  name: string,
  options: GitAnnexOptions = {},
): Promise<ObjectStore> {
  const store = await gitAnnexStore(await made.context(name), options)
  t.after(() => store.close?.())
  return store
}

/** What in the repository tells whether anything was written to it. */
async function state({ world }: RemoteWorld): Promise<string> {
  const refs = await world.git('repo', 'for-each-ref')
  const files = await readdir(join(world.folder, 'repo', '.git'), { recursive: true })
  return `${refs}\n${files
    .filter((name) => !name.startsWith('annex/othertmp'))
    .sort()
    .join('\n')}`
}

/** Reads the key from the remote, whole and in part, and sees that the repository is as it was. */
async function readsFrom(t: TestContext, made: RemoteWorld, remote: string): Promise<void> {
  const before = await state(made)
  const store = await opened(t, made, remote)
  const name = objectName(made.key)
  const parts = await Promise.all([0, 5000, 2 * MIB].map((start) => readObject(store, name, [start, start + 300])))
  for (const [index, start] of [0, 5000, 2 * MIB].entries()) {
    assert.ok(parts[index]?.equals(content.subarray(start, start + 300)))
  }
  assert.ok((await readObject(store, name, [0, content.length])).equals(content))
  await store.close?.()
  assert.equal(await state(made), before)
}

test('a directory remote is read through git-annex, plain or chunked and encrypted', async (t) => {
  const made = await given(t)
  const { world } = made
  await mkdir(join(world.folder, 'dir'))
  const directory = `directory=${join(world.folder, 'dir')}`
  await world.annex('repo', 'initremote', 'dir', 'type=directory', directory, 'encryption=none')
  await world.annex('repo', 'initremote', 'enc', 'type=directory', directory, 'encryption=shared', 'chunk=1MiB')
  for (const remote of ['dir', 'enc']) {
    await world.annex('repo', 'copy', '--quiet', '--to', remote, 'f')
    await t.test(remote, (t) => readsFrom(t, made, remote))
  }
})

test('what the repository has learned since the first read is known to the next', async (t) => {
  const made = await given(t)
  const { world } = made
  await mkdir(join(world.folder, 'dir'))
  await world.annex(
    'repo',
    'initremote',
    'dir',
    'type=directory',
    `directory=${join(world.folder, 'dir')}`,
    'encryption=shared',
    'chunk=1MiB',
  )
  await world.annex('repo', 'copy', '--quiet', '--to', 'dir', 'f')
  const store = await opened(t, made, 'dir')
  assert.ok((await readObject(store, objectName(made.key), [0, 9])).equals(content.subarray(0, 9)))
  const later = randomBytes(300_000)
  await world.addAnnexed('repo', { g: later })
  await world.git('repo', 'config', 'annex.alwayscommit', 'false')
  await world.annex('repo', 'copy', '--quiet', '--to', 'dir', 'g')
  const raw = await world.annex('repo', 'lookupkey', 'g')
  const key = parseKey(raw.trim())
  assert.ok(key)
  assert.ok((await readObject(store, objectName(key), [0, later.length])).equals(later))
})

test('a bup remote is read', async (t) => {
  const made = await given(t)
  const { world } = made
  const repo = join(world.folder, 'bup')
  await world.run('.', 'bup', ['-d', repo, 'init'])
  await world.annex('repo', 'initremote', 'bup', 'type=bup', `buprepo=${repo}`, 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'bup', 'f')
  await readsFrom(t, made, 'bup')
})

test('a borg remote is read', async (t) => {
  const made = await given(t)
  const { world } = made
  const repo = join(world.folder, 'borg')
  const env = { BORG_BASE_DIR: join(world.folder, 'borg-home'), BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes' }
  Object.assign(world.environment, env)
  Object.assign(process.env, env)
  t.after(() => {
    for (const name of Object.keys(env)) delete process.env[name]
  })
  await world.run('.', 'borg', ['init', '--encryption=none', repo])
  await world.run('repo', 'borg', ['create', `${repo}::one`, '.'])
  await world.annex('repo', 'initremote', 'borg', 'type=borg', `borgrepo=${repo}`)
  await world.annex('repo', 'sync', 'borg')
  await readsFrom(t, made, 'borg')
})

test('a gcrypt remote is read', async (t) => {
  const made = await given(t)
  const { world } = made
  const home = await gpgHome(t)
  world.environment['GNUPGHOME'] = home.folder
  await world.git('.', 'init', '--quiet', '--bare', 'crypt')
  await world.annex(
    'repo',
    'initremote',
    'crypt',
    'type=gcrypt',
    `gitrepo=${join(world.folder, 'crypt')}`,
    `keyid=${home.keyId}`,
    'encryption=hybrid',
  )
  await world.annex('repo', 'copy', '--quiet', '--to', 'crypt', 'f')
  await readsFrom(t, made, 'crypt')
})

test('a hook remote is read by the commands of the user, and of nobody else', async (t) => {
  const made = await given(t)
  const { world } = made
  const folder = join(world.folder, 'hooked')
  await mkdir(folder)
  const hooks = {
    store: `cp "$ANNEX_FILE" ${folder}/"$ANNEX_KEY"`,
    retrieve: `cp ${folder}/"$ANNEX_KEY" "$ANNEX_FILE"`,
    remove: `rm -f ${folder}/"$ANNEX_KEY"`,
    checkpresent: `if test -e ${folder}/"$ANNEX_KEY"; then echo "$ANNEX_KEY"; fi`,
  }
  for (const [name, command] of Object.entries(hooks))
    await world.git('repo', 'config', `annex.mine-${name}-hook`, command)
  await world.annex('repo', 'initremote', 'hook', 'type=hook', 'hooktype=mine', 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'hook', 'f')
  await readsFrom(t, made, 'hook')

  await world.git('repo', 'config', '--remove-section', 'remote.hook')
  await assert.rejects(gitAnnexStore(await made.context('hook')), { code: 'UNSUPPORTED', message: /enableremote/ })
})

test('what git-annex says of a failure is told; a beginning is resumed', async (t) => {
  const made = await given(t)
  const { world } = made
  const dir = join(world.folder, 'dir')
  await mkdir(dir)
  await world.annex('repo', 'initremote', 'dir', 'type=directory', `directory=${dir}`, 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'dir', 'f')
  const object = (await readdir(dir, { recursive: true })).find((name) =>
    name.endsWith(`${made.key.raw}/${made.key.raw}`),
  )
  assert.ok(object)
  await chmod(join(dir, object, '..'), 0o700)
  await rm(join(dir, object))
  const store = await opened(t, made, 'dir')
  await assert.rejects(readObject(store, objectName(made.key), [0, 1]), {
    code: 'UNAVAILABLE',
    message: /cannot be had from dir/,
  })
  const wrong = Buffer.from(content)
  wrong[wrong.length - 1] = (wrong[wrong.length - 1] ?? 0) ^ 1
  await writeFile(join(dir, object), wrong)
  await assert.rejects(readObject(store, objectName(made.key), [0, 1]), { code: 'UNAVAILABLE' })
  await writeFile(join(dir, object), content)
  assert.ok((await readObject(store, objectName(made.key), [0, 9])).equals(content.subarray(0, 9)))
})

test('goal 27: a transfer of git-annex that hangs is ended with all that it started', async (t) => {
  const made = await given(t)
  const { world } = made
  const noted = join(world.folder, 'pid')
  await world.git('repo', 'config', 'annex.slow-retrieve-hook', `echo $$ > ${noted}; sleep 600`)
  for (const name of ['store', 'remove', 'checkpresent'])
    await world.git('repo', 'config', `annex.slow-${name}-hook`, 'echo $ANNEX_KEY')
  await world.annex('repo', 'initremote', 'slow', 'type=hook', 'hooktype=slow', 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'slow', 'f')
  const alive = async (): Promise<boolean> => {
    const pid = (await readFile(noted, 'utf8').catch(() => '')).trim()
    return pid !== '' && (await readdir('/proc')).includes(pid)
  }
  const impatient = await opened(t, made, 'slow', { patience: 2_000 })
  await assert.rejects(readObject(impatient, objectName(made.key), [0, 1]), {
    code: 'TIMED_OUT',
    message: /did not move/,
  })
  assert.ok(await within(60_000, async () => !(await alive())))
  const left = await opened(t, made, 'slow', { grace: 500 })
  await rm(noted, { force: true })
  await assert.rejects(readObject(left, objectName(made.key), [0, 1], AbortSignal.timeout(3_000)), {
    code: 'TIMED_OUT',
  })
  assert.ok(await within(60_000, async () => !(await alive())))
})

test('goal 43: secrets of the repository reach no file of the cache', async (t) => {
  const made = await given(t)
  const { world } = made
  const dir = join(world.folder, 'dir')
  await mkdir(dir)
  await world.annex('repo', 'initremote', 'dir', 'type=directory', `directory=${dir}`, 'encryption=none')
  await world.annex('repo', 'copy', '--quiet', '--to', 'dir', 'f')
  await world.write(
    'repo',
    `.git/annex/creds/${await world.git('repo', 'config', 'remote.dir.annex-uuid')}`,
    'ann\ncanary-in-creds\n',
  )
  await world.git('repo', 'config', 'annex.http-headers', 'Authorization: canary-in-config')
  const context = await made.context('dir')
  const store = await gitAnnexStore(context)
  t.after(() => store.close?.())
  await readObject(store, objectName(made.key), [0, 9])
  const folder = await context.scratch?.folder()
  assert.ok(folder)
  const grep = await world.run('.', 'grep', ['-rl', '--', 'canary-in-', folder], { accept: [1] })
  assert.equal(grep.toString(), '')
  assert.doesNotMatch(made.said.join(''), /canary/)
})
