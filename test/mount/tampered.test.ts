import assert from 'node:assert/strict'
import { chmod, constants, mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, misbehaving } from '../support/http.js'
import { measured } from '../support/marks.js'
import { pseudoRandom, until } from '../support/peers.js'
import { REACH_NGINX } from '../support/sample.js'
import { mountSession, runProgram, within } from '../support/session.js'

const LIMIT = { timeout: 180_000 }
const SIZE = 2_000_000
const FLIPPED = 1_500_000

interface Tampered {
  readonly repository: string
  readonly content: Buffer
  /** The honest server answers from now on. */
  readonly release: () => void
}

/**
 * A repository whose file is at a directory remote that changed one byte of it, and, if `honest`, at a web server too,
 * which takes its time until it is released.
 */
async function tampered(t: TestContext, honest: boolean): Promise<Tampered> {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  const content = pseudoRandom(SIZE, 'file')
  await world.addAnnexed('a', { file: content })
  const serve = misbehaving(content, 'none')
  const held: (() => void)[] = []
  let open = false
  const server = await httpServer(t, (request, response) => {
    if (open) serve(request, response)
    else held.push(() => serve(request, response))
  })
  await mkdir(join(world.folder, 'shelf'))
  await world.annex('a', 'initremote', '--quiet', 's', 'type=directory', 'directory=../shelf', 'encryption=none')
  await world.annex('a', 'copy', '--quiet', '--to', 's', 'file')
  const key = await world.annex('a', 'lookupkey', 'file')
  if (honest) await world.annex('a', 'registerurl', key, `${server.url}/file`)
  await world.annex('a', 'drop', '--quiet', '--force', 'file')
  await flip(world, key)
  const release = (): void => {
    open = true
    for (const answer of held.splice(0)) answer()
  }
  return { repository, content, release }
}

async function flip(world: AnnexWorld, key: string): Promise<void> {
  const shelf = join(world.folder, 'shelf')
  const name = (await readdir(shelf, { recursive: true })).find((one) => one.endsWith(`${key}/${key}`))
  assert.ok(name !== undefined)
  const path = join(shelf, name)
  const bytes = await readFile(path)
  bytes[FLIPPED] = (bytes[FLIPPED] ?? 0) ^ 1
  await chmod(path, 0o644)
  await writeFile(path, bytes)
}

async function attribute(path: string, name: string): Promise<string> {
  const { stdout, stderr } = await runProgram('getfattr', [
    '--absolute-names',
    '--only-values',
    '-n',
    `user.annexfs.${name}`,
    path,
  ])
  assert.equal(stderr, '')
  return stdout.toString()
}

test('goal 6: strict verification never gives a byte that was not checked: EIO', LIMIT, async (t) => {
  const { repository } = await tampered(t, false)
  const mount = await mountSession(t, [repository], { options: ['--verify', 'strict'] })
  const file = join(mount.path, 'file')
  await assert.rejects(within(60_000, 'read', readFile(file)), { code: 'EIO' })
  // The wrong byte is far away: that is no excuse.
  const handle = await open(file)
  await assert.rejects(within(60_000, 'read', handle.read(Buffer.alloc(100), 0, 100, 0)), { code: 'EIO' })
  await handle.close()
  await mount.logged(/not what its key says/)
})

test('goal 6: strict verification reads from the remote that is honest', LIMIT, async (t) => {
  const { repository, content, release } = await tampered(t, true)
  const mount = await mountSession(t, [repository], { options: ['--verify', 'strict', ...REACH_NGINX] })
  const file = join(mount.path, 'file')
  release()
  // The first may still learn who is not.
  const first = await within(
    60_000,
    'read',
    readFile(file).catch((error: NodeJS.ErrnoException) => error.code),
  )
  if (typeof first === 'string' || first === undefined) assert.equal(first, 'EIO')
  else assert.ok(content.equals(first))
  let now: Buffer | undefined
  for (let tries = 0; now === undefined && tries < 30; tries++) {
    now = await within(60_000, 'read', readFile(file)).catch(() => undefined)
  }
  assert.ok(now !== undefined && content.equals(now))
  assert.equal(await attribute(file, 'verified'), 'whole')
})

test(
  'goal 6: content found wrong at completion is thrown away, EIO at once, and right when opened again',
  LIMIT,
  async (t) => {
    const { repository, content, release } = await tampered(t, true)
    const mount = await mountSession(t, [repository], { options: REACH_NGINX })
    const path = join(mount.path, 'file')
    assert.equal(await attribute(path, 'verified'), 'none')
    assert.equal(await attribute(path, 'cached'), '0')
    assert.equal(await attribute(path, 'size'), String(SIZE))
    assert.match(await attribute(path, 'key'), /^SHA256E-s2000000--/)
    // O_DIRECT, so that what the kernel keeps does not hide what we would answer.
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECT)
    const own = Buffer.alloc(131_072)
    try {
      await within(60_000, 'read', handle.read(own, 0, own.length, 0))
      assert.ok(own.equals(content.subarray(0, own.length)))
      await until('it is in the cache', async () => (await attribute(path, 'verified')) === 'pending')
      assert.ok(Number(await attribute(path, 'cached')) >= own.length)
      let failed: unknown
      for (let at = 0; at < SIZE && failed === undefined; at += own.length) {
        await within(60_000, 'read', handle.read(own, 0, own.length, at)).catch((error: unknown) => (failed = error))
      }
      const complete = performance.now()
      await until('it fails', async () => {
        if (failed === undefined) await handle.read(own, 0, own.length, 0).catch((error: unknown) => (failed = error))
        return failed !== undefined
      })
      assert.equal((failed as NodeJS.ErrnoException | undefined)?.code, 'EIO')
      measured(t, 'EIO after', performance.now() - complete, { mark: 1000, alarm: 30_000 })
      await assert.rejects(handle.read(own, 0, own.length, 0), { code: 'EIO' }, 'and it stays so')
    } finally {
      await handle.close()
    }
    await mount.logged(/not what its key says/)
    release()
    assert.ok(content.equals(await within(60_000, 'read', readFile(path))), 'opened again: from the honest one')
    await until('it is verified', async () => (await attribute(path, 'verified')) === 'whole')
  },
)

test('goal 6: what the kernel kept of wrong content is not shown after it was thrown away', LIMIT, async (t) => {
  const { repository, content, release } = await tampered(t, true)
  const mount = await mountSession(t, [repository], { options: REACH_NGINX })
  const path = join(mount.path, 'file')
  await within(
    60_000,
    'read',
    readFile(path).catch(() => undefined),
  )
  await mount.logged(/not what its key says/)
  release()
  assert.ok(content.equals(await within(60_000, 'read', readFile(path))))
})
