import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { engineFor, readFrom } from '../support/engine.js'
import { httpServer, misbehaving } from '../support/http.js'
import { startNginx } from '../support/nginx.js'

const LIMIT = { timeout: 180_000 }

/** What is said of `/f` in three places: by a read that fails, by `annexfs whereis`, by the extended attribute. */
async function said(
  t: TestContext,
  repository: string,
): Promise<{ error: string; whereis: readonly string[]; sources: string }> {
  const engine = await engineFor(t, [repository], { allowAddresses: ['127.0.0.0/8'] })
  let error = ''
  await assert.rejects(readFrom(engine, '/f', 0, 10), (reason: unknown) => {
    assert.ok(isAnnexfsError(reason, 'UNAVAILABLE'), String(reason))
    error = reason.message
    return true
  })
  const node = await engine.volume.lookup('/f', AbortSignal.timeout(60_000))
  assert.ok(node !== undefined)
  const { places } = await engine.whereabouts(node, '/f')
  const sources = (await engine.volume.attributes(node)).get('user.annexfs.sources') ?? ''
  return { error, whereis: places.map(({ name, unusable }) => `${name}: ${unusable ?? 'usable'}`), sources }
}

/** Repository `a` with the file `f`, which was moved to the directory remotes `d1` and `d2`. */
async function moved(t: TestContext): Promise<{ world: AnnexWorld; repository: string }> {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { f: 'annexed content' })
  for (const name of ['d1', 'd2']) {
    await mkdir(join(world.folder, name))
    const directory = `directory=${join(world.folder, name)}`
    await world.annex('a', 'initremote', '--quiet', name, 'type=directory', directory, 'encryption=none')
    await world.annex('a', 'copy', '--quiet', '--to', name)
  }
  await world.annex('a', 'drop', '--quiet', 'f')
  return { world, repository }
}

test('remotes that have the content and are ignored are told, with the setting that says so', LIMIT, async (t) => {
  const { world, repository } = await moved(t)
  await world.git('a', 'config', 'remote.d1.annex-ignore', 'true')
  await world.git('a', 'config', 'remote.d2.annex-ignore-command', 'false')
  const lines = [
    'd1 (directory): has it, but is ignored (remote.d1.annex-ignore)',
    'd2 (directory): has it, but is ignored (remote.d2.annex-ignore-command)',
  ]
  const { error, whereis, sources } = await said(t, repository)
  assert.equal(error, `no source could give this content: ${lines.join('; ')}`)
  assert.deepEqual(whereis, lines)
  assert.equal(sources, lines.join('\n'))
})

test('the web is told as ignored where only it has the content', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const server = await httpServer(t, misbehaving(Buffer.from('content'), 'none'))
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--fast', '--file=f', `${server.url}/f`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  await world.git('a', 'config', 'remote.web.annex-ignore', 'true')
  const line = 'web: has it, but is ignored (remote.web.annex-ignore)'
  const { error, whereis, sources } = await said(t, repository)
  assert.match(error, /: web: has it, but is ignored \(remote\.web\.annex-ignore\)$/)
  assert.deepEqual([whereis, sources], [[line], line])
})

test('an ignored remote that never told who it is may be the one that has the content', LIMIT, async (t) => {
  const world = await annexWorld(t)
  await world.repository('origin')
  await world.addAnnexed('origin', { f: 'annexed content' })
  await world.git('.', 'clone', '--quiet', 'origin', 'here')
  const nginx = await startNginx(t, { root: world.folder })
  await world.git('here', 'remote', 'set-url', 'origin', `${nginx.url}/origin/.git`)
  await world.git('here', 'config', 'remote.origin.annex-ignore', 'true')
  const lines = [
    'origin (git): may have it, but is ignored (remote.origin.annex-ignore)',
    'origin: has it, but is none of the other remotes of this repository (git remote add, or git annex enableremote)',
  ]
  const { error, whereis, sources } = await said(t, join(world.folder, 'here'))
  assert.equal(error, `no source could give this content: ${lines.join('; ')}`)
  assert.deepEqual(whereis, lines)
  assert.equal(sources, lines.join('\n'))
})

test('repositories that are dead are told where no other has the content', LIMIT, async (t) => {
  const { world, repository } = await moved(t)
  await world.annex('a', 'describe', 'd2', 'the old disk')
  await world.annex('a', 'dead', '--quiet', 'd2')
  const engine = await engineFor(t, [repository])
  const node = await engine.volume.lookup('/f', AbortSignal.timeout(60_000))
  assert.ok(node !== undefined)
  assert.deepEqual(
    (await engine.whereabouts(node, '/f')).places.map(({ name }) => name),
    ['d1 (directory)'],
  )

  await world.annex('a', 'dead', '--quiet', 'd1')
  await world.git('a', 'remote', 'remove', 'd2')
  const lines = [
    'd1 (directory): is recorded to have it, but is dead (undone by git annex semitrust)',
    'the old disk: is recorded to have it, but is dead (undone by git annex semitrust)',
  ]
  const { error, whereis, sources } = await said(t, repository)
  assert.deepEqual(error.replace('no source could give this content: ', '').split('; ').toSorted(), lines)
  assert.deepEqual(whereis.toSorted(), lines)
  assert.deepEqual(sources.split('\n').toSorted(), lines)
})

test('a remote that only the configuration takes for dead is told always', LIMIT, async (t) => {
  const { world, repository } = await moved(t)
  await world.git('a', 'config', 'remote.d1.annex-ignore', 'true')
  await world.git('a', 'config', 'remote.d2.annex-trustlevel', 'dead')
  const { whereis } = await said(t, repository)
  assert.deepEqual(whereis, [
    'd1 (directory): has it, but is ignored (remote.d1.annex-ignore)',
    'd2 (directory): has it, but is dead (remote.d2.annex-trustlevel)',
  ])
})

test('a remote that the configuration trusts is read from although it was declared dead', LIMIT, async (t) => {
  const { world, repository } = await moved(t)
  for (const name of ['d1', 'd2']) await world.annex('a', 'dead', '--quiet', name)
  await world.git('a', 'config', 'remote.d2.annex-trustlevel', 'semitrusted')
  const engine = await engineFor(t, [repository])
  assert.equal((await readFrom(engine, '/f', 0, 20)).toString(), 'annexed content')
})

test('nothing is read from the web while it is dead', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const server = await httpServer(t, misbehaving(Buffer.from('content'), 'none'))
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--file=f', `${server.url}/f`)
  await world.git('a', 'commit', '--quiet', '-m', 'url')
  await world.annex('a', 'drop', '--quiet', '--force', 'f')
  await world.annex('a', 'dead', '--quiet', 'web')
  const before = server.requests.length
  const line = 'web: is recorded to have it, but is dead (undone by git annex semitrust)'
  const { error, whereis, sources } = await said(t, repository)
  assert.equal(error, `no source could give this content: ${line}`)
  assert.deepEqual([whereis, sources], [[line], line])
  assert.equal(server.requests.length, before)
})
