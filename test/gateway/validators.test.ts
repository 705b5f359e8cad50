import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { parseKey } from '../../lib/annex/key.js'
import type { KeyContent } from '../../lib/engine/content.js'
import { etagOf, expectedEtag, httpDate } from '../../lib/gateway/validators.js'
import { annexWorld } from '../support/annex.js'
import { startNginx } from '../support/nginx.js'
import { makeTorrent, pseudoRandom, startLibtorrent } from '../support/peers.js'
import { REACH_NGINX } from '../support/sample.js'
import { serveSession } from './serve-session.js'
import { ask } from './world.js'

const LIMIT = { timeout: 180_000 }

function keyContent(raw: string): KeyContent {
  const key = parseKey(raw)
  assert.ok(key !== undefined, raw)
  return { kind: 'key', id: `key:${raw}`, key } as KeyContent
}

test('tags are strong where every byte is fixed, and weak elsewhere', () => {
  const hashed = keyContent('SHA256E-s3--ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.txt')
  const url = keyContent('URL--http&c%%example.org%x etag:"y')
  assert.match(etagOf(hashed, hashed.id), /^"[\w-]{32}"$/)
  assert.equal(expectedEtag(hashed), etagOf(hashed, hashed.id))
  assert.match(etagOf(url, `${url.id} etag:"v1"`), /^"/)
  assert.notEqual(etagOf(url, `${url.id} etag:"v1"`), etagOf(url, `${url.id} etag:"v2"`))
  for (const id of [url.id, `${url.id} `, `${url.id} mtime:Sat`]) assert.match(etagOf(url, id), /^W\/"[\w-]{32}"$/)
  assert.equal(expectedEtag(url), undefined)
})

test('times that HTTP cannot write are moved into its calendar', () => {
  assert.equal(httpDate(-1), 'Thu, 01 Jan 1970 00:00:00 GMT')
  assert.equal(httpDate(NaN), 'Thu, 01 Jan 1970 00:00:00 GMT')
  assert.equal(httpDate(8.64e15), 'Fri, 31 Dec 9999 23:59:59 GMT')
})

test('a file of a torrent comes from its peers, and its tag stays the same', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 3_000_000, pieceLength: 65_536, name: 'film.mkv' })
  const peer = await startLibtorrent(t, { host: '127.0.0.43', torrent, seed: true })
  const tags: (string | undefined)[] = []
  for (let start = 0; start < 2; start++) {
    const session = await serveSession(t, [torrent.file], { args: ['--peer', peer.address, ...REACH_NGINX] })
    const part = await ask(session.port, '/film.mkv', { headers: { Range: 'bytes=1000000-1099999' } })
    assert.equal(part.status, 206)
    assert.ok(part.body.equals(torrent.content.subarray(1_000_000, 1_100_000)))
    assert.ok((await ask(session.port, '/film.mkv')).body.equals(torrent.content))
    tags.push(part.headers.etag)
    assert.equal(await session.stop(), 0)
  }
  assert.match(tags[0] ?? '', /^"/)
  assert.equal(tags[1], tags[0])
})

test('a URL without a size has one when it is asked for, and the tag of its version', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const nginx = await startNginx(t)
  const content = pseudoRandom(345_678, 'from the web')
  await mkdir(join(nginx.root, 'a'))
  await writeFile(join(nginx.root, 'a/x.bin'), content)
  const repository = await world.repository('a')
  await world.annex('a', 'addurl', '--quiet', '--relaxed', '--file=x.bin', `${nginx.url}/a/x.bin`)
  await world.git('a', 'commit', '--quiet', '-m', 'a URL')
  const session = await serveSession(t, [repository], { args: REACH_NGINX })
  const before = (await nginx.log()).length
  const find = { method: 'PROPFIND', headers: { Depth: '1' } }
  assert.doesNotMatch((await ask(session.port, '/', find)).text, /getcontentlength/)
  assert.equal((await nginx.log()).length, before)
  const head = await ask(session.port, '/x.bin', { method: 'HEAD' })
  assert.deepEqual([head.status, head.headers['content-length']], [200, '345678'])
  assert.match(head.headers.etag ?? '', /^"/)
  const got = await ask(session.port, '/x.bin', { headers: { Range: 'bytes=0-', 'If-Range': head.headers.etag ?? '' } })
  assert.equal(got.status, 206)
  assert.ok(got.body.equals(await readFile(join(nginx.root, 'a/x.bin'))))
  assert.match((await ask(session.port, '/', find)).text, /<D:getcontentlength>345678</)
})
