import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { s3Store } from '../../lib/stores/s3.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer } from '../support/http.js'
import { S3_CREDENTIALS, startS3, type S3Server } from '../support/s3-server.js'
import { ABSENT, failure, nameOf, reads, soon } from './objects.js'
import { annexHere, keyOf, realRemote, setKey, until, type RealRemote } from './real-remote.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(900_000)
const ENVIRONMENT = { AWS_ACCESS_KEY_ID: S3_CREDENTIALS.user, AWS_SECRET_ACCESS_KEY: S3_CREDENTIALS.password }

const whole = { start: 0, end: CONTENT.length }

interface Bucket {
  readonly world: AnnexWorld
  readonly server: S3Server
}

/** A repository `here` with `f.bin` and the S3 remote `s`. */
async function bucket(t: TestContext, ...settings: string[]): Promise<Bucket> {
  const [world, server] = await Promise.all([annexWorld(t), startS3(t)])
  await world.repository('here')
  await world.addAnnexed('here', { 'f.bin': CONTENT })
  await remote(world, server, 's', ...settings)
  return { world, server }
}

async function remote(world: AnnexWorld, server: S3Server, name: string, ...settings: string[]): Promise<void> {
  const place = ['host=127.0.0.1', `port=${server.port}`, 'protocol=http', 'requeststyle=path', 'encryption=none']
  await annex(world, 'initremote', name, 'type=S3', `bucket=My-Bucket-${name}`, ...place, ...settings)
}

const annex = (world: AnnexWorld, ...args: string[]): Promise<void> => annexHere(world, ENVIRONMENT, ...args)

async function store(
  t: TestContext,
  { world }: Bucket,
  options: {
    credentials?: typeof S3_CREDENTIALS | null
    token?: string
    config?: Record<string, string>
    name?: string
  } = {},
): Promise<RealRemote & { store: ObjectStore }> {
  const { credentials = S3_CREDENTIALS, token } = options
  const given = credentials === null ? undefined : { ...credentials, ...(token === undefined ? {} : { token }) }
  const real = await realRemote(t, world, options.name ?? 's', given, { config: options.config ?? {} })
  return { ...real, store: s3Store(real.context) }
}

for (const signature of ['v2', 'v4']) {
  storeContract(`S3, signature ${signature}`, async (t) => {
    const made = await bucket(t, `signature=${signature}`, 'fileprefix=a b/')
    await annex(made.world, 'copy', '--to', 's')
    const { store: s3 } = await store(t, made)
    t.after(() => {
      const kinds = new Set(made.server.requests.map(({ signed }) => signed))
      assert.deepEqual([...kinds], [signature])
    })
    return {
      store: s3,
      name: await nameOf(made.world),
      content: CONTENT,
      absent: { key: ABSENT, content: ABSENT, size: 5 },
    }
  })

  test(`objects of keys with odd names are read, signature ${signature}`, LIMIT, async (t) => {
    const made = await bucket(t, `signature=${signature}`, 'fileprefix=p%20+ü/')
    const content = Buffer.from('odd content')
    const keys = [
      "WORM-s11-m1--a?b#c [x]%20 é+;=@,!*()'",
      'URL-s11--http://localhost:1/a/b%20c,d~e&f=$g',
      'WORM-s11--😀"<>\\^`{|}',
    ]
    for (const key of keys) await setKey(made.world, key, content)
    for (const key of keys) await annex(made.world, 'copy', '--to', 's', '--key', key)
    const { store: s3 } = await store(t, made)
    for (const key of keys) assert.ok(await reads(s3, { key: keyOf(key), content: keyOf(key), size: 11 }, content), key)
  })
}

test('a range that is read transfers about the range', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  const { store: s3 } = await store(t, made)
  const object = await s3.open(await nameOf(made.world), soon())
  assert.ok(object)
  const seen = made.server.requests.length
  assert.ok((await readObject(object, { start: 300_000, end: 310_000 })).equals(CONTENT.subarray(300_000, 310_000)))
  await until(() => made.server.requests.length > seen)
  const asked = made.server.requests.slice(seen)
  assert.deepEqual(
    asked.map(({ method, status, range }) => [method, status, range]),
    [['GET', 206, 'bytes=300000-309999']],
  )
  assert.ok((asked[0]?.bytes ?? 0) < 11_000, String(asked[0]?.bytes))
})

test('an S3 server without ranges is read from the start', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  made.server.rules.noRanges = true
  const { store: s3 } = await store(t, made)
  const object = await s3.open(await nameOf(made.world), soon())
  assert.ok(object)
  t.after(() => object.close?.())
  for (const start of [500_000, 0, 899_000]) {
    assert.ok((await readObject(object, { start, end: start + 1000 })).equals(CONTENT.subarray(start, start + 1000)))
  }
})

test('goal 43: wrong credentials fail with a reason, and are nowhere to be read', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  const what = await nameOf(made.world)
  const cases: [Parameters<typeof store>[2], string, RegExp][] = [
    [{ credentials: { user: 'S3RVER', password: 'canary-secret' } }, 'FORBIDDEN', /secret key is not the one/],
    [{ credentials: { user: 'canary-user', password: 'canary-secret' } }, 'FORBIDDEN', /access key is not known/],
    [{ credentials: null }, 'FORBIDDEN', /set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/],
  ]
  for (const signature of ['v2', 'v4']) {
    for (const [options, code, message] of cases) {
      const { store: s3, lines } = await store(t, made, { ...options, config: { signature } })
      const error = await failure(s3, what)
      assert.equal(error.code, code)
      assert.match(error.message, message)
      assert.match(error.message, /^s \(S3\): /)
      assert.ok(!`${error.message}${lines.join('')}`.includes('canary'), error.message)
    }
  }
})

test('a session token is sent; one that has expired is said to have', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  made.server.rules.token = 'canary token'
  const what = await nameOf(made.world)
  for (const signature of ['v2', 'v4']) {
    const config = { signature }
    assert.ok(await reads((await store(t, made, { token: 'canary token', config })).store, what, CONTENT))
    const error = await failure((await store(t, made, { token: 'canary old', config })).store, what)
    assert.match(error.message, /session token has expired/)
    assert.ok(!error.message.includes('canary'))
  }
})

test('clocks that differ, archived objects and missing buckets are explained', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  const what = await nameOf(made.world)
  made.server.rules.clock = 3_600_000
  const skewed = await failure((await store(t, made)).store, what)
  assert.match(skewed.message, /the clock of this machine \(.*\) and the server's \(.*\) differ/)
  delete made.server.rules.clock
  made.server.rules.archived = true
  const archived = await failure((await store(t, made)).store, what)
  assert.equal(archived.code, 'UNAVAILABLE')
  assert.match(archived.message, /Glacier/)
  delete made.server.rules.archived
  const gone = await failure((await store(t, made, { config: { bucket: 'another' } })).store, what)
  assert.equal(gone.code, 'NOT_FOUND')
  assert.match(gone.message, /no such bucket/)
})

test('a bucket in another region than was thought is found there', LIMIT, async (t) => {
  const made = await bucket(t)
  await annex(made.world, 'copy', '--to', 's')
  made.server.rules.region = 'eu-far-7'
  const what = await nameOf(made.world)
  const { store: s3 } = await store(t, made, { config: { signature: 'v4' } })
  const seen = made.server.requests.length
  const object = await s3.open(what, soon())
  assert.ok(object)
  const ranges = [0, 1, 2, 3, 4].map((at) => ({ start: at * 1000, end: at * 1000 + 500 }))
  const got = await Promise.all(ranges.map((range) => readObject(object, range)))
  ranges.forEach((range, at) => assert.ok(got[at]?.equals(CONTENT.subarray(range.start, range.end))))
  assert.ok(await reads(s3, what, CONTENT))
  assert.ok(made.server.requests.slice(seen).filter(({ status }) => status === 400).length <= 5)
  // The same when the signature is of the kind that such regions do not take.
  assert.ok(await reads((await store(t, made, { config: { signature: 'v2' } })).store, what, CONTENT))
  const named = await store(t, made, { config: { signature: 'v4', region: 'eu-far-7' } })
  const before = made.server.requests.length
  assert.ok(await reads(named.store, what, CONTENT))
  assert.ok(made.server.requests.slice(before).every(({ status }) => status < 300))
})

test('a server that names ever other regions is given up on', LIMIT, async (t) => {
  const made = await bucket(t)
  let asked = 0
  const liar = await httpServer(t, (_, response) => {
    asked++
    const region = `us-liar-${asked}`
    response.writeHead(400).end(`<Error><Code>AuthorizationHeaderMalformed</Code><Region>${region}</Region></Error>`)
  })
  const config = { port: String(liar.port), signature: 'v4' }
  const error = await failure((await store(t, made, { config })).store, await nameOf(made.world))
  assert.equal(error.code, 'UNAVAILABLE')
  assert.ok(asked <= 5, String(asked))
})

test('public objects are read without credentials, under publicurl', LIMIT, async (t) => {
  const made = await bucket(t, 'public=yes', 'fileprefix=pre/')
  const { world, server } = made
  await annex(world, 'enableremote', 's', `publicurl=${server.url}/my-bucket-s`)
  await annex(world, 'copy', '--to', 's')
  server.rules.anonymous = true
  const what = await nameOf(world)
  const seen = server.requests.length
  assert.ok(await reads((await store(t, made, { credentials: null })).store, what, CONTENT))
  assert.deepEqual([...new Set(server.requests.slice(seen).map(({ signed }) => signed))], [undefined])
  // Without being said to be public there is no such URL, and then with signature=anonymous there is no need of one.
  const secret = { public: 'no', publicurl: '' }
  assert.match(
    (await failure((await store(t, made, { credentials: null, config: secret })).store, what)).message,
    /no credentials/,
  )
  const open = { ...secret, signature: 'anonymous' }
  assert.ok(await reads((await store(t, made, { credentials: null, config: open })).store, what, CONTENT))
})

test('goal 43: a bucket that only the log names gets no credentials', LIMIT, async (t) => {
  const made = await bucket(t, 'public=yes')
  const { world, server } = made
  await annex(world, 'copy', '--to', 's')
  server.rules.anonymous = true
  const { context } = await store(t, made, { config: { publicurl: `${server.url}/my-bucket-s` } })
  const seen = server.requests.length
  const stranger = s3Store({ ...context, remote: { ...context.remote, configured: false } })
  assert.ok(await reads(stranger, await nameOf(world), CONTENT))
  await until(() => server.requests.length > seen)
  assert.ok(server.requests.slice(seen).every(({ signed }) => signed === undefined))
})

test('without credentials a URL that was recorded for the object is used', LIMIT, async (t) => {
  const made = await bucket(t, 'fileprefix=pre/')
  const { world, server } = made
  await annex(world, 'copy', '--to', 's')
  const what = await nameOf(world)
  server.rules.anonymous = true
  await annex(world, 'registerurl', what.key.raw, 'http://127.0.0.1:1/other')
  await annex(world, 'registerurl', what.key.raw, `${server.url}/my-bucket-s/pre/${what.key.raw}`)
  assert.ok(await reads((await store(t, made, { credentials: null })).store, what, CONTENT))
})

test('exported files are read by their paths, whatever these are', LIMIT, async (t) => {
  const made = await bucket(t, 'exporttree=yes', 'fileprefix=e/')
  const { world } = made
  const files = ['dir/ü &+%20?#.bin', 'plain.bin']
  for (const file of files) await world.write('here', file, `${file} content`)
  await annex(world, 'add', '.')
  await world.git('here', 'commit', '--quiet', '-m', 'more')
  await annex(world, 'export', 'main', '--to', 's')
  const { store: s3 } = await store(t, made)
  for (const file of files) {
    const content = Buffer.from(`${file} content`)
    assert.ok(await reads(s3, { ...(await nameOf(world, file)), path: Buffer.from(file) }, content), file)
  }
  assert.equal(await s3.open(await nameOf(world), soon()), undefined)
})

test('imported files are read by their paths, and old versions by their ids', LIMIT, async (t) => {
  const made = await bucket(t, 'exporttree=yes', 'importtree=yes', 'versioning=yes')
  const { world } = made
  await annex(world, 'export', 'main', '--to', 's')
  const what = await nameOf(world)
  const uuid = await world.git('here', 'config', 'remote.s.annex-uuid')
  const { store: s3, context } = await store(t, made)
  assert.notEqual((await context.annex.stateOf(what.key, '.log.cid')).get(uuid), undefined)
  assert.ok(await reads(s3, what, CONTENT))
  // The ids of contents alone tell the versions too.
  const metadataOf = { value: () => Promise.resolve(new Map()) }
  const annexed = Object.create(context.annex, { metadataOf }) as typeof context.annex
  const seen = made.server.requests.length
  const imported = { ...what, path: Buffer.from('f.bin') }
  assert.ok(await reads(s3Store({ ...context, annex: annexed }), imported, CONTENT))
  await until(() => made.server.requests.length > seen)
  assert.ok(made.server.requests.slice(seen).every(({ url }) => url.includes('?versionId=v')))
})

test('a path that is not UTF-8 is found as git-annex has exported it', LIMIT, async (t) => {
  const made = await bucket(t, 'exporttree=yes')
  const { world } = made
  const path = Buffer.from('y.\xe9\xe2\x82z', 'latin1')
  const blob = (await world.run('here', 'git', ['hash-object', '-w', '--stdin'], { input: 'odd path' }))
    .toString()
    .trim()
  const entry = Buffer.concat([Buffer.from(`100644 blob ${blob}\t`), path, Buffer.from('\0')])
  const tree = (await world.run('here', 'git', ['mktree', '-z'], { input: entry })).toString().trim()
  await annex(world, 'export', tree, '--to', 's')
  const { store: s3 } = await store(t, made)
  const key = keyOf(`GIT--${blob}`)
  assert.ok(await reads(s3, { key, content: key, path, size: 8 }, Buffer.from('odd path')))
})

test('old versions of exported files are read by the ids that are recorded', LIMIT, async (t) => {
  const made = await bucket(t, 'exporttree=yes', 'versioning=yes', 'fileprefix=v/')
  const { world, server } = made
  await annex(world, 'export', 'main', '--to', 's')
  const old = await nameOf(world)
  const content = randomBytes(5000)
  await world.git('here', 'rm', '--quiet', 'f.bin')
  await world.addAnnexed('here', { 'f.bin': content })
  await annex(world, 'export', 'main', '--to', 's')
  const { store: s3 } = await store(t, made)
  const seen = server.requests.length
  assert.ok(await reads(s3, old, CONTENT))
  assert.ok(await reads(s3, { ...(await nameOf(world)), path: Buffer.from('f.bin') }, content))
  assert.ok(server.requests.slice(seen).every(({ url }) => url.includes('?versionId=v')))
  // Anyone who may read the bucket may read its versions.
  server.rules.anonymous = true
  const config = { public: 'yes', publicurl: `${server.url}/my-bucket-s` }
  assert.ok(await reads((await store(t, made, { credentials: null, config })).store, old, CONTENT))
})

test('of several versions one that is still there is read', LIMIT, async (t) => {
  const made = await bucket(t, 'exporttree=yes', 'versioning=yes')
  const { world } = made
  await annex(world, 'export', 'main', '--to', 's')
  const what = await nameOf(world)
  const uuid = await world.git('here', 'config', 'remote.s.annex-uuid')
  const log = await world.git('here', 'show', `git-annex:${await keyLog(world, '.log.rmet')}`)
  assert.match(log, new RegExp(`${uuid}:V \\+v`))
  const index = ['update-index', '--add', '--cacheinfo']
  const env = { GIT_INDEX_FILE: `${world.folder}/index` }
  const lines = `${log}\n1s ${uuid}:V +vanished#${what.key.raw} +!not-base64 +nonsense\n`
  const blob = (await world.run('here', 'git', ['hash-object', '-w', '--stdin'], { input: lines })).toString().trim()
  await world.run('here', 'git', ['read-tree', 'git-annex'], { env })
  await world.run('here', 'git', [...index, `100644,${blob},${await keyLog(world, '.log.rmet')}`], { env })
  const tree = (await world.run('here', 'git', ['write-tree'], { env })).toString().trim()
  await world.git(
    'here',
    'update-ref',
    'refs/heads/git-annex',
    await world.git('here', 'commit-tree', '-m', 'x', '-p', 'git-annex', tree),
  )
  const { store: s3 } = await store(t, made)
  assert.ok(await reads(s3, what, CONTENT))
  const object = await s3.open({ key: what.key, content: what.key }, soon())
  assert.ok(object)
  assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
  assert.ok((await readObject(object, whole)).equals(CONTENT))
})

async function keyLog(world: AnnexWorld, extension: string): Promise<string> {
  const files = (await world.git('here', 'ls-tree', '-r', '--name-only', 'git-annex')).split('\n')
  const found = files.find((file) => file.endsWith(extension))
  assert.ok(found, extension)
  return found
}
