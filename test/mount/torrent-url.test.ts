import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Whereabouts } from '../../lib/engine/whereabouts.js'
import type { FileStatus, Snapshot } from '../../lib/status/snapshot.js'
import { parseMetainfo } from '../../lib/torrent/metainfo.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { askedRange, httpServer } from '../support/http.js'
import { pseudoRandom, startLibtorrent, until, type LibtorrentPeer } from '../support/peers.js'
import { annexfs, homeOf, mountSession, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const PIECE = 64 * 1024
const one = pseudoRandom(90_000, 'one')
const two = pseudoRandom(70_001, 'two')
const oneKey = `SHA256E-s${one.length}--${createHash('sha256').update(one).digest('hex')}.bin`

interface Album {
  readonly world: AnnexWorld
  readonly repository: string
  readonly peer: LibtorrentPeer
  readonly magnet: string
  readonly oneName: string
  readonly twoName: string
}

/** A repository with both files of a torrent at a URL, and one of them by its magnet, as `magnet.bin`. */
async function album(t: TestContext): Promise<Album> {
  const world = await annexWorld(t)
  const content = join(world.folder, 'content', 'album')
  await mkdir(join(content, 'sub'), { recursive: true })
  await writeFile(join(content, 'one.bin'), one)
  await writeFile(join(content, 'sub', 'two.bin'), two)
  const file = join(world.folder, 'album.torrent')
  await runProgram('mktorrent', ['-l', '16', '-a', 'http://127.0.0.1:1/announce', '-o', file, content])
  const metainfo = await readFile(file)
  const server = await httpServer(t, (request, response) => {
    response.writeHead(200, { 'content-length': metainfo.length })
    response.end(request.method === 'HEAD' ? undefined : metainfo)
  })
  const peer = await startLibtorrent(t, {
    host: '127.0.0.31',
    torrent: { file, folder: join(world.folder, 'content') },
    seed: true,
  })
  const repository = await world.repository('a')
  await world.git('a', 'config', 'annex.security.allowed-ip-addresses', 'all')
  await world.annex('a', 'addurl', '--quiet', '--fast', `${server.url}/album.torrent`)
  const magnet = `magnet:?xt=urn:btih:${parseMetainfo(metainfo).infohash}`
  await world.annex('a', 'fromkey', '--force', oneKey, 'magnet.bin')
  await world.annex('a', 'registerurl', oneKey, magnet)
  await world.git('a', 'commit', '--quiet', '-m', 'torrents')
  const names = (await world.git('a', 'ls-files')).split('\n')
  const named = (end: string): string => names.find((name) => name.endsWith(end)) ?? ''
  return { world, repository, peer, magnet, oneName: named('one.bin'), twoName: named('two.bin') }
}

test('keys that record a torrent or a magnet are read from the swarm, each its own file of it', LIMIT, async (t) => {
  const { world, repository, peer, magnet, oneName, twoName } = await album(t)
  const wrongKey = `SHA256E-s${one.length}--${'0'.repeat(64)}.bin`
  await world.annex('a', 'fromkey', '--force', wrongKey, 'wrong.bin')
  await world.annex('a', 'registerurl', wrongKey, magnet)
  await world.git('a', 'commit', '--quiet', '-m', 'a torrent of something else')

  const cache = join(world.folder, 'cache')
  const options = ['--cache-dir', cache, '--allow-address', '127.0.0.0/8', '--peer', peer.address]
  const switches = ['--no-dht', '--no-lsd', '--no-pex', '--no-trackers', '--min-free=1MiB']
  const cat = async (path: string): Promise<Buffer> => {
    const result = await annexfs(t, ['cat', repository, path, ...options, ...switches])
    assert.equal(result.code, 0, result.stderr)
    return result.stdout
  }
  assert.ok((await cat(twoName)).equals(two))
  assert.ok((await cat(oneName)).equals(one))
  assert.ok((await cat('magnet.bin')).equals(one), 'a magnet without a number means the first file')
  const wrong = await annexfs(t, ['cat', repository, 'wrong.bin', ...options, ...switches])
  assert.equal(wrong.code, 5, wrong.stderr)
  assert.match(wrong.stderr, /does not match its key/)
  const again = await annexfs(t, ['cat', repository, 'wrong.bin', ...options, ...switches])
  assert.equal(again.stdout.length, 0, 'a torrent of something else is not used again')
  assert.notEqual(again.code, 0)
  const strict = await annexfs(t, ['cat', repository, 'magnet.bin', '--verify=strict', ...options, ...switches])
  assert.ok(strict.stdout.equals(one), strict.stderr)

  await world.git('a', 'config', '--unset', 'annex.security.allowed-ip-addresses')
  const refused = await annexfs(t, [
    'cat',
    repository,
    oneName,
    '--cache-dir',
    join(world.folder, 'other'),
    ...switches,
  ])
  assert.equal(refused.code, 4)
  assert.match(refused.stderr, /--allow-address/)
})

test('what came through a torrent is told of, pinned and evicted as what it is', LIMIT, async (t) => {
  const { repository, peer, oneName, twoName } = await album(t)
  const env = homeOf(await temporaryFolder(t))
  const swarm = ['--allow-address', '127.0.0.0/8', '--peer', peer.address]
  const first = await mountSession(t, [repository], { env, options: swarm })
  for (const [name, content] of [
    [oneName, one],
    [twoName, two],
    ['magnet.bin', one],
  ] as const) {
    assert.ok((await readFile(join(first.path, name))).equals(content), name)
  }
  assert.equal(await first.stop(), 0)
  await peer.stop()

  const mount = await first.again([])
  const at = (name: string): string => join(mount.path, name)
  const attribute = async (name: string, what: string): Promise<string> => {
    return (await runProgram('getfattr', ['--only-values', '-n', `user.annexfs.${what}`, at(name)])).stdout.toString()
  }
  const run = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await annexfs(t, args, { env })
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`)
    return stdout.toString()
  }
  const whereis = async (name: string): Promise<Whereabouts> =>
    JSON.parse(await run('whereis', '--json', at(name))) as Whereabouts

  for (const [name, { length }] of [
    [oneName, one],
    [twoName, two],
    ['magnet.bin', one],
  ] as const) {
    assert.equal(await attribute(name, 'cached'), String(length), name)
    assert.equal(await attribute(name, 'verified'), 'piece', name)
    const found = await whereis(name)
    assert.deepEqual([found.cached, found.verified], [length, 'piece'], name)
    const handle = await open(at(name))
    let status: FileStatus | undefined
    // Whoever asks soon after another is told the same.
    await until('the status shows it', async () => {
      const { files } = JSON.parse(await run('status', '--json', mount.path)) as Snapshot
      status = files.find(({ path }) => path === `/${name}`)
      return status !== undefined
    })
    await handle.close()
    assert.deepEqual([status?.cached, status?.verified], [length, 'piece'], name)
  }
  assert.match(await run('pin', at('magnet.bin')), /^pinned .* 87\.9 KiB of 87\.9 KiB cached, each piece checked\n$/)
  const refused = await annexfs(t, ['evict', at('magnet.bin')], { env })
  assert.match(refused.stderr, /it is pinned/)
  assert.match(await run('prefetch', at('magnet.bin')), /87\.9 KiB of 87\.9 KiB cached, checked whole\n$/)
  assert.match(await run('unpin', at('magnet.bin')), /^unpinned .* 87\.9 KiB of 87\.9 KiB cached/)
  assert.match(await run('evict', at('magnet.bin')), /^evicted \d+ KiB .* 0 B of 87\.9 KiB cached\n$/)
  assert.equal((await whereis('magnet.bin')).cached, 0)
  assert.equal((await whereis(oneName)).cached, 0, 'they are the same pieces')
  assert.ok((await whereis(twoName)).cached < two.length, 'one of which reached into the other file')
})

test(
  'content that came through a torrent in part is at hand, and the rest comes from whoever has it',
  LIMIT,
  async (t) => {
    const { world, repository, peer } = await album(t)
    let down = true
    const asked: string[] = []
    const server = await httpServer(t, (request, response) => {
      if (down) return void response.writeHead(404).end()
      const range = askedRange(request, one.length) ?? { start: 0, end: one.length }
      if (request.method === 'GET') asked.push(`${range.start}-${range.end}`)
      const head = { ETag: '"1"', 'Content-Range': `bytes ${range.start}-${range.end - 1}/${one.length}` }
      response.writeHead(206, head).end(request.method === 'HEAD' ? undefined : one.subarray(range.start, range.end))
    })
    await world.annex('a', 'registerurl', oneKey, `${server.url}/one.bin`)
    const env = homeOf(await temporaryFolder(t))
    const options = ['--allow-address', '127.0.0.0/8', '--streaming=off']
    const first = await mountSession(t, [repository], { env, options: [...options, '--peer', peer.address] })
    const handle = await open(join(first.path, 'magnet.bin'))
    await handle.read(Buffer.alloc(1000), 0, 1000, 0)
    await handle.close()
    assert.equal(await first.stop(), 0)
    await peer.stop()
    down = false

    const mount = await first.again(options)
    const path = join(mount.path, 'magnet.bin')
    const run = async (...args: string[]): Promise<string> => (await annexfs(t, args, { env })).stdout.toString()
    const before = JSON.parse(await run('whereis', '--json', path)) as Whereabouts
    assert.deepEqual([before.cached, before.verified], [PIECE, 'piece'])
    assert.match(await run('pin', path), /64\.0 KiB of 87\.9 KiB cached, each piece checked\n$/)
    assert.ok((await readFile(path)).equals(one))
    assert.notEqual(asked.length, 0)
    const after = JSON.parse(await run('whereis', '--json', path)) as Whereabouts
    assert.equal(after.cached, one.length)
    assert.match(await run('evict', path), /^$/, 'it is pinned')
    await run('unpin', path)
    assert.match(await run('evict', path), / 0 B of 87\.9 KiB cached\n$/)
  },
)

test(
  'a torrent that turned out to be of something else is not read on from the pages of the kernel',
  LIMIT,
  async (t) => {
    const { world, repository, peer, magnet } = await album(t)
    const wrongKey = `SHA256E-s${one.length}--${'0'.repeat(64)}.bin`
    await world.annex('a', 'fromkey', '--force', wrongKey, 'wrong.bin')
    await world.annex('a', 'registerurl', wrongKey, magnet)
    await world.git('a', 'commit', '--quiet', '-m', 'a torrent of something else')
    const options = ['--allow-address', '127.0.0.0/8', '--peer', peer.address]
    const mount = await mountSession(t, [repository], { options })
    const path = join(mount.path, 'wrong.bin')
    // All of it has to be there before it can be compared with the key.
    await readFile(path).catch(() => undefined)
    await mount.logged(/does not hold its content/)
    await assert.rejects(readFile(path), { code: 'EIO' })
  },
)
