import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test, type TestContext } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { textLog } from '../../lib/log/log.js'
import { addressPolicy } from '../../lib/net/address-policy.js'
import { gitWebStore } from '../../lib/stores/git-web.js'
import { p2pHttpBase } from '../../lib/stores/p2p-http.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { annexWorld } from '../support/annex.js'
import { httpServer, type TestServer } from '../support/http.js'
import { p2pServer, type P2pServer } from '../support/p2p-http.js'
import { credentialHelper, keyOf, storeContext, UUID, type ContextOptions } from './git-web-support.js'
import { readObject, readWhole, storeContract } from './store-contract.js'

const LIMIT = { timeout: 180_000 }
const CONTENT = randomBytes(3_000_001)
const KEY = keyOf(`SHA256E-s${CONTENT.length}--abc.b%i&n`)
const STRANGE = keyOf('WORM-s5-m1--caf\xe9')
const ABSENT = keyOf('SHA256-s5--nothing')
const soon = (): AbortSignal => AbortSignal.timeout(60_000)

interface Served {
  readonly store: ObjectStore
  readonly server: TestServer
}

async function served(
  t: TestContext,
  given: Partial<P2pServer> = {},
  options: Partial<ContextOptions> = {},
): Promise<Served> {
  const content = new Map([
    [KEY.raw, CONTENT],
    [STRANGE.raw, Buffer.from('12345')],
  ])
  const server = await httpServer(t, p2pServer({ uuid: UUID, content, ...given }))
  const url = server.url.replace('http', 'annex+http')
  const context = await storeContext(t, { kind: 'git', url: `${url}/git-annex/`, ...options })
  const store = await gitWebStore(context)
  t.after(() => store.close?.())
  return { store, server }
}

storeContract('annex+http', async (t) => ({
  store: (await served(t)).store,
  name: { key: KEY, content: KEY, size: CONTENT.length },
  content: CONTENT,
  absent: { key: ABSENT, content: ABSENT },
}))

test('the API is where its URL says, at port 9417 unless it says another', () => {
  for (const [url, base] of [
    ['annex+http://h.example/git-annex/', 'http://h.example:9417/git-annex'],
    ['annex+https://h.example/git-annex', 'https://h.example:9417/git-annex'],
    ['annex+http://h.example:80/git-annex/', 'http://h.example:80/git-annex'],
    ['annex+https://u@h.example:443/', 'https://u@h.example:443/git-annex'],
    ['annex+http://h.example:3000/git-annex-p2phttp', 'http://h.example:3000/git-annex-p2phttp/git-annex'],
    ['annex+http://[::1]/', 'http://[::1]:9417/git-annex'],
    ['http://h.example/git-annex/', undefined],
    ['annex+ftp://h.example/', undefined],
    ['annex+http://', undefined],
  ] as const) {
    assert.equal(p2pHttpBase(url), base, url)
  }
})

test('older versions of the API are spoken, and the one that works is remembered', LIMIT, async (t) => {
  for (const newest of [4, 3, 1, 0]) {
    const { store, server } = await served(t, { newest })
    for (let round = 0; round < 2; round++) {
      const object = await store.open({ key: KEY, content: KEY, size: CONTENT.length }, soon())
      assert.ok(object)
      assert.ok((await readObject(object, { start: 5, end: 10 })).equals(CONTENT.subarray(5, 10)))
    }
    assert.equal(server.requests.filter(({ method }) => method === 'POST').length, 4 - newest + 2)
    assert.ok(server.requests.some(({ url }) => url.includes(`/v${newest}/key/`)))
  }
})

test('keys that are not UTF-8 and keys without a size are had', LIMIT, async (t) => {
  const { store } = await served(t)
  const object = await store.open({ key: STRANGE, content: STRANGE }, soon())
  assert.equal(object?.size, 5)
  assert.equal((await readWhole(object, 5)).toString(), '12345')
})

test('a range costs about the range: the rest is not sent', LIMIT, async (t) => {
  const big = Buffer.alloc(64 * 1024 * 1024, 'x')
  const key = keyOf(`SHA256-s${big.length}--big`)
  let sent = 0
  const content = new Map([[key.raw, big]])
  const spoil: P2pServer['spoil'] = (body, response) => {
    const more = (at: number): void => {
      if (response.destroyed || at >= body.length) return
      sent += 65_536
      if (response.write(body.subarray(at, at + 65_536))) setImmediate(more, at + 65_536)
      else response.once('drain', () => more(at + 65_536))
    }
    more(0)
  }
  const { store } = await served(t, { content, spoil })
  const object = await store.open({ key, content: key, size: big.length }, soon())
  assert.ok(object)
  assert.equal((await readObject(object, { start: 1_000_000, end: 1_100_000 })).length, 100_000)
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.ok(sent < 16 * 1024 * 1024, `${sent} bytes were sent`)
})

test('goal 22: a body that is short, long, cut off or without a length is an error or read again', LIMIT, async (t) => {
  const size = CONTENT.length
  let cuts = 0
  const cases: readonly (readonly [string, P2pServer['spoil'], 'CORRUPT' | 'UNAVAILABLE' | 'fine'])[] = [
    ['shorter than announced', (body, response) => response.end(body.subarray(0, body.length - 1)), 'CORRUPT'],
    ['longer than announced', (body, response) => response.end(Buffer.concat([body, Buffer.from('x')])), 'CORRUPT'],
    [
      'no length',
      (body, response) => {
        response.removeHeader('x-git-annex-data-length')
        response.end(body)
      },
      'CORRUPT',
    ],
    [
      'another length',
      (body, response) => {
        response.setHeader('x-git-annex-data-length', body.length + 1)
        response.end(body)
      },
      'CORRUPT',
    ],
    [
      'compressed',
      (body, response) => {
        response.setHeader('content-encoding', 'gzip')
        response.end(body)
      },
      'CORRUPT',
    ],
    [
      'cut off once',
      (body, response) => {
        if (cuts++ > 0) response.end(body)
        else response.write(body.subarray(0, body.length >> 1), () => response.socket?.destroy())
      },
      'fine',
    ],
    [
      'cut off always',
      (body, response) => response.write(body.subarray(0, 1000), () => response.socket?.destroy()),
      'UNAVAILABLE',
    ],
  ]
  for (const [what, spoil, expected] of cases) {
    if (spoil === undefined) continue
    const { store } = await served(t, { spoil })
    const object = await store.open({ key: KEY, content: KEY, size }, soon())
    assert.ok(object)
    const reading = readObject(object, { start: 0, end: size })
    if (expected === 'fine') assert.ok((await reading).equals(CONTENT), what)
    else await assert.rejects(reading, (error) => isAnnexfsError(error, expected), what)
  }
})

test('a password is asked of git when the server wants one, and shown nowhere', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const lines: string[] = []
  const log = textLog('debug', (line) => lines.push(line))
  await credentialHelper(t, world, `cat > "${world.folder}/asked"; echo username=joe; echo password=canary-secret`)
  const { store } = await served(t, { login: 'joe:canary-secret' }, { world, log })
  const object = await store.open({ key: KEY, content: KEY, size: CONTENT.length }, soon())
  assert.ok(object)
  assert.ok((await readObject(object, { start: 0, end: 1000 })).equals(CONTENT.subarray(0, 1000)))
  assert.match((await world.run('.', 'cat', ['asked'])).toString(), /protocol=http\nhost=127\.0\.0\.1:\d+\n/)
  assert.ok(!lines.join('').includes('canary'))
  await credentialHelper(t, world, `echo username=joe; echo password=wrong; echo x >> "${world.folder}/count"`)
  const wrong = await served(t, { login: 'joe:canary-secret' }, { world, log, repository: 'mounted' })
  for (let round = 0; round < 3; round++) {
    await assert.rejects(wrong.store.open({ key: KEY, content: KEY }, soon()), (error) =>
      isAnnexfsError(error, 'FORBIDDEN'),
    )
  }
  assert.equal((await world.run('.', 'cat', ['count'])).toString(), 'x\n', 'wrong ones are not asked for each time')
})

test('goal 24: an API at an address that policy forbids is not connected to', LIMIT, async (t) => {
  const { store, server } = await served(t, {}, { policy: addressPolicy({ allow: [] }) })
  await assert.rejects(store.open({ key: KEY, content: KEY }, soon()), (error) => isAnnexfsError(error, 'FORBIDDEN'))
  assert.equal(server.connections, 0)
})

test('a server is asked one thing at a time, also when answers are cut off', LIMIT, async (t) => {
  let [now, most] = [0, 0]
  const { store } = await served(t, {
    spoil: (body, response) => {
      most = Math.max(most, ++now)
      response.once('close', () => (now -= 1))
      response.write(body.subarray(0, 600_000))
      setTimeout(() => response.end(body.subarray(600_000)), 50)
    },
  })
  const object = await store.open({ key: KEY, content: KEY, size: CONTENT.length }, soon())
  assert.ok(object)
  await Promise.all(
    [0, 700_000, 1_400_000, 5].map(async (start) => {
      const range = { start, end: start + 650_000 }
      assert.ok((await readObject(object, range)).equals(CONTENT.subarray(range.start, range.end)))
      assert.ok(await store.open({ key: KEY, content: KEY, size: CONTENT.length }, soon()))
    }),
  )
  assert.equal(most, 1)
})
