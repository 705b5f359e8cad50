import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { WatchedFile } from '../../lib/engine/activity-file.js'
import type { Content } from '../../lib/engine/content.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { placeBelow } from '../../lib/save/destination.js'
import { saveFile, type Saved } from '../../lib/save/save.js'
import { annexWorld } from '../support/annex.js'
import { engineFor } from '../support/engine.js'
import { makeTorrent, pseudoRandom, startLibtorrent } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }

interface Saving {
  readonly folder: string
  readonly part: string
  readonly save: () => Promise<Saved>
}

/** What saving the file at `path` of a SOURCE takes. */
async function saving(t: TestContext, source: string, path: string, peers: readonly string[] = []): Promise<Saving> {
  const seed = { uploadLimit: 0, downloadLimit: undefined, maxConnections: 10, dht: false, lsd: false, pex: false }
  const swarm = { ...seed, peers, port: 0, trackers: false, webSeeds: false, seed: false }
  const engine = await engineFor(t, source, { swarm })
  const folder = await temporaryFolder(t)
  const target = join(folder, 'saved')
  const signal = AbortSignal.timeout(60_000)
  const node = await engine.volume.lookup(path, signal)
  assert.ok(node?.kind === 'file')
  const content: Content = node.content
  const file: WatchedFile = await engine.openWatched(node, path, signal)
  t.after(() => file.close())
  const id = createHash('sha256').update(`${target}\0${file.contentId}`).digest('hex').slice(0, 24)
  return {
    folder,
    part: join(folder, `.annexfs-${id}.part`),
    save: () =>
      saveFile({ file, content, executable: false, target, readTimeout: 10_000, signal, progress: () => undefined }),
  }
}

test('of a part of a torrent just what is right is gone on with', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 1_000_000, pieceLength: 65_536 })
  const peer = await startLibtorrent(t, { torrent, host: '127.0.0.62', seed: true })
  const { folder, part, save } = await saving(t, torrent.file, '/content.bin', [peer.address])
  const damaged = Buffer.from(torrent.content.subarray(0, 700_000))
  damaged[300_000] = (damaged[300_000] ?? 0) ^ 1
  await writeFile(part, damaged)
  const saved = await save()
  assert.deepEqual(saved, { already: false, resumed: 4 * 65_536, checked: 'piece' })
  assert.deepEqual(await readFile(join(folder, 'saved')), torrent.content)
  assert.deepEqual(await readdir(folder), ['saved'])
  assert.deepEqual(await save(), { already: true, resumed: 0, checked: 'piece' })
})

test('a damaged part of a key is found out by its hash, and begun afresh', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const content = pseudoRandom(700_000, 'x')
  const repository = await world.repository('a')
  await world.addAnnexed('a', { x: content })
  const { folder, part, save } = await saving(t, repository, '/x')
  await writeFile(part, pseudoRandom(500_000, 'something else'))
  assert.deepEqual(await save(), { already: false, resumed: 0, checked: 'whole' })
  assert.deepEqual(await readFile(join(folder, 'saved')), content)
})

test('a part that is a link, or longer than the file, harms nobody', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  await world.addAnnexed('a', { x: 'content' })
  const { folder, part, save } = await saving(t, repository, '/x')
  const victim = join(await temporaryFolder(t), 'victim')
  await writeFile(victim, 'precious')
  await symlink(victim, part)
  await assert.rejects(save(), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  assert.equal(await readFile(victim, 'utf8'), 'precious')
  assert.ok(!(await readdir(folder)).includes('saved'))
  const other = await saving(t, repository, '/x')
  await writeFile(other.part, 'content and a lot more')
  await other.save()
  assert.equal(await readFile(join(other.folder, 'saved'), 'utf8'), 'content')
})

test('no name leads out of the folder', async (t) => {
  const base = await temporaryFolder(t)
  for (const names of [
    ['..', 'x'],
    ['a', '..', '..', 'x'],
    ['.'],
    [''],
    ['/etc/passwd'],
    ['a/b'],
    ['x\0y'],
    ['é'.repeat(200)],
  ]) {
    await assert.rejects(placeBelow(base, names), (error) => isAnnexfsError(error, 'FORBIDDEN'), JSON.stringify(names))
  }
  await assert.rejects(placeBelow(base, []), (error) => isAnnexfsError(error, 'INVALID'))
  const outside = await temporaryFolder(t)
  await symlink(outside, join(base, 'link'))
  await writeFile(join(base, 'file'), '')
  await mkdir(join(base, 'a'))
  for (const first of ['link', 'file']) {
    await assert.rejects(placeBelow(base, [first, 'x']), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  }
  assert.equal(await placeBelow(base, ['a', 'b', 'c']), join(base, 'a/b/c'))
  assert.deepEqual(await readdir(outside), [])
})
