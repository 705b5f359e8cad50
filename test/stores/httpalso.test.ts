import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { hashDirLower, hashDirMixed } from '../../lib/annex/hash-dirs.js'
import { keyFile, type Key } from '../../lib/annex/key.js'
import { isAnnexfsError } from '../../lib/errors.js'
import { httpalsoStore } from '../../lib/stores/httpalso.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { askedRange, httpServer, type TestServer } from '../support/http.js'
import { keyOf, storeContext } from './git-web-support.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(600_000)
const KEY = keyOf(`SHA256E-s${CONTENT.length}--abc.b%i&n:/x`)
const CHUNK = keyOf('SHA256E-s600000-S1000-C2--abc.x')
const ENCRYPTED = keyOf('GPGHMACSHA1--0123456789abcdef0123456789abcdef01234567')
const ABSENT = keyOf('SHA256-s5--nothing')
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

const LAYOUTS: readonly ((key: Key, file: string) => string)[] = [
  (key, file) => `${hashDirLower(key)}${file}/${file}`,
  (key, file) => `${hashDirMixed(key)}${file}/${file}`,
  (_, file) => file,
  (key, file) => `${hashDirLower(key)}${file}`,
  (key, file) => `${hashDirMixed(key)}${file}`,
  (key, file) => `${hashDirLower(key).slice(0, 4)}${file}`,
  (key, file) => `${hashDirMixed(key).slice(0, 3)}${file}`,
]

interface Served {
  readonly store: ObjectStore
  readonly server: TestServer
}

/** A server of files by their paths (bytes as latin1), without a slash at the start. */
async function served(
  t: TestContext,
  files: ReadonlyMap<string, Buffer>,
  config: Readonly<Record<string, string>> = {},
  options: { head?: boolean } = {},
): Promise<Served> {
  const server = await httpServer(t, (request, response) => {
    if (request.method === 'HEAD' && options.head === false) return void response.writeHead(405).end()
    const path = (request.url ?? '').replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => {
      return String.fromCharCode(Number.parseInt(hex, 16))
    })
    const content = files.get(path.replace(/^\/store\//, ''))
    if (content === undefined) return void response.writeHead(404).end('not here')
    const range = askedRange(request, content.length)
    if (range === undefined) return void response.writeHead(200, { 'content-length': content.length }).end(content)
    const part = content.subarray(range.start, range.end)
    const contentRange = `bytes ${range.start}-${range.end - 1}/${content.length}`
    response.writeHead(206, { 'content-length': part.length, 'content-range': contentRange }).end(part)
  })
  const context = await storeContext(t, { kind: 'httpalso', config: { url: `${server.url}/store/`, ...config } })
  return { store: httpalsoStore(context), server }
}

function laidOut(layout: number, objects: readonly (readonly [Key, Buffer])[]): Map<string, Buffer> {
  const path = LAYOUTS[layout]
  assert.ok(path)
  return new Map(objects.map(([key, content]) => [path(key, keyFile(key)), content]))
}

storeContract('httpalso', async (t) => ({
  store: (await served(t, laidOut(0, [[KEY, CONTENT]]))).store,
  name: { key: KEY, content: KEY, size: CONTENT.length },
  content: CONTENT,
  absent: { key: ABSENT, content: ABSENT },
}))

test('every layout is found, for keys, chunks and encrypted ones, and is remembered', LIMIT, async (t) => {
  const objects = [
    [KEY, CONTENT],
    [CHUNK, randomBytes(1000)],
    [ENCRYPTED, randomBytes(1234)],
  ] as const
  for (const layout of LAYOUTS.keys()) {
    for (const head of [true, false]) {
      const { store, server } = await served(t, laidOut(layout, objects), {}, { head })
      for (const [index, [key, content]] of objects.entries()) {
        const size = key === ENCRYPTED ? {} : { size: content.length }
        const asked = server.requests.length
        const object = await store.open({ key, content: KEY, ...size }, soon())
        assert.ok(object, `layout ${layout}`)
        assert.ok((await readWhole(object, content.length)).equals(content), `layout ${layout}`)
        if (index > 0) assert.equal(server.requests.length - asked, 1, 'one request once the layout is known')
      }
    }
  }
})

test('a store of two layouts is read, and what is in none is not there', LIMIT, async (t) => {
  const other = keyOf('SHA256-s3--abc')
  const files = new Map([...laidOut(3, [[KEY, CONTENT]]), ...laidOut(1, [[other, Buffer.from('abc')]])])
  const { store } = await served(t, files)
  assert.equal(await store.open({ key: ABSENT, content: ABSENT, size: 5 }, soon()), undefined)
  for (let round = 0; round < 2; round++) {
    for (const [key, content] of [
      [KEY, CONTENT],
      [other, Buffer.from('abc')],
    ] as const) {
      const object = await store.open({ key, content: key, size: content.length }, soon())
      assert.ok(object)
      const reads = await Promise.all([0, 1, 2].map((start) => readObject(object, { start, end: content.length })))
      reads.forEach((bytes, start) => assert.ok(bytes.equals(content.subarray(start))))
    }
  }
  const absent = await store.open({ key: ABSENT, content: ABSENT, size: 5 }, soon())
  if (absent !== undefined) {
    const reading = readObject(absent, { start: 0, end: 5 })
    await assert.rejects(reading, (error) => isAnnexfsError(error, 'NOT_FOUND'))
  }
})

test('a page that says sorry with status 200 does not pass for an object', LIMIT, async (t) => {
  const server = await httpServer(t, (request, response) => {
    const right = request.url?.endsWith(`/${encodeURIComponent(keyFile(KEY))}`) && !request.url.includes('/objects/')
    if (right && LAYOUTS[2]?.(KEY, encodeURIComponent(keyFile(KEY))) === request.url?.slice(1)) {
      return void response.writeHead(200, { 'content-length': CONTENT.length }).end(CONTENT)
    }
    response.end('<html>sorry</html>')
  })
  const store = httpalsoStore(await storeContext(t, { kind: 'httpalso', config: { url: server.url } }))
  const object = await store.open({ key: KEY, content: KEY, size: CONTENT.length }, soon())
  assert.ok(object)
  assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
})

test('an exported tree is read by paths of any bytes, never by ones that walk', LIMIT, async (t) => {
  const files = new Map([
    ['d e/caf\xe9 ?#%.bin', CONTENT],
    ['secret', CONTENT],
    [`.git/annex/objects/${hashDirLower(KEY)}${keyFile(KEY)}/${keyFile(KEY)}`, CONTENT],
  ])
  const { store } = await served(t, files, { exporttree: 'yes' })
  const path = Buffer.from('d e/caf\xe9 ?#%.bin', 'latin1')
  const object = await store.open({ key: KEY, content: KEY, path, size: CONTENT.length }, soon())
  assert.ok(object)
  assert.ok((await readObject(object, { start: 7, end: 99 })).equals(CONTENT.subarray(7, 99)))
  for (const walking of ['x/../secret', '..', './secret', '/secret', 'd//e', '']) {
    const name = { key: KEY, content: KEY, path: Buffer.from(walking), size: CONTENT.length }
    assert.equal(await store.open(name, soon()), undefined, walking)
  }
  assert.equal(await store.open({ key: KEY, content: KEY }, soon()), undefined)
  const beside = await served(t, files, { exporttree: 'yes', annexobjects: 'yes' })
  assert.ok(await beside.store.open({ key: KEY, content: KEY }, soon()))
})

test('suffixes of old chunks are part of the file name', LIMIT, async (t) => {
  const file = keyFile(KEY)
  const { store } = await served(t, new Map([[`${hashDirLower(KEY)}${file}/${file}.chunk1`, CONTENT]]))
  const object = await store.open({ key: KEY, content: KEY, suffix: '.chunk1', size: CONTENT.length }, soon())
  assert.ok(object)
  assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
})

test('a remote without a URL on the web is refused', LIMIT, async (t) => {
  for (const url of ['', 'ftp://h/x', '/srv/x', 'file:///srv/x', 'http://']) {
    const context = await storeContext(t, { kind: 'httpalso', config: { url } })
    assert.throws(
      () => httpalsoStore(context),
      (error) => isAnnexfsError(error, 'INVALID'),
    )
  }
})
