import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer } from '../support/http.js'
import { measured } from '../support/marks.js'
import { pseudoRandom } from '../support/peers.js'
import { mountSession, type MountSession } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = pseudoRandom(700_001, 'inside')
const run = promisify(execFile)

/** `clone`, whose sub-dataset `sub` with the annexed `in.bin` is not here, and its origin `super`. */
async function nested(t: TestContext): Promise<AnnexWorld> {
  const world = await annexWorld(t)
  await world.repository('super')
  await world.addAnnexed('super', { 'out.txt': 'out' })
  await world.repository('super/sub')
  await world.addAnnexed('super/sub', { 'in.bin': CONTENT })
  await world.git('super', 'submodule', '--quiet', 'add', './sub', 'sub')
  await world.git('super', 'commit', '--quiet', '-m', 'sub')
  await world.git('.', 'clone', '--quiet', 'super', 'clone')
  return world
}

function mounted(t: TestContext, world: AnnexWorld, options: readonly string[] = []): Promise<MountSession> {
  return mountSession(t, [join(world.folder, 'clone')], {
    cache: join(world.folder, 'cache'),
    options: ['--recursive', '--allow-address=127.0.0.1', ...options],
  })
}

test('a sub-dataset that is not here is entered and read, from a folder and over http', LIMIT, async (t) => {
  const world = await nested(t)
  const server = await httpServer(t, (request, response) => {
    const path = normalize(decodeURIComponent((request.url ?? '').replace(/\?.*/, '')))
    readFile(join(world.folder, path)).then(
      (bytes) => response.writeHead(200, { 'content-length': bytes.length }).end(bytes),
      () => response.writeHead(404).end(),
    )
  })
  await world.git('super/sub', 'update-server-info')
  for (const url of [join(world.folder, 'super'), `${server.url}/super/.git`]) {
    await run('rm', ['-rf', join(world.folder, 'cache')])
    await world.git('clone', 'remote', 'set-url', 'origin', url)
    const mount = await mounted(t, world)
    assert.deepEqual((await readdir(mount.path)).sort(), ['.gitmodules', 'out.txt', 'sub'])
    assert.ok((await stat(join(mount.path, 'sub'))).isDirectory())
    await assert.rejects(readdir(join(world.folder, 'cache/clones')), 'listing the parent clones nothing')
    assert.deepEqual(await readdir(join(mount.path, 'sub')), ['in.bin'])
    assert.ok(CONTENT.equals(await readFile(join(mount.path, 'sub/in.bin'))), url)
    assert.equal(await mount.stop(), 0)
  }
})

test('a sub-dataset that cannot be cloned is EIO, and ls of its parent goes on', LIMIT, async (t) => {
  const world = await nested(t)
  await world.git('clone', 'remote', 'set-url', 'origin', join(world.folder, 'nowhere'))
  const mount = await mounted(t, world)
  const failure = { code: 'EIO' }
  await assert.rejects(readdir(join(mount.path, 'sub')), failure)
  await assert.rejects(stat(join(mount.path, 'sub/in.bin')), failure)
  const { stdout } = await run('ls', ['-l', mount.path])
  assert.match(stdout, /sub\n/)
})

test(
  'ls of the parent never waits for a sub-dataset whose server hangs; entering it ends at the deadline',
  LIMIT,
  async (t) => {
    const world = await nested(t)
    const server = await httpServer(t, (request, response) => {
      if (request.url?.includes('/info/refs') !== true) return
      response.end(`${'1'.repeat(40)}\trefs/heads/main\n`)
    })
    await world.git('clone', 'remote', 'set-url', 'origin', `${server.url}/super`)
    const mount = await mounted(t, world, ['--read-timeout=10s'])
    const entering = assert.rejects(readdir(join(mount.path, 'sub')), { code: 'ETIMEDOUT' })
    let worst = 0
    for (let round = 0; round < 10; round++) {
      const started = performance.now()
      assert.equal((await readdir(mount.path)).length, 3)
      assert.ok((await stat(join(mount.path, 'sub'))).isDirectory())
      worst = Math.max(worst, performance.now() - started)
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
    measured(t, 'slowest ls of the parent:', worst, { mark: 1000, alarm: 8000 })
    await entering
    const stopping = performance.now()
    assert.equal(await mount.stop(), 0)
    // A clone under way does not hold up the end.
    measured(t, 'unmounted after', performance.now() - stopping, { mark: 10_000, alarm: 60_000 })
  },
)
