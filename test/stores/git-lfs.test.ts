import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test, type TestContext } from 'node:test'
import { keyFile, type Key } from '../../lib/annex/key.js'
import { hashDirLower } from '../../lib/annex/hash-dirs.js'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import { textLog } from '../../lib/log/log.js'
import { addressPolicy } from '../../lib/net/address-policy.js'
import { gitLfsStore } from '../../lib/stores/git-lfs.js'
import { guessedEndpoint } from '../../lib/stores/git-lfs-endpoint.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { httpServer, type TestServer } from '../support/http.js'
import { lfsServer, localTls, type BatchAnswer, type LfsServer, type LfsServerOptions } from '../support/lfs.js'
import { until } from '../support/peers.js'
import { startSshd } from '../support/sshd.js'
import { temporaryFolder } from '../support/temp.js'
import { credentialHelper, keyOf, storeContext, UUID, type ContextOptions } from './git-web-support.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(900_001)
const OID = createHash('sha256').update(CONTENT).digest('hex')
const KEY = keyOf(`SHA256E-s${CONTENT.length}--${OID}.tar.gz`)
const ABSENT = keyOf(`SHA256-s5--${'0'.repeat(64)}`)
const REPOSITORY = '/joe/repo.git'
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

let tls = { ca: '', key: '', cert: '' }
const clean: (() => Promise<void>)[] = []
before(async () => {
  tls = await localTls(await temporaryFolder({ after: (end) => void clean.push(end as () => Promise<void>) }))
})
after(async () => {
  for (const end of clean) await end()
})

interface Served {
  readonly store: ObjectStore
  readonly lfs: LfsServer
  readonly server: TestServer
}

async function served(
  t: TestContext,
  given: Partial<LfsServerOptions> = {},
  options: Partial<ContextOptions> & { path?: string; own?: string } = {},
): Promise<Served> {
  const lfs = lfsServer({ objects: [CONTENT], repository: REPOSITORY, ...given })
  const server = await httpServer(t, lfs.listener, { tls })
  // git-annex always asks by https, whatever the URL says.
  const url = `${server.url.replace('https', 'http')}${options.path ?? '/joe/repo'}`
  const world = options.world ?? (await annexWorld(t))
  const { repository = 'mounted', own = url } = options
  if (options.repository === undefined) await world.repository(repository)
  await world.git(repository, 'config', 'remote.there.url', own)
  const kind = 'git-lfs'
  const context = await storeContext(t, { kind, config: { url }, ca: [tls.ca], ...options, world, repository })
  const store = await gitLfsStore(context)
  t.after(() => store.close?.())
  return { store, lfs, server }
}

/** Records `state` for a key as git-annex does, in the journal. */
async function record(world: AnnexWorld, key: Key, state: string): Promise<void> {
  const path = `${hashDirLower(key)}${keyFile(key)}.log.rmt`
  const name = path.replaceAll('_', '__').replaceAll('/', '_')
  await world.write('mounted', join('.git/annex/journal', name), `1700000000s ${UUID} ${state}\n`)
}

const name = { key: KEY, content: KEY, size: CONTENT.length }

storeContract('git-lfs', async (t) => ({
  store: (await served(t)).store,
  name,
  content: CONTENT,
  absent: { key: ABSENT, content: ABSENT },
}))

test('the endpoint is guessed as git-annex guesses it', () => {
  for (const [url, endpoint] of [
    ['https://h.example/joe/repo', 'https://h.example/joe/repo.git/info/lfs'],
    ['http://h.example/joe/repo.git', 'https://h.example/joe/repo.git/info/lfs'],
    ['https://h.example:8443/joe/repo.git/', 'https://h.example:8443/joe/repo.git/info/lfs'],
    ['https://joe@h.example/repo/', 'https://joe@h.example/repo.git/info/lfs'],
  ] as const) {
    assert.equal(guessedEndpoint(url), endpoint)
  }
})

test('where an object is is asked once, for as long as that holds', LIMIT, async (t) => {
  for (const signed of [false, true]) {
    const { store, lfs } = await served(t, { signed })
    for (let round = 0; round < 3; round++) {
      const object = await store.open(name, soon())
      assert.ok(object)
      assert.ok((await readObject(object, { start: round, end: 1000 })).equals(CONTENT.subarray(round, 1000)))
    }
    assert.equal(lfs.batches, 1)
    assert.equal(lfs.downloads, 3)
    // The server takes it back: the next read is refused, and asks again.
    const object = await store.open(name, soon())
    assert.ok(object)
    lfs.revoke()
    const reads = await Promise.all([1, 2, 3].map((start) => readObject(object, { start, end: 5000 })))
    reads.forEach((bytes, index) => assert.ok(bytes.equals(CONTENT.subarray(index + 1, 5000))))
    assert.ok(lfs.batches <= 4, `${lfs.batches} batches`)
    lfs.revoke()
    assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
  }
})

test(
  'what has expired is not tried, by seconds or by date; a date that makes no sense does no harm',
  LIMIT,
  async (t) => {
    for (const expiry of [
      { expiresIn: 0.05 },
      { expiresAt: () => new Date(Date.now() + 50).toISOString() },
      { expiresAt: () => '1970-01-01T00:00:00Z' },
      { expiresAt: () => 'tomorrow' },
      { expiresIn: -1 },
    ]) {
      const { store, lfs, server } = await served(t, expiry)
      const object = await store.open(name, soon())
      assert.ok(object)
      await new Promise((resolve) => setTimeout(resolve, 100))
      lfs.revoke()
      assert.ok((await readObject(object, { start: 0, end: 10 })).equals(CONTENT.subarray(0, 10)))
      const refused = server.requests.filter(({ method }) => method === 'GET').length - lfs.downloads
      const known = 'expiresIn' in expiry ? expiry.expiresIn > 0 : expiry.expiresAt().startsWith('20')
      assert.equal(refused, known ? 0 : 1)
    }
  },
)

test('keys without SHA-256 or size are known by what was recorded when they were stored', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const worm = keyOf(`WORM-s${CONTENT.length}-m1--f_x`)
  const url = keyOf('URL--http://h/x')
  const encrypted = keyOf('GPGHMACSHA1--0123456789abcdef0123456789abcdef01234567')
  const wrong = keyOf('URL--http://h/wrong')
  await world.repository('mounted')
  await record(world, worm, OID)
  await record(world, url, `${CONTENT.length} ${OID}`)
  await record(world, encrypted, `${CONTENT.length} ${OID}`)
  await record(world, wrong, `${CONTENT.length} ../../${OID.slice(6)}`)
  const { store } = await served(t, {}, { world, repository: 'mounted' })
  for (const key of [worm, url, encrypted]) {
    const object = await store.open({ key, content: KEY }, soon())
    assert.equal(object?.size, CONTENT.length, key.raw)
    assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
  }
  assert.equal(await store.open({ key: wrong, content: wrong }, soon()), undefined)
  assert.equal(await store.open({ key: keyOf('WORM-s1-m1--unknown'), content: KEY }, soon()), undefined)
  assert.equal(await store.open({ ...name, suffix: '.chunk1' }, soon()), undefined)
})

test('the server may be named: lfsurl and apiurl', LIMIT, async (t) => {
  const lfs = lfsServer({ objects: [CONTENT], repository: '/elsewhere' })
  const server = await httpServer(t, lfs.listener, { tls })
  for (const setting of ['lfsurl', 'apiurl']) {
    const config = { url: 'https://h.invalid/x', [setting]: `${server.url}/elsewhere/info/lfs/` }
    const store = await gitLfsStore(await storeContext(t, { kind: 'git-lfs', config, ca: [tls.ca] }))
    const object = await store.open(name, soon())
    assert.ok(object)
    assert.ok((await readObject(object, { start: 0, end: 9 })).equals(CONTENT.subarray(0, 9)))
  }
})

test('a password is asked of git when the server wants one, and shown nowhere', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const lines: string[] = []
  const log = textLog('debug', (line) => lines.push(line))
  await credentialHelper(t, world, 'echo username=joe; echo password=canary-secret')
  const { store } = await served(t, { login: 'joe:canary-secret' }, { world, log })
  const object = await store.open(name, soon())
  assert.ok(object)
  assert.ok((await readObject(object, { start: 0, end: 10 })).equals(CONTENT.subarray(0, 10)))
  const refused = await served(t, { login: 'joe:another' }, { world, log, repository: 'mounted' })
  await assert.rejects(refused.store.open(name, soon()), (error) => {
    return isAnnexfsError(error, 'FORBIDDEN') && !error.message.includes('canary')
  })
  // Somebody else may have written into remote.log where the server is.
  const elsewhere = { world, log, repository: 'mounted', own: 'https://127.0.0.9/joe/repo' }
  const led = await served(t, { login: 'joe:canary-secret' }, elsewhere)
  await assert.rejects(led.store.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  assert.ok(led.server.requests.every(({ headers }) => headers.authorization === undefined))
  assert.ok(!/canary|Token|am9lOm/.test(lines.join('')), lines.join(''))
})

test('a host behind ssh is asked for the endpoint and a token, and again when that has expired', LIMIT, async (t) => {
  const folder = await temporaryFolder(t)
  const script = `#!/bin/sh
echo "$*" >> ${folder}/asked
echo chatter >&2
echo '{"href":"'$(cat ${folder}/server)'/info/lfs/","header":{"Authorization":"Bearer '$(cat ${folder}/token)'"},"expires_in":'$(cat ${folder}/left)'}'
`
  const sshd = await startSshd(t, { programs: { 'git-lfs-authenticate': script } })
  const before = process.env['GIT_SSH_COMMAND']
  process.env['GIT_SSH_COMMAND'] = sshd.command
  t.after(() => {
    if (before === undefined) delete process.env['GIT_SSH_COMMAND']
    else process.env['GIT_SSH_COMMAND'] = before
  })
  let token = 'one'
  const lfs = lfsServer({ objects: [CONTENT], repository: REPOSITORY, token: () => `Bearer ${token}`, expiresIn: 0.01 })
  const server = await httpServer(t, lfs.listener, { tls })
  const tell = (left: number): void => {
    writeFileSync(join(folder, 'server'), `${server.url}${REPOSITORY}`)
    writeFileSync(join(folder, 'token'), token)
    writeFileSync(join(folder, 'left'), String(left))
  }
  tell(3600)
  const url = `ssh://${sshd.user}@${sshd.host}:${sshd.port}/~/joe/repo`
  const store = await gitLfsStore(await storeContext(t, { kind: 'git-lfs', config: { url }, ca: [tls.ca] }))
  t.after(() => store.close?.())
  const object = await store.open(name, soon())
  assert.ok(object)
  assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
  const asked = async (): Promise<string[]> => (await readFile(join(folder, 'asked'), 'utf8')).trim().split('\n')
  assert.deepEqual(await asked(), ['joe/repo download'])
  token = 'two'
  tell(0.001)
  assert.ok((await readObject(object, { start: 0, end: 10 })).equals(CONTENT.subarray(0, 10)), 'a token taken back')
  assert.equal((await asked()).length, 2)
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.ok((await readObject(object, { start: 0, end: 10 })).equals(CONTENT.subarray(0, 10)))
  assert.equal((await asked()).length, 3, 'the endpoint had expired')
  writeFileSync(join(folder, 'left'), '}{')
  await new Promise((resolve) => setTimeout(resolve, 50))
  await assert.rejects(readObject(object, { start: 0, end: 10 }), (error) => isAnnexfsError(error, 'UNAVAILABLE'))
  await store.close?.()
  // Its folder is in the environment of everything that was started since.
  const isSsh = async (pid: number): Promise<boolean> =>
    /^[^\0]*ssh/.test(await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''))
  const running = async (): Promise<boolean> => {
    const found = await Promise.all((await sshd.processes()).map(isSsh))
    return found.includes(true)
  }
  await until('no ssh is left', async () => !(await running()))
})

test('goal 24: where the server points to is checked as everything else is', LIMIT, async (t) => {
  const canary = await httpServer(t, (_, response) => response.end('secret'), { host: '127.0.0.9' })
  for (const storage of [canary.url, 'file:///etc/passwd', 'https://127.0.0.9', 'javascript:x']) {
    const policy = addressPolicy({ allow: ['127.0.0.1'] })
    const { store } = await served(t, { storage: () => storage, signed: true }, { policy })
    const failure = await readingOf(store)
    assert.ok(['FORBIDDEN', 'INVALID', 'UNAVAILABLE'].includes(failure), `${storage}: ${failure}`)
  }
  assert.equal(canary.connections, 0)
  const clear = await httpServer(t, (_, response) => response.end('x'))
  const { store } = await served(t, { storage: () => clear.url })
  await assert.rejects(store.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'), 'a token in the clear')
  assert.equal(clear.connections, 0)
})

test('goal 22: answers that are wrong or hostile are errors', LIMIT, async (t) => {
  const bend = (change: (object: BatchAnswer['objects'][number]) => unknown) => (answer: BatchAnswer) => ({
    ...answer,
    objects: answer.objects.map(change),
  })
  const cases: readonly (readonly [string, NonNullable<LfsServerOptions['bend']>, ErrorCode | 'absent'])[] = [
    ['no objects', () => ({}), 'UNAVAILABLE'],
    ['an empty list', () => ({ objects: [] }), 'UNAVAILABLE'],
    ['a text', () => 'text', 'UNAVAILABLE'],
    ['a list', () => [1], 'UNAVAILABLE'],
    ['another transfer', (answer) => ({ ...answer, transfer: 'tus' }), 'UNAVAILABLE'],
    ['another object', bend((object) => ({ ...object, oid: '1'.repeat(64) })), 'UNAVAILABLE'],
    ['another size', bend((object) => ({ ...object, size: 1 })), 'UNAVAILABLE'],
    ['no actions', bend(({ oid, size }) => ({ oid, size })), 'absent'],
    ['an error', bend(({ oid, size }) => ({ oid, size, error: { code: 500, message: '\u001b[31mx' } })), 'UNAVAILABLE'],
    ['not for you', bend(({ oid, size }) => ({ oid, size, error: { code: 403, message: 'no' } })), 'FORBIDDEN'],
    ['no URL', bend((object) => ({ ...object, actions: { download: { href: 'x y' } } })), 'UNAVAILABLE'],
    ['a header with a newline', withHeader({ 'x-a': 'b\r\nHost: c' }), 'INVALID'],
    ['a header that is none', withHeader({ 'x a': 'b' }), 'INVALID'],
    [
      'many headers',
      withHeader(Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`x-${index}`, 'b']))),
      'INVALID',
    ],
    ['an endless answer', () => 'x'.repeat(2 * 1024 * 1024), 'INVALID'],
  ]
  for (const [what, change, expected] of cases) {
    const { store } = await served(t, { bend: change })
    const opening = store.open(name, soon())
    if (expected === 'absent') assert.equal(await opening, undefined, what)
    else {
      await assert.rejects(
        opening,
        (error) => {
          // oxlint-disable-next-line no-control-regex -- none may reach a terminal
          return isAnnexfsError(error, expected) && !/[\u0000-\u001f]/.test(error.message)
        },
        what,
      )
    }
  }

  function withHeader(header: Record<string, string>): NonNullable<LfsServerOptions['bend']> {
    return bend((object) => ({ ...object, actions: { download: { href: 'https://127.0.0.1:1/', header } } }))
  }
})

test('an unknown certificate is refused; a remote without a usable URL too', LIMIT, async (t) => {
  const { store } = await served(t, {}, { ca: [] })
  await assert.rejects(store.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  for (const url of [
    '',
    '/srv/x',
    'git://h/x',
    'ssh://-oProxyCommand=x/y',
    'h:-x',
    'ssh://h/$(touch x)',
    'ssh://h/a b',
  ]) {
    const context = await storeContext(t, { kind: 'git-lfs', config: { url } })
    await assert.rejects(gitLfsStore(context), (error) => isAnnexfsError(error, 'INVALID'), url)
  }
})

async function readingOf(store: ObjectStore): Promise<string> {
  try {
    const object = await store.open(name, soon())
    if (object !== undefined) await readObject(object, { start: 0, end: 10 })
    return 'it was read'
  } catch (error) {
    return isAnnexfsError(error) ? error.code : String(error)
  }
}
