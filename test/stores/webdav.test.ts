import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import type { Credentials } from '../../lib/stores/context.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { webdavStore } from '../../lib/stores/webdav.js'
import { digestAuthorization, digestChallenge, offersBasic } from '../../lib/stores/webdav-digest.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, misbehaving } from '../support/http.js'
import {
  DIGEST_CREDENTIALS,
  startDigestWebdav,
  startRcloneWebdav,
  WEBDAV_CREDENTIALS,
  type WebdavServer,
} from '../support/webdav-server.js'
import { ABSENT, failure, nameOf, reads, soon } from './objects.js'
import { annexHere, keyOf, realRemote, setKey, until, type RealRemote } from './real-remote.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(900_000)

interface Folder {
  readonly world: AnnexWorld
  readonly server: WebdavServer
  readonly credentials: Credentials
  readonly config: Readonly<Record<string, string>>
}

/** A repository `here` with `f.bin` and the WebDAV remote `d`, to which it is copied when that is no tree of files. */
async function folder(t: TestContext, ...settings: string[]): Promise<Folder> {
  const [world, server] = await Promise.all([annexWorld(t), startRcloneWebdav(t)])
  await world.repository('here')
  await world.addAnnexed('here', { 'f.bin': CONTENT })
  await annex(world, 'initremote', 'd', 'type=webdav', `url=${server.url}`, 'encryption=none', ...settings)
  if (!settings.includes('exporttree=yes')) await annex(world, 'copy', '--to', 'd')
  return { world, server, credentials: WEBDAV_CREDENTIALS, config: {} }
}

/** The same folder, behind a server that wants digests. */
async function digested(t: TestContext): Promise<Folder> {
  const made = await folder(t)
  const server = await startDigestWebdav(t, made.server.root)
  return { ...made, server, credentials: DIGEST_CREDENTIALS, config: { url: server.url } }
}

const KINDS = { basic: folder, digest: digested }

const ENVIRONMENT = { WEBDAV_USERNAME: WEBDAV_CREDENTIALS.user, WEBDAV_PASSWORD: WEBDAV_CREDENTIALS.password }
const annex = (world: AnnexWorld, ...args: string[]): Promise<void> => annexHere(world, ENVIRONMENT, ...args)

async function store(
  t: TestContext,
  { world, credentials, config }: Folder,
  options: { credentials?: Credentials | null; config?: Readonly<Record<string, string>> } = {},
): Promise<RealRemote & { store: ObjectStore }> {
  const given = options.credentials === null ? undefined : (options.credentials ?? credentials)
  const real = await realRemote(t, world, 'd', given, { config: { ...config, ...options.config } })
  return { ...real, store: webdavStore(real.context) }
}

for (const [kind, make] of Object.entries(KINDS)) {
  storeContract(`WebDAV with ${kind} authentication`, async (t) => {
    const made = await make(t)
    const { store: webdav } = await store(t, made)
    const absent = { key: ABSENT, content: ABSENT, size: 5 }
    return { store: webdav, name: await nameOf(made.world), content: CONTENT, absent }
  })
}

test('a range that is read transfers about the range, after one question who asks', LIMIT, async (t) => {
  for (const [kind, make] of Object.entries(KINDS)) {
    const made = await make(t)
    const { store: webdav } = await store(t, made)
    const object = await webdav.open(await nameOf(made.world), soon())
    assert.ok(object)
    const seen = made.server.requests.length
    for (const start of [300_000, 500_000]) {
      assert.ok(
        (await readObject(object, { start, end: start + 10_000 })).equals(CONTENT.subarray(start, start + 10_000)),
      )
    }
    await until(() => made.server.requests.length >= seen + 3)
    const asked = made.server.requests.slice(seen)
    const scheme = kind === 'basic' ? 'Basic' : 'Digest'
    assert.deepEqual(
      asked.map(({ method, status, range, authorization }) => [method, status, range, authorization]),
      [
        ['GET', 401, 'bytes=300000-309999', undefined],
        ['GET', 206, 'bytes=300000-309999', scheme],
        ['GET', 206, 'bytes=500000-509999', scheme],
      ],
    )
    assert.ok(asked.every(({ bytes }) => bytes < 11_500))
  }
})

test('a WebDAV server without ranges is read from the start', LIMIT, async (t) => {
  const made = await folder(t)
  made.server.rules.noRanges = true
  const { store: webdav } = await store(t, made)
  const object = await webdav.open(await nameOf(made.world), soon())
  assert.ok(object)
  t.after(() => object.close?.())
  for (const start of [500_000, 0, 899_000]) {
    assert.ok((await readObject(object, { start, end: start + 1000 })).equals(CONTENT.subarray(start, start + 1000)))
  }
})

test('WebDAV objects of keys with odd names are read', LIMIT, async (t) => {
  const made = await folder(t)
  const content = Buffer.from('odd content')
  const keys = ["WORM-s11-m1--a b [x] é+;=@,!*()'&~", 'WORM-s11-m1--$c:d.$']
  for (const key of keys) await setKey(made.world, key, content)
  for (const key of keys) await annex(made.world, 'copy', '--to', 'd', '--key', key)
  const { store: webdav } = await store(t, made)
  for (const key of keys)
    assert.ok(await reads(webdav, { key: keyOf(key), content: keyOf(key), size: 11 }, content), key)
})

test('exported files of a WebDAV remote are read by their paths', LIMIT, async (t) => {
  const made = await folder(t, 'exporttree=yes')
  const { world } = made
  const files = ['dir/ü &+ x.bin', 'plain.bin']
  for (const file of files) await world.write('here', file, `${file} content`)
  await annex(world, 'add', '.')
  await world.git('here', 'commit', '--quiet', '-m', 'more')
  await annex(world, 'export', 'main', '--to', 'd')
  const { store: webdav } = await store(t, made)
  for (const file of files) {
    const what = { ...(await nameOf(world, file)), path: Buffer.from(file) }
    assert.ok(await reads(webdav, what, Buffer.from(`${file} content`)), file)
  }
  assert.equal(await webdav.open(await nameOf(world), soon()), undefined)
})

test('the pieces of an old chunked WebDAV store can be asked for', LIMIT, async (t) => {
  const made = await folder(t, 'chunksize=300kb')
  const { store: webdav } = await store(t, made)
  const { key } = await nameOf(made.world)
  const all = async (suffix: string): Promise<Buffer> => {
    const object = await webdav.open({ key, content: key, suffix }, soon())
    assert.ok(object)
    return readWhole(object, 1_000_000)
  }
  const count = Number((await all('.chunkcount')).toString())
  const chunks: Buffer[] = []
  for (let at = 1; at <= count; at++) chunks.push(await all(`.chunk${at}`))
  assert.ok(count > 1 && Buffer.concat(chunks).equals(CONTENT))
})

test('goal 43: a WebDAV server that refuses is explained, without the password', LIMIT, async (t) => {
  for (const make of Object.values(KINDS)) {
    const made = await make(t)
    const what = await nameOf(made.world)
    const wrong = await store(t, made, { credentials: { user: 'canary-user', password: 'canary-secret' } })
    const seen = made.server.requests.length
    const refused = await failure(wrong.store, what)
    assert.equal(refused.code, 'FORBIDDEN')
    assert.match(refused.message, /^d \(webdav\): .* does not take the user and the password .* WEBDAV_USERNAME/)
    assert.ok(!`${refused.message}${wrong.lines.join('')}`.includes('canary'))
    assert.ok(made.server.requests.length - seen <= 2)
    const none = await failure((await store(t, made, { credentials: null })).store, what)
    assert.equal(none.code, 'FORBIDDEN')
    assert.match(none.message, /wants a user and a password, and there are none; set WEBDAV_USERNAME/)
  }
})

test('goal 25: WebDAV credentials are not for a server that it redirects to', LIMIT, async (t) => {
  const made = await folder(t)
  const other = await httpServer(t, (_, response) => {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="give me"' }).end()
  })
  const first = await httpServer(t, (request, response) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    } else response.writeHead(302, { location: `${other.url}/x` }).end()
  })
  const { store: webdav } = await store(t, made, { config: { url: first.url } })
  assert.equal((await failure(webdav, await nameOf(made.world))).code, 'FORBIDDEN')
  assert.ok(other.requests.length > 0)
  assert.ok(other.requests.every(({ headers }) => headers.authorization === undefined))
})

test('a WebDAV server that hides its files from strangers is told who asks', LIMIT, async (t) => {
  const made = await folder(t)
  const server = await httpServer(t, (request, response) => {
    const known = request.headers.authorization?.startsWith('Basic ') === true
    if (known && !request.url?.endsWith('absent')) misbehaving(CONTENT, 'none')(request, response)
    else response.writeHead(404).end()
  })
  const { store: webdav } = await store(t, made, { config: { url: server.url } })
  const what = await nameOf(made.world)
  assert.ok(await reads(webdav, what, CONTENT))
  assert.equal((await failure(webdav, { ...what, suffix: '.absent' })).code, 'NOT_FOUND')
  const none = await store(t, made, { config: { url: server.url }, credentials: null })
  assert.equal((await failure(none.store, what)).code, 'NOT_FOUND')
})

test('a nonce that has become stale is replaced', LIMIT, async (t) => {
  const made = await folder(t)
  let nonce = 1
  let stale = 0
  const server = await httpServer(t, (request, response) => {
    const { authorization = '' } = request.headers
    if (authorization.includes(`nonce="n${nonce}"`) && authorization.startsWith('Digest ')) {
      response.writeHead(200, { 'content-length': CONTENT.length }).end(CONTENT)
      return
    }
    if (authorization !== '') stale++
    const head = `Basic realm="r", Digest realm="r", nonce="n${nonce}", qop="auth,auth-int", algorithm=SHA-256`
    response.writeHead(401, { 'www-authenticate': `${head}${authorization === '' ? '' : ', stale=true'}` }).end()
  })
  const { store: webdav } = await store(t, made, { config: { url: server.url } })
  const what = await nameOf(made.world)
  assert.ok(await reads(webdav, what, CONTENT))
  nonce = 2
  assert.ok(await reads(webdav, what, CONTENT))
  assert.equal(stale, 1)
  assert.ok(server.requests.every(({ headers }) => !(headers.authorization ?? '').startsWith('Basic')))
})

test('digest answers are those of the examples of RFC 7616', () => {
  const header = (algorithm: string): string =>
    `Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=${algorithm}, ` +
    'nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjev0ciny7QMkPqMAFRtzCUYo5tdS"'
  const mufasa = { user: 'Mufasa', password: 'Circle of Life' }
  const cnonce = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ'
  const request = { method: 'GET', uri: '/dir/index.html', count: 1, cnonce }
  for (const [algorithm, response] of [
    ['MD5', '8ca523f5e9506fed4657c9700eebdbec'],
    ['SHA-256', '753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1'],
  ] as const) {
    const challenge = digestChallenge(header(algorithm))
    assert.ok(challenge)
    assert.match(
      digestAuthorization(challenge, request, mufasa),
      new RegExp(`nc=00000001, cnonce="[^"]+", response="${response}"`),
    )
  }
  const best = digestChallenge(
    `${header('MD5')}, Basic realm="x", ${header('SHA-256')}, Digest realm="y", nonce="z", algorithm=SHA3`,
  )
  assert.equal(best?.algorithm, 'SHA-256')
})

test('odd headers of servers are no challenges', () => {
  for (const header of [
    '',
    'Digest',
    'Digest realm="x',
    'Digest nonce=1',
    'realm="x", nonce="y"',
    'Negotiate abc==',
    '"'.repeat(9000),
  ]) {
    assert.equal(digestChallenge(header), undefined, header.slice(0, 50))
  }
  assert.equal(digestChallenge('Digest realm="x", nonce="y", qop="auth-int"'), undefined)
  assert.ok(offersBasic('Digest realm="Basic", nonce="x", Basic realm="y"'))
  assert.ok(!offersBasic('Digest realm="Basic", nonce="x"'))
})
