import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import type { Key } from '../../lib/annex/key.js'
import { gitWebStore } from '../../lib/stores/git-web.js'
import { parseConfigText } from '../../lib/stores/git-web-config.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { httpalsoStore } from '../../lib/stores/httpalso.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { askedRange, httpServer, type TestServer } from '../support/http.js'
import { basic, p2pServer } from '../support/p2p-http.js'
import { credentialHelper, keyOf, storeContext } from './git-web-support.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(700_003)
const ABSENT = keyOf('SHA256-s5--nothing')
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface Origin {
  readonly world: AnnexWorld
  readonly server: TestServer
  readonly uuid: string
  readonly key: Key
}

/** A repository with one annexed file behind a web server of plain files; a clone of it at `clone`. */
async function origin(t: TestContext, options: { bare?: boolean; login?: string } = {}): Promise<Origin> {
  const world = await annexWorld(t)
  await world.repository('source')
  await world.addAnnexed('source', { 'f.b&n': CONTENT })
  const raw = await world.annex('source', 'lookupkey', 'f.b&n')
  let served = 'source'
  if (options.bare === true) {
    await world.git('.', 'clone', '--quiet', '--bare', 'source', 'bare')
    await world.annex('bare', 'init', '--quiet', 'bare')
    await world.git('source', 'remote', 'add', 'bare', join(world.folder, 'bare'))
    await world.annex('source', 'copy', '--quiet', '--to', 'bare', 'f.b&n')
    served = 'bare'
  }
  await world.git('source', 'update-server-info')
  await world.git('.', 'clone', '--quiet', 'source', 'mounted')
  const root = join(world.folder, served)
  const server = await httpServer(t, (request, response) => {
    if (options.login !== undefined && request.headers.authorization !== basic(options.login)) {
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
    }
    const path = normalize(decodeURIComponent(request.url ?? ''))
    readFile(join(root, path.replace(/^\/repo/, ''))).then(
      (bytes) => {
        const range = askedRange(request, bytes.length)
        const part = range === undefined ? bytes : bytes.subarray(range.start, range.end)
        const head = { 'content-length': part.length }
        if (range === undefined) response.writeHead(200, head).end(part)
        else {
          const contentRange = `bytes ${range.start}-${range.end - 1}/${bytes.length}`
          response.writeHead(206, { ...head, 'content-range': contentRange }).end(part)
        }
      },
      () => response.writeHead(404).end(),
    )
  })
  return { world, server, uuid: await world.git(served, 'config', 'annex.uuid'), key: keyOf(raw) }
}

async function storeOf(
  t: TestContext,
  { world, server }: Pick<Origin, 'world' | 'server'>,
  options: { uuid?: string; path?: string; config?: Readonly<Record<string, string>>; configured?: boolean } = {},
): Promise<ObjectStore> {
  const url = `${server.url}/repo${options.path ?? ''}`
  const context = await storeContext(t, {
    kind: 'git',
    url,
    world,
    repository: 'mounted',
    uuid: options.uuid ?? '',
    config: { url, ...options.config },
    configured: options.configured ?? true,
  })
  const store = await gitWebStore(context)
  t.after(() => store.close?.())
  return store
}

storeContract('git over http', async (t) => {
  const made = await origin(t)
  return {
    store: await storeOf(t, made, { uuid: made.uuid }),
    name: { key: made.key, content: made.key, size: CONTENT.length },
    content: CONTENT,
    absent: { key: ABSENT, content: ABSENT },
  }
})

test('repositories with and without a work tree, with and without .git in the URL', LIMIT, async (t) => {
  for (const bare of [false, true]) {
    const made = await origin(t, { bare })
    for (const path of bare ? ['', '/'] : ['', '/', '/.git', '/.git/']) {
      for (const uuid of ['', made.uuid]) {
        const store = await storeOf(t, made, { path, uuid })
        const name = { key: made.key, content: made.key, size: CONTENT.length }
        const object = await store.open(name, soon())
        assert.ok(object, `${bare} ${path}`)
        assert.ok((await readWhole(object, CONTENT.length)).equals(CONTENT))
        const asked = made.server.requests.length
        const again = await store.open(name, soon())
        assert.ok(again)
        assert.ok((await readObject(again, { start: 9, end: 99 })).equals(CONTENT.subarray(9, 99)))
        const requests = made.server.requests.slice(asked).map((request) => `${request.method} ${request.url}`)
        assert.equal(requests.length, 1, `what worked is remembered: ${requests.join()}`)
      }
    }
  }
})

test('hash directories of the other kind are found too', LIMIT, async (t) => {
  const made = await origin(t)
  for (const bare of ['true', 'false']) {
    await made.world.git('source', 'config', 'core.bare', bare)
    const store = await storeOf(t, made)
    const object = await store.open({ key: made.key, content: made.key, size: CONTENT.length }, soon())
    assert.ok(object)
    assert.ok((await readObject(object, { start: 0, end: 99 })).equals(CONTENT.subarray(0, 99)))
  }
})

test('a repository is only good for what is recorded to be in it', LIMIT, async (t) => {
  const made = await origin(t)
  const stranger = await storeOf(t, made, { uuid: '99999999-2222-4333-8444-555555555555' })
  const name = { key: made.key, content: made.key, size: CONTENT.length }
  await assert.rejects(stranger.open(name, soon()), (error) => isAnnexfsError(error, 'UNAVAILABLE'))
  const unasked = await storeOf(t, made)
  const other = keyOf('SHA256-s3--abc')
  assert.equal(await unasked.open({ key: other, content: other }, soon()), undefined)
  const ill = await httpServer(t, (_, response) => response.writeHead(500).end())
  const unknown = await storeOf(t, { world: made.world, server: ill })
  await assert.rejects(unknown.open(name, soon()), (error) => isAnnexfsError(error, 'UNAVAILABLE'), 'not "not there"')
  const plain = await httpServer(t, (_, response) => response.writeHead(404).end())
  const nowhere = await storeOf(t, { world: made.world, server: plain })
  assert.equal(await nowhere.open(name, soon()), undefined, 'git only, as most hosting is')
  assert.equal(await nowhere.open(name, soon()), undefined)
  assert.equal(plain.requests.length, 2, 'it is not asked each time')
})

test('a password is asked of git when the server wants one, for everything', LIMIT, async (t) => {
  const made = await origin(t, { login: 'joe:s3cret' })
  await credentialHelper(t, made.world, 'echo username=joe; echo password=s3cret; echo x >> "$HOME/count"')
  const before = process.env['HOME']
  process.env['HOME'] = made.world.folder
  t.after(() => (process.env['HOME'] = before))
  const store = await storeOf(t, made)
  const object = await store.open({ key: made.key, content: made.key, size: CONTENT.length }, soon())
  assert.ok(object)
  const parts = await Promise.all([0, 1, 2, 3].map((start) => readObject(object, { start, end: start + 1000 })))
  parts.forEach((part, start) => assert.ok(part.equals(CONTENT.subarray(start, start + 1000))))
  assert.equal((await readFile(join(made.world.folder, 'count'), 'utf8')).trim(), 'x', 'asked once')
})

test('without a password that works it says what to do; no other origin gets it', LIMIT, async (t) => {
  const made = await origin(t, { login: 'joe:s3cret' })
  const store = await storeOf(t, made, { uuid: made.uuid })
  const name = { key: made.key, content: made.key, size: CONTENT.length }
  await assert.rejects(store.open(name, soon()), (error) => {
    return isAnnexfsError(error, 'FORBIDDEN') && /credential/.test(error.message)
  })
  await credentialHelper(t, made.world, 'echo username=joe; echo password=s3cret')
  const thief = await httpServer(t, (request, response) => {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end(request.url)
  })
  const redirecting = await httpServer(t, (request, response) => {
    response.writeHead(302, { location: `${thief.url}${request.url ?? ''}` }).end()
  })
  const led = await storeOf(t, { world: made.world, server: redirecting }, { uuid: made.uuid })
  await assert.rejects(led.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  assert.ok(thief.requests.length > 0)
  for (const { headers } of thief.requests) assert.equal(headers.authorization, undefined)
})

test(
  'a server that the user has not named gets no credentials, though a helper has some for any host',
  LIMIT,
  async (t) => {
    const made = await origin(t, { login: 'joe:s3cret' })
    await credentialHelper(t, made.world, 'echo username=joe; echo password=s3cret')
    const name = { key: made.key, content: made.key, size: CONTENT.length }
    const remembered = await storeOf(t, made, { uuid: made.uuid, configured: false })
    await assert.rejects(remembered.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
    const also = httpalsoStore(
      await storeContext(t, {
        kind: 'httpalso',
        config: { url: `${made.server.url}/repo` },
        configured: false,
        world: made.world,
        repository: 'mounted',
      }),
    )
    await assert.rejects(also.open(name, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
    for (const { headers } of made.server.requests) assert.equal(headers.authorization, undefined)
  },
)

test('a server that a remote names for the protocol gets no credentials', LIMIT, async (t) => {
  const made = await origin(t)
  await credentialHelper(t, made.world, 'echo username=joe; echo password=s3cret')
  const thief = await httpServer(t, (_, response) => {
    response.writeHead(401, { 'www-authenticate': 'Basic realm="x"' }).end()
  })
  const url = thief.url.replace('http://127.0.0.1', 'annex+http://localhost')
  assert.match(url, /localhost/)
  await made.world.git('source', 'config', 'annex.url', `${url}/git-annex/`)
  const store = await storeOf(t, made, { uuid: made.uuid })
  const other = keyOf('SHA256-s4--only-there')
  await assert.rejects(store.open({ key: other, content: other }, soon()))
  assert.ok(thief.requests.length > 0)
  for (const { headers } of thief.requests) assert.equal(headers.authorization, undefined)
})

test('a helper that the repository names is not run', LIMIT, async (t) => {
  const made = await origin(t, { login: 'joe:s3cret' })
  const mark = join(made.world.folder, 'ran')
  await made.world.git('mounted', 'config', 'credential.helper', `!touch "${mark}"; echo username=a; echo password=b`)
  const folder = process.cwd()
  process.chdir(join(made.world.folder, 'mounted'))
  t.after(() => process.chdir(folder))
  const store = await storeOf(t, made, { uuid: made.uuid })
  await assert.rejects(store.open({ key: made.key, content: made.key }, soon()), (error) => {
    return isAnnexfsError(error, 'FORBIDDEN')
  })
  await assert.rejects(readFile(mark))
})

test('a repository whose configuration names annex+http is read over that', LIMIT, async (t) => {
  const made = await origin(t)
  const other = keyOf('SHA256-s4--only-there')
  const content = new Map([[other.raw, Buffer.from('1234')]])
  const speaker = await httpServer(t, p2pServer({ uuid: made.uuid, content }))
  const url = speaker.url.replace('http', 'annex+http')
  await made.world.git('source', 'config', 'annex.url', `${url}/git-annex/`)
  const store = await storeOf(t, made, { uuid: made.uuid })
  for (let round = 0; round < 3; round++) {
    const object = await store.open({ key: other, content: other }, soon())
    assert.equal(object?.size, 4)
    assert.equal((await readWhole(object, 4)).toString(), '1234')
  }
  // The files are there all the same.
  const file = await store.open({ key: made.key, content: made.key, size: CONTENT.length }, soon())
  assert.ok(file)
  assert.ok((await readObject(file, { start: 5, end: 500 })).equals(CONTENT.subarray(5, 500)))
})

test('goal 22: a server that is ill is an error, never wrong bytes', LIMIT, async (t) => {
  const made = await origin(t)
  const name = { key: made.key, content: made.key, size: CONTENT.length }
  for (const status of [418, 503]) {
    const ill = await httpServer(t, (_, response) => response.writeHead(status, { 'retry-after': '3600' }).end())
    const store = await storeOf(t, { world: made.world, server: ill }, { uuid: made.uuid })
    await assert.rejects(store.open(name, soon()), (error) => isAnnexfsError(error, 'UNAVAILABLE'), String(status))
  }
  const another = await httpServer(t, (_, response) => response.end('another size'))
  const store = await storeOf(t, { world: made.world, server: another }, { uuid: made.uuid })
  await assert.rejects(store.open(name, soon()), (error) => isAnnexfsError(error, 'CORRUPT'))
})

test('other URLs are refused', LIMIT, async (t) => {
  for (const url of ['ssh://h/x', '/srv/x', 'h:x', 'annex+ftp://h/']) {
    const context = await storeContext(t, { kind: 'git', url })
    await assert.rejects(gitWebStore(context), (error) => isAnnexfsError(error, 'INVALID'), url)
  }
})

test('the text of a git configuration is read as git reads it', async (t) => {
  const text = `
[core]
\tbare = false ; no
  [Annex] uuid = "abc" # x
\tURL = annex+http://h/git-annex/
[remote "a\\"b"]
 url = "x;y" z \\
 w
 flag
[old.sub]
 key = a\\tb
[broken
 uuid = none
`
  const world = await annexWorld(t)
  const config = parseConfigText(text)
  const right = text.replace('[broken\n uuid = none\n', '')
  await world.write('.', 'config', right)
  const listed = (await world.run('.', 'git', ['config', '--file', 'config', '--list', '-z'])).toString()
  for (const item of listed.split('\0').filter((one) => one !== '')) {
    const newline = item.indexOf('\n')
    const [name, value] = newline < 0 ? [item, 'true'] : [item.slice(0, newline), item.slice(newline + 1)]
    assert.equal(config.get(name), value, name)
  }
})
