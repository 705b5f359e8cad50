import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { seedUrl, webSeedSource } from '../../lib/sources/web-seed.js'
import { parseMetainfo, type Metainfo } from '../../lib/torrent/metainfo.js'
import { startNginx } from '../support/nginx.js'
import { readAll, sourceContract, spaceOf } from './contract.js'

const PIECE = 32 * 1024

/** Bencodes strings, buffers, integers, lists and dictionaries (whose keys must come sorted). */
function bencode(value: unknown): Buffer {
  if (typeof value === 'number') return Buffer.from(`i${value}e`)
  if (typeof value === 'string') return bencode(Buffer.from(value))
  if (Buffer.isBuffer(value)) return Buffer.concat([Buffer.from(`${value.length}:`), value])
  const items = Array.isArray(value) ? value : Object.entries(value as Record<string, unknown>).flat()
  return Buffer.concat([Buffer.from(Array.isArray(value) ? 'l' : 'd'), ...items.map(bencode), Buffer.from('e')])
}

function hashes(content: Buffer): Buffer {
  const digests: Buffer[] = []
  for (let at = 0; at < content.length; at += PIECE) {
    digests.push(
      createHash('sha1')
        .update(content.subarray(at, at + PIECE))
        .digest(),
    )
  }
  return Buffer.concat(digests)
}

interface Part {
  readonly path: Buffer[]
  readonly content: Buffer
  readonly padding?: boolean
}

function multiFile(name: Buffer, parts: readonly Part[]): Metainfo {
  const files = parts.map(({ path, content, padding }) => ({
    ...(padding === true ? { attr: 'p' } : {}),
    length: content.length,
    path,
  }))
  const all = Buffer.concat(parts.map((part) => part.content))
  return parseMetainfo(bencode({ info: { files, name, 'piece length': PIECE, pieces: hashes(all) } }))
}

function singleFile(name: string, content: Buffer): Metainfo {
  const info = { length: content.length, name, 'piece length': PIECE, pieces: hashes(content) }
  return parseMetainfo(bencode({ info }))
}

function client(t: TestContext): HttpClient {
  const http = new HttpClient({ policy: anyAddress, log: silentLog })
  t.after(() => http.close())
  return http
}

const PARTS: readonly Part[] = [
  { path: [Buffer.from('first.bin')], content: randomBytes(100_000) },
  { path: [Buffer.from('.pad'), Buffer.from('31072')], content: Buffer.alloc(31_072), padding: true },
  { path: [Buffer.from('a b'), Buffer.from('50%#?&ü.bin')], content: randomBytes(70_001) },
  { path: [Buffer.from('empty')], content: Buffer.alloc(0) },
  { path: [Buffer.from([0x79, 0xe9])], content: randomBytes(3) },
  { path: [Buffer.from('last')], content: randomBytes(250_000) },
]

sourceContract('web seed of several files', async (t) => {
  const nginx = await startNginx(t)
  const name = Buffer.from('My: Torrent')
  for (const { path, content, padding } of PARTS) {
    if (padding === true) continue
    const names = [Buffer.from(nginx.root), name, ...path]
    const file = Buffer.concat(names.flatMap((one, index) => (index === 0 ? [one] : [Buffer.from('/'), one])))
    await mkdir(dirname(file.toString('latin1')), { recursive: true })
    await writeFile(file, content)
  }
  const torrent = multiFile(name, PARTS)
  const source = webSeedSource({ torrent, baseUrl: `${nginx.url}/`, client: client(t), log: silentLog })
  return { source, content: Buffer.concat(PARTS.map((part) => part.content)), space: torrent.space }
})

sourceContract('web seed of a single file', async (t) => {
  const nginx = await startNginx(t)
  const content = randomBytes(300_001)
  await writeFile(join(nginx.root, 'one file.iso'), content)
  const torrent = singleFile('one file.iso', content)
  const source = webSeedSource({ torrent, baseUrl: `${nginx.url}/one%20file.iso`, client: client(t), log: silentLog })
  return { source, content, space: torrent.space }
})

test('the URL of a file follows BEP 19', () => {
  const content = Buffer.alloc(10)
  const single = singleFile('a b.iso', content)
  const [only] = single.files
  assert.ok(only)
  assert.equal(seedUrl(single, only, 'http://h/x.iso'), 'http://h/x.iso')
  assert.equal(seedUrl(single, only, 'http://h/dir/'), 'http://h/dir/a%20b.iso')
  const many = multiFile(Buffer.from('N'), PARTS)
  const urls = many.files.map((file) => seedUrl(many, file, 'http://h/dir?k=1'))
  assert.deepEqual(
    [0, 2, 4].map((index) => urls[index]),
    ['http://h/dir/N/first.bin?k=1', 'http://h/dir/N/a%20b/50%25%23%3F%26%C3%BC.bin?k=1', 'http://h/dir/N/y%E9?k=1'],
  )
})

test('names that would walk out of the web seed are asked for nowhere', { timeout: 180_000 }, async (t) => {
  const nginx = await startNginx(t)
  for (const name of ['..', '.']) {
    const torrent = multiFile(Buffer.from('N'), [
      { path: [Buffer.from('a'), Buffer.from(name), Buffer.from('f')], content: Buffer.alloc(10) },
    ])
    const source = webSeedSource({ torrent, baseUrl: `${nginx.url}/`, client: client(t), log: silentLog })
    const holding = await source.find(torrent.space, AbortSignal.timeout(60_000))
    assert.ok(holding)
    await assert.rejects(readAll(holding, { start: 0, end: 10 }), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  }
  assert.equal((await nginx.log()).length, 0)
})

test('a web seed is for its own torrent only, and for http only', { timeout: 180_000 }, async (t) => {
  const torrent = singleFile('f', Buffer.alloc(10))
  const source = webSeedSource({ torrent, baseUrl: 'http://127.0.0.1:1/f', client: client(t), log: silentLog })
  assert.equal(await source.find(spaceOf(10), AbortSignal.timeout(60_000)), undefined)
  for (const baseUrl of ['file:///etc/passwd', 'ftp://h/f']) {
    assert.throws(
      () => webSeedSource({ torrent, baseUrl, client: client(t), log: silentLog }),
      (error) => isAnnexfsError(error, 'FORBIDDEN'),
    )
  }
})

test('a file of another length on the server is an error', { timeout: 180_000 }, async (t) => {
  const nginx = await startNginx(t)
  await writeFile(join(nginx.root, 'f'), randomBytes(11))
  const torrent = singleFile('f', Buffer.alloc(10))
  const source = webSeedSource({ torrent, baseUrl: `${nginx.url}/f`, client: client(t), log: silentLog })
  const holding = await source.find(torrent.space, AbortSignal.timeout(60_000))
  assert.ok(holding)
  await assert.rejects(readAll(holding, { start: 0, end: 10 }), (error) => isAnnexfsError(error, 'CORRUPT'))
})
