import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { chmod, mkdir, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { parseKey } from '../../lib/annex/key.js'
import { GitRepository } from '../../lib/git/repository.js'
import { silentLog } from '../../lib/log/log.js'
import { encodeManifest } from '../../lib/manifest/format.js'
import { ManifestRecorder } from '../../lib/manifest/record.js'
import { canHaveManifest, manifestPieceLength, type ManifestKey } from '../../lib/manifest/rule.js'
import type { Snapshot } from '../../lib/status/snapshot.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, misbehaving } from '../support/http.js'
import { pseudoRandom, startLibtorrent, until } from '../support/peers.js'
import { REACH_NGINX } from '../support/sample.js'
import { annexfs, homeOf, mountSession, runProgram, within } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const REF = 'refs/annexfs/manifests'
const SIZE = 2_000_000
const FLIPPED = 1_500_000

interface Scene {
  readonly world: AnnexWorld
  readonly repository: string
  readonly content: Buffer
  readonly key: ManifestKey
  readonly release: () => void
}

/**
 * A repository whose file `file` is at directory remotes alone; in those named `liar…` one byte is changed. With `held`
 * also at a web server, which answers once it is released.
 */
async function scene(t: TestContext, remotes: readonly string[], held = false): Promise<Scene> {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.git('a', 'config', 'user.name', 'Test')
  await world.git('a', 'config', 'user.email', 'test@example.com')
  const content = pseudoRandom(SIZE, 'file')
  await world.addAnnexed('a', { file: content })
  const text = await world.annex('a', 'lookupkey', 'file')
  for (const [index, name] of remotes.entries()) {
    await mkdir(join(world.folder, name))
    const settings = [`type=directory`, `directory=../${name}`, 'encryption=none']
    await world.annex('a', 'initremote', '--quiet', name, ...settings, `cost=${100 + index}`)
    await world.annex('a', 'copy', '--quiet', '--to', name, 'file')
    if (name.startsWith('liar')) await flip(world, name, text)
  }
  const key = parseKey(text)
  assert.ok(key !== undefined && canHaveManifest(key))
  const waiting: (() => void)[] = []
  let open = false
  if (held) {
    const serve = misbehaving(content, 'none')
    const server = await httpServer(t, (request, response) => {
      if (open) serve(request, response)
      else waiting.push(() => serve(request, response))
    })
    await world.annex('a', 'registerurl', text, `${server.url}/file`)
  }
  const release = (): void => {
    open = true
    for (const answer of waiting.splice(0)) answer()
  }
  return { world, repository, content, key, release }
}

async function flip(world: AnnexWorld, remote: string, key: string): Promise<void> {
  const folder = join(world.folder, remote)
  const name = (await readdir(folder, { recursive: true })).find((one) => one.endsWith(`${key}/${key}`))
  assert.ok(name !== undefined)
  const bytes = await readFile(join(folder, name))
  bytes[FLIPPED] = (bytes[FLIPPED] ?? 0) ^ 1
  await chmod(join(folder, name), 0o644)
  await writeFile(join(folder, name), bytes)
}

/** Records the manifest of what the repository has, and lets the repository itself forget its content. */
async function recordAndDrop(t: TestContext, { world, repository }: Scene): Promise<void> {
  const env = { GIT_CONFIG_GLOBAL: join(world.folder, 'gitconfig') }
  const { code, stderr } = await annexfs(t, ['manifest', '--local', repository], { env })
  assert.equal(code, 0, stderr)
  await world.annex('a', 'drop', '--quiet', '--force', 'file')
}

/** Records a manifest that any bytes may have been used for. */
async function recordOf(t: TestContext, { repository, key }: Scene, bytes: Buffer): Promise<void> {
  const git = await GitRepository.open(repository, silentLog)
  t.after(() => git.close())
  const recorder = new ManifestRecorder({ git, sign: false, signal: new AbortController().signal })
  recorder.add(key, piecesOf(key, bytes))
  assert.equal(await recorder.commit(), 1)
}

function piecesOf(key: ManifestKey, bytes: Buffer): Buffer {
  const length = manifestPieceLength(key.size)
  const digests: Buffer[] = []
  for (let at = 0; at < bytes.length; at += length) {
    digests.push(
      createHash('sha1')
        .update(bytes.subarray(at, at + length))
        .digest(),
    )
  }
  return Buffer.concat(digests)
}

async function attribute(path: string, name: string): Promise<string> {
  const args = ['--absolute-names', '--only-values', '-n', `user.annexfs.${name}`, path]
  const { stdout } = await runProgram('getfattr', args)
  return stdout.toString()
}

test('one of two remotes is corrupted: every read is right, and the liar is set aside', LIMIT, async (t) => {
  const place = await scene(t, ['liar'], true)
  await recordAndDrop(t, place)
  const mount = await mountSession(t, [place.repository], { options: REACH_NGINX })
  const path = join(mount.path, 'file')
  const handle = await open(path)
  try {
    // The wrong byte first, which the liar gives while the other is silent; then all around it.
    const first = Buffer.alloc(100)
    const reading = within(60_000, 'read', handle.read(first, 0, first.length, FLIPPED))
    await mount.logged(/set aside.*source=liar/)
    place.release()
    await reading
    assert.ok(first.equals(place.content.subarray(FLIPPED, FLIPPED + 100)))
    for (const at of [FLIPPED - 200_000, 0, SIZE - 100, FLIPPED - 1, 700_000]) {
      const own = Buffer.alloc(100)
      const { bytesRead } = await within(60_000, 'read', handle.read(own, 0, own.length, at))
      assert.ok(own.subarray(0, bytesRead).equals(place.content.subarray(at, at + own.length)), String(at))
    }
  } finally {
    await handle.close()
  }
  assert.equal(await attribute(path, 'verified'), 'piece')
  assert.ok(place.content.equals(await within(60_000, 'read', readFile(path))))
  assert.match(await attribute(path, 'infohash'), /^[0-9a-f]{40}$/)
})

test('all remotes lie: an error for that part, and the rest is right', LIMIT, async (t) => {
  const place = await scene(t, ['liar', 'liar2'])
  await recordAndDrop(t, place)
  const mount = await mountSession(t, [place.repository])
  const path = join(mount.path, 'file')
  const handle = await open(path)
  const own = Buffer.alloc(1000)
  await within(60_000, 'read', handle.read(own, 0, own.length, 5))
  assert.ok(own.equals(place.content.subarray(5, 1005)))
  await assert.rejects(within(60_000, 'read', handle.read(own, 0, own.length, FLIPPED)), { code: 'EIO' })
  await handle.close()
  await mount.logged(/fetching it whole to see who is right/)
  await assert.rejects(within(60_000, 'read', readFile(path)), { code: 'EIO' })
})

test('a false manifest is found out, and the content read without it', LIMIT, async (t) => {
  const place = await scene(t, ['honest'])
  await place.world.annex('a', 'drop', '--quiet', '--force', 'file')
  const wrong = Buffer.from(place.content)
  wrong[FLIPPED] = (wrong[FLIPPED] ?? 0) ^ 1
  await recordOf(t, place, wrong)
  const mount = await mountSession(t, [place.repository])
  const path = join(mount.path, 'file')
  assert.ok(place.content.equals(await within(60_000, 'read', readFile(path))))
  await mount.logged(/the manifest of a key is false and is not used again/)
  assert.ok(place.content.equals(await within(60_000, 'read', readFile(path))))
  assert.equal(await attribute(path, 'verified'), 'whole')
  // Also by the next mount, and where only manifests are believed it is an error.
  await mount.stop()
  const again = await mount.again()
  assert.ok(place.content.equals(await within(60_000, 'read', readFile(path))))
  assert.doesNotMatch(again.log(), /false/)
  await again.stop()
  await mount.again(['--verify=manifest'])
  await assert.rejects(within(60_000, 'read', readFile(path)), { code: 'EIO' })
})

test('wrong content with a manifest to match is found out when it is complete', LIMIT, async (t) => {
  const place = await scene(t, ['liar', 'honest'])
  const { world } = place
  await world.annex('a', 'drop', '--quiet', '--force', 'file')
  const wrong = Buffer.from(place.content)
  wrong[FLIPPED] = (wrong[FLIPPED] ?? 0) ^ 1
  await recordOf(t, place, wrong)
  const mount = await mountSession(t, [place.repository])
  const path = join(mount.path, 'file')
  await within(
    60_000,
    'read',
    readFile(path).catch(() => undefined),
  )
  await mount.logged(/the manifest of a key is false and is not used again/)
  // Now without a manifest; that the cheaper remote lies is found when all of it is there.
  let now: Buffer | undefined
  for (let tries = 0; tries < 50 && (now === undefined || !now.equals(place.content)); tries++) {
    now = await within(60_000, 'read', readFile(path)).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
  assert.ok(now?.equals(place.content))
})

test('--verify=strict gives nothing by a false manifest', LIMIT, async (t) => {
  const place = await scene(t, ['liar', 'honest'])
  await place.world.annex('a', 'drop', '--quiet', '--force', 'file')
  const wrong = Buffer.from(place.content)
  wrong[FLIPPED] = (wrong[FLIPPED] ?? 0) ^ 1
  await recordOf(t, place, wrong)
  const mount = await mountSession(t, [place.repository], { options: ['--verify=strict'] })
  const path = join(mount.path, 'file')
  let read: Buffer | undefined
  for (let tries = 0; tries < 50 && read === undefined; tries++) {
    read = await within(60_000, 'read', readFile(path)).catch((error: NodeJS.ErrnoException) => {
      assert.equal(error.code, 'EIO')
      return undefined
    })
  }
  assert.ok(read?.equals(place.content))
})

test('--verify=manifest refuses keys without one, until it is there', LIMIT, async (t) => {
  const place = await scene(t, ['honest'])
  const { world } = place
  await world.addAnnexed('a', { other: pseudoRandom(500, 'other'), empty: '' })
  await world.write('a', 'ingit', 'in git\n')
  await world.git('a', 'add', '-f', 'ingit')
  await world.git('a', 'commit', '--quiet', '-m', 'x')
  await world.annex('a', 'drop', '--quiet', '--force', 'file', 'empty')
  const mount = await mountSession(t, [place.repository], { options: ['--verify=manifest'] })
  const path = join(mount.path, 'file')
  assert.equal((await stat(path)).size, SIZE)
  await assert.rejects(within(60_000, 'read', readFile(path)), { code: 'EIO' })
  await mount.logged(/has no manifest that can be used/)
  assert.equal((await readFile(join(mount.path, 'ingit'))).toString(), 'in git\n')
  assert.equal((await readFile(join(mount.path, 'empty'))).length, 0)
  // The repository's own object has been compared with its key.
  assert.ok((await readFile(join(mount.path, 'other'))).equals(pseudoRandom(500, 'other')))
  await recordOf(t, place, place.content)
  await until('the manifest is seen', () =>
    readFile(path).then(
      (bytes) => bytes.equals(place.content),
      () => false,
    ),
  )
})

test('pieces that were cached before the manifest came are used, and the bad one among them not', LIMIT, async (t) => {
  const place = await scene(t, ['liar'], true)
  const { world, content } = place
  await world.annex('a', 'drop', '--quiet', '--force', 'file')
  const cache = await temporaryFolder(t)
  const options = ['--readahead=0', ...REACH_NGINX]
  const before = await mountSession(t, [place.repository], { cache, options })
  const handle = await open(join(before.path, 'file'))
  for (const at of [0, FLIPPED]) await within(60_000, 'read', handle.read(Buffer.alloc(100), 0, 100, at))
  await handle.close()
  await until('they are cached', async () => Number(await attribute(join(before.path, 'file'), 'cached')) > 131_072)
  await before.stop()
  await recordOf(t, place, content)
  await rm(join(world.folder, 'liar'), { recursive: true, force: true })
  const mount = await mountSession(t, [place.repository], { cache, options })
  const own = Buffer.alloc(100)
  const now = await open(join(mount.path, 'file'))
  await within(60_000, 'read', now.read(own, 0, own.length, 0))
  assert.ok(own.equals(content.subarray(0, 100)), 'while the server is silent')
  const reading = within(60_000, 'read', now.read(own, 0, own.length, FLIPPED))
  await mount.logged(/set aside.*source=cache/)
  place.release()
  await reading
  assert.ok(own.equals(content.subarray(FLIPPED, FLIPPED + 100)))
  await now.close()
  await mount.stop()
})

test('a swarm that seeds the manifest’s torrent gives the content with --manifest-swarm alone', LIMIT, async (t) => {
  const place = await scene(t, [])
  await recordAndDrop(t, place)
  const { world } = place
  // The same content under the rule's name: the same infohash.
  const folder = await temporaryFolder(t)
  const name = place.key.raw
  const bytes = encodeManifest(place.key, piecesOf(place.key, place.content))
  await writeFile(join(folder, name), place.content)
  const torrent = join(folder, 'x.torrent')
  await writeFile(torrent, bytes)
  const peer = await startLibtorrent(t, { host: '127.0.0.21', torrent: { file: torrent, folder }, seed: true })
  const peers = [`--peer=${peer.address}`, '--allow-address=127.0.0.0/8']
  const without = await mountSession(t, [place.repository], { options: peers })
  await assert.rejects(within(60_000, 'read', readFile(join(without.path, 'file'))), { code: 'EIO' })
  assert.equal((await peer.status()).uploaded, 0)
  await without.stop()
  const home = await temporaryFolder(t)
  const env = { XDG_RUNTIME_DIR: home }
  const mount = await mountSession(t, [place.repository], { options: [...peers, '--manifest-swarm'], env })
  const handle = await open(join(mount.path, 'file'))
  try {
    assert.ok(place.content.equals(await within(60_000, 'read', handle.readFile())))
    // The torrent is named after the key, which tells people nothing.
    const status = await annexfs(t, ['status', '--json'], { env: { ...homeOf(home), ...env } })
    const seen = JSON.parse(status.stdout.toString()) as Snapshot
    assert.deepEqual(
      seen.peers.map(({ address, name: shown }) => [address, shown]),
      [[peer.address, '/file']],
    )
  } finally {
    await handle.close()
  }
  assert.equal(await world.git('a', 'rev-list', '--count', REF), '1', 'the mount wrote nothing')
  assert.ok((await peer.status()).uploaded > 0)
})
