import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Whereabouts } from '../../lib/engine/whereabouts.js'
import { parseRange } from '../../cmd/prefetch.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { pseudoRandom } from '../support/peers.js'
import { annexfs, AT_HOME, homeOf, mountSession, type CommandResult } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const MIB = 1024 * 1024

const FILES = {
  'folder/one': pseudoRandom(MIB, 'one'),
  'folder/two': pseudoRandom(MIB + 5, 'two'),
  large: pseudoRandom(3 * MIB, 'large'),
}

async function repositoryWithShelf(world: AnnexWorld): Promise<string> {
  const repository = await world.repository('a')
  await world.addAnnexed('a', FILES)
  await world.run('.', 'mkdir', ['shelf'])
  const shelf = join(world.folder, 'shelf')
  await world.annex('a', 'initremote', '--quiet', 'shelf', 'type=directory', `directory=${shelf}`, 'encryption=none')
  await world.annex('a', 'move', '--quiet', '--to', 'shelf', '.')
  return repository
}

interface Place {
  /** Runs a command on paths of the sample. */
  readonly run: (command: string, paths: readonly string[], options?: readonly string[]) => Promise<CommandResult>
}

/** The same is done to paths in a mount, and to SOURCE PATH: both must do the same. */
const PLACES: Readonly<Record<string, (t: TestContext, world: AnnexWorld) => Promise<Place>>> = {
  'in a mount': async (t, world) => {
    const repository = await repositoryWithShelf(world)
    const env = homeOf(await temporaryFolder(t))
    const mount = await mountSession(t, [repository], { env, options: ['--cache-size=4MiB'] })
    return {
      run: (command, paths, options = []) =>
        annexfs(t, [command, ...options, ...paths.map((path) => join(mount.path, path))], { env }),
    }
  },
  'of a SOURCE': async (t, world) => {
    const repository = await repositoryWithShelf(world)
    const cache = join(await temporaryFolder(t), 'cache')
    const own = ['--cache-dir', cache, '--cache-size=4MiB', ...AT_HOME]
    return { run: (command, paths, options = []) => annexfs(t, [command, ...own, ...options, repository, ...paths]) }
  },
}

for (const [where, make] of Object.entries(PLACES)) {
  test(`files ${where} are prefetched, pinned, evicted, and told of`, LIMIT, async (t) => {
    const { run } = await make(t, await annexWorld(t))
    const text = async (...args: Parameters<Place['run']>): Promise<string> => {
      const { code, stdout, stderr } = await run(...args)
      assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
      return stdout.toString()
    }
    const whereabouts = async (path: string): Promise<Whereabouts> =>
      JSON.parse(await text('whereis', [path], ['--json'])) as Whereabouts

    const before = await whereabouts('large')
    assert.equal(before.kind, 'annexed')
    assert.equal(before.cached, 0)
    assert.equal(before.size, 3 * MIB)
    assert.deepEqual(before.places, [{ name: 'shelf (directory)', cost: 100, trust: 'semitrusted' }])
    assert.match(await text('whereis', ['large']), /^\/large \(1 place\)\n {2}key {6}SHA256E-s3145728--/)

    assert.match(await text('prefetch', ['large'], ['--range', '1MiB-1500KiB']), /512 KiB of 3\.0 MiB cached/)
    assert.match(
      await text('prefetch', ['folder']),
      /one {2}1\.0 MiB of 1\.0 MiB cached, checked whole\n.*two.*checked whole\n/,
    )
    assert.match(
      await text('pin', ['folder/one', 'folder/two']),
      /^pinned {2}\/folder\/one .*\npinned {2}\/folder\/two /,
    )
    const refused = await run('pin', ['large'])
    assert.equal(refused.code, 4)
    assert.match(refused.stderr, /three quarters of the cache/)
    const evicting = await run('evict', ['folder/one'])
    assert.equal(evicting.code, 4)
    assert.match(evicting.stderr, /is pinned; annexfs unpin it first/)
    // More than there is room for: what is pinned stays.
    assert.match(await text('prefetch', ['large'], ['--range', '0-1MiB']), /cached/)
    assert.match(await text('prefetch', ['large'], ['--range', '1MiB-2MiB']), /cached/)
    assert.equal((await whereabouts('folder/one')).cached, MIB)
    assert.equal((await whereabouts('folder/two')).cached, MIB + 5)
    assert.match(await text('unpin', ['folder']), /unpinned {2}\/folder\/one .*\nunpinned/)
    assert.match(await text('evict', ['folder/one']), /^evicted 1\.0 MiB {2}\/folder\/one {2}0 B of 1\.0 MiB cached\n$/)
    assert.equal((await whereabouts('folder/one')).cached, 0)

    const tooLarge = await run('prefetch', ['large', 'nothing'])
    assert.notEqual(tooLarge.code, 0)
    assert.match(tooLarge.stderr, /nothing/)
  })
}

test('a pin made through a SOURCE holds in a mount of the same cache', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await repositoryWithShelf(world)
  const cache = join(await temporaryFolder(t), 'cache')
  const own = ['--cache-dir', cache, '--cache-size=4MiB', ...AT_HOME]
  assert.equal((await annexfs(t, ['prefetch', ...own, repository, 'folder/one'])).code, 0)
  assert.equal((await annexfs(t, ['pin', ...own, repository, 'folder/one'])).code, 0)
  const env = homeOf(await temporaryFolder(t))
  const mount = await mountSession(t, [repository], { cache, env, options: ['--cache-size=4MiB'] })
  assert.deepEqual(await readFile(join(mount.path, 'large')), FILES.large)
  assert.deepEqual(await readFile(join(mount.path, 'folder/two')), FILES['folder/two'])
  const { stdout } = await annexfs(t, ['whereis', '--json', join(mount.path, 'folder/one')], { env })
  assert.equal((JSON.parse(stdout.toString()) as Whereabouts).cached, MIB)
})

test('a file that was cached before and after it got piece hashes is evicted as both', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await repositoryWithShelf(world)
  const own = ['--cache-dir', join(await temporaryFolder(t), 'cache'), '--cache-size=16MiB', ...AT_HOME]
  const run = async (command: string, ...more: string[]): Promise<string> => {
    const { code, stdout, stderr } = await annexfs(t, [command, ...own, repository, ...more])
    assert.equal(code, 0, `${command}: ${stderr}`)
    return stdout.toString()
  }
  for (const [name, value] of [
    ['user.name', 'Test'],
    ['user.email', 'test@example.com'],
  ] as const) {
    await world.git('a', 'config', name, value)
  }
  await run('prefetch', 'folder/one')
  await run('manifest', 'folder/one')
  await run('prefetch', 'folder/one')
  assert.match(await run('evict', 'folder/one'), /^evicted 2\.0 MiB {2}\/folder\/one {2}0 B of 1\.0 MiB cached\n$/)
  assert.match(await run('evict', 'folder/one'), /^evicted 0 B /)
})

test('a path that is in no mount is told from a SOURCE without a path', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const { code, stderr } = await annexfs(t, ['pin', folder])
  assert.equal(code, 2)
  assert.match(stderr, /is not inside a mount of annexfs; for a SOURCE, give a PATH in it, too/)
  assert.equal((await annexfs(t, ['evict'])).code, 2)
})

test('ranges are read as sizes', () => {
  assert.deepEqual(parseRange('0-1MiB'), { start: 0, end: MIB })
  assert.deepEqual(parseRange('5KB-'), { start: 5000, end: Infinity })
  for (const bad of ['', '-', '5', '-5', '5-1', 'x-y', '1-2-3']) assert.throws(() => parseRange(bad), /--range/)
})
