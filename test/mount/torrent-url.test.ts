import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseMetainfo } from '../../lib/torrent/metainfo.js'
import { annexWorld } from '../support/annex.js'
import { httpServer } from '../support/http.js'
import { pseudoRandom, startLibtorrent } from '../support/peers.js'
import { annexfs, runProgram } from '../support/session.js'

test(
  'keys that record a torrent or a magnet are read from the swarm, each its own file of it',
  { timeout: 180_000 },
  async (t) => {
    const world = await annexWorld(t)
    const content = join(world.folder, 'content', 'album')
    await mkdir(join(content, 'sub'), { recursive: true })
    const one = pseudoRandom(90_000, 'one')
    const two = pseudoRandom(70_001, 'two')
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
    const key = `SHA256E-s${one.length}--${createHash('sha256').update(one).digest('hex')}.bin`
    const wrongKey = `SHA256E-s${one.length}--${'0'.repeat(64)}.bin`
    const magnet = `magnet:?xt=urn:btih:${parseMetainfo(metainfo).infohash}`
    await world.annex('a', 'fromkey', '--force', key, 'magnet.bin')
    await world.annex('a', 'registerurl', key, magnet)
    await world.annex('a', 'fromkey', '--force', wrongKey, 'wrong.bin')
    await world.annex('a', 'registerurl', wrongKey, magnet)
    await world.git('a', 'commit', '--quiet', '-m', 'torrents')

    const cache = join(world.folder, 'cache')
    const options = ['--cache-dir', cache, '--allow-address', '127.0.0.0/8', '--peer', peer.address]
    const switches = ['--no-dht', '--no-lsd', '--no-pex', '--no-trackers', '--min-free=1MiB']
    const cat = async (path: string): Promise<Buffer> => {
      const result = await annexfs(t, ['cat', repository, path, ...options, ...switches])
      assert.equal(result.code, 0, result.stderr)
      return result.stdout
    }
    const listed = await world.git('a', 'ls-files')
    const names = listed.split('\n')
    const oneName = names.find((name) => name.endsWith('one.bin')) ?? ''
    const twoName = names.find((name) => name.endsWith('two.bin')) ?? ''
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
  },
)
