import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { before, after, test, type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { httpServer } from '../support/http.js'
import { temporaryFolder } from '../support/temp.js'

const run = promisify(execFile)
const LIMIT = { timeout: 180_000 }
const EC = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
let folder = ''
let ca = ''
const clean: (() => Promise<void>)[] = []

before(async () => {
  folder = await temporaryFolder({ after: (end) => void clean.push(end as () => Promise<void>) })
  await openssl(`req -x509 ${EC} -days 30 -keyout ca.key -out ca.pem -subj /CN=annexfs-test-CA`)
  ca = await readFile(join(folder, 'ca.pem'), 'utf8')
})
after(async () => {
  for (const end of clean) await end()
})

function openssl(line: string): Promise<unknown> {
  return run('openssl', line.split(' '), { cwd: folder })
}

/** A certificate of our CA for `names`, valid from today for `days` (negative: it ended that many days ago). */
async function certificate(name: string, names: string, days: number): Promise<{ key: string; cert: string }> {
  await openssl(`req ${EC} -subj /CN=${name} -keyout ${name}.key -out ${name}.csr`)
  await writeFile(join(folder, `${name}.ext`), `subjectAltName=${names}\n`)
  await openssl(
    `x509 -req -in ${name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days ${days} -extfile ${name}.ext -out ${name}.pem`,
  )
  const [key, cert] = await Promise.all(
    [`${name}.key`, `${name}.pem`].map((file) => readFile(join(folder, file), 'utf8')),
  )
  return { key: key ?? '', cert: cert ?? '' }
}

function client(t: TestContext, trusted: boolean): HttpClient {
  const http = new HttpClient({
    policy: anyAddress,
    log: silentLog,
    resolve: () => Promise.resolve(['127.0.0.1']),
    ...(trusted ? { ca: [ca] } : {}),
  })
  t.after(() => http.close())
  return http
}

const get = (http: HttpClient, url: string): Promise<unknown> => http.get(url, { signal: AbortSignal.timeout(60_000) })
const refused = (error: unknown): boolean => {
  assert.ok(isAnnexfsError(error, 'FORBIDDEN'), String(error))
  assert.match(error.message, /certificate/)
  return true
}

test('a server with a right certificate is read from, by name and by address', { timeout: 180_000 }, async (t) => {
  const tls = await certificate('right', 'DNS:right.test,IP:127.0.0.1', 10)
  const server = await httpServer(t, (_, response) => response.end('fine'), { tls })
  const http = client(t, true)
  for (const host of ['right.test', '127.0.0.1']) {
    const answer = await http.get(`https://${host}:${server.port}/`, { signal: AbortSignal.timeout(60_000) })
    assert.equal(answer.status, 200)
    answer.cancel()
  }
})

test(
  'goal 25: self-signed, unknown, wrong-host and expired certificates are refused',
  { timeout: 180_000 },
  async (t) => {
    const right = await certificate('host', 'DNS:right.test', 10)
    const server = await httpServer(t, (_, response) => response.end('secret'), { tls: right })
    await assert.rejects(get(client(t, false), `https://right.test:${server.port}/`), refused, 'unknown issuer')
    await assert.rejects(get(client(t, true), `https://wrong.test:${server.port}/`), refused, 'wrong host')
    await assert.rejects(get(client(t, true), `https://127.0.0.1:${server.port}/`), refused, 'wrong address')

    const old = await httpServer(t, (_, response) => response.end('secret'), {
      tls: await certificate('old', 'DNS:right.test', -1),
    })
    await assert.rejects(get(client(t, true), `https://right.test:${old.port}/`), refused, 'expired')

    await openssl(
      `req -x509 ${EC} -days 5 -keyout self.key -out self.pem -subj /CN=right.test -addext subjectAltName=DNS:right.test`,
    )
    const [key = '', cert = ''] = await Promise.all(
      ['self.key', 'self.pem'].map((file) => readFile(join(folder, file), 'utf8')),
    )
    const self = await httpServer(t, (_, response) => response.end('secret'), { tls: { key, cert } })
    await assert.rejects(get(client(t, true), `https://right.test:${self.port}/`), refused, 'self-signed')
    for (const one of [server, old, self]) assert.equal(one.requests.length, 0)
  },
)

/** What a process of its own, whose environment has just `env`, says of a server of our authority. */
async function asked(t: TestContext, env: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const tls = await certificate('asked', 'DNS:right.test', 10)
  const server = await httpServer(t, (_, response) => response.end('fine'), { tls })
  const program = fileURLToPath(new URL('ask.js', import.meta.url))
  const { stdout } = await run(process.execPath, [program, `https://right.test:${server.port}/`], { env })
  return stdout.trimEnd().split('\n')
}

test('an authority of the system, or one that is named to Node.js, is trusted', LIMIT, async (t) => {
  const file = join(folder, 'ca.pem')
  const others = join(folder, 'others.pem')
  await openssl(`req -x509 ${EC} -days 30 -keyout other.key -out other.pem -subj /CN=annexfs-other-CA`)
  const texts = await Promise.all(['other.pem', 'ca.pem'].map((name) => readFile(join(folder, name), 'utf8')))
  await writeFile(others, [...rootCertificates.slice(0, 2), ...texts].join('\n'))
  assert.deepEqual(await asked(t, { SSL_CERT_FILE: file }), ['200', '200'])
  assert.deepEqual(await asked(t, { SSL_CERT_FILE: others }), ['200', '200'])
  assert.deepEqual(await asked(t, { NODE_EXTRA_CA_CERTS: file }), ['200', '200'])
  assert.deepEqual(await asked(t, { SSL_CERT_FILE: file, NODE_EXTRA_CA_CERTS: others }), ['200', '200'])
})

test('who issued a refused certificate is not known: the error says how it can be made known', LIMIT, async (t) => {
  const [first, second] = await asked(t, {})
  assert.match(first ?? '', /certificate is refused \(UNABLE_TO_VERIFY_LEAF_SIGNATURE\)/)
  assert.match(first ?? '', /install that in the system's certificate store.*SSL_CERT_FILE.*NODE_EXTRA_CA_CERTS/)
  assert.equal(second, first)
})

test('certificates that cannot be read are told, and are no failure', LIMIT, async (t) => {
  const missing = join(folder, 'missing.pem')
  const [told, ...answers] = await asked(t, { SSL_CERT_FILE: missing, NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') })
  assert.match(told ?? '', /^annexfs: warn: .*missing\.pem/)
  assert.deepEqual(answers, ['200', '200'])

  const rubbish = join(folder, 'rubbish.pem')
  const broken = '-----BEGIN CERTIFICATE-----\nMIIBrubbish\n-----END CERTIFICATE-----\n'
  for (const [text, expected] of [
    ['no certificate at all', /^annexfs: warn: .*rubbish\.pem/],
    [broken, /^annexfs: warn: .*rubbish\.pem/],
  ] as const) {
    await writeFile(rubbish, text)
    const [line, ...rest] = await asked(t, { SSL_CERT_FILE: rubbish, NODE_EXTRA_CA_CERTS: join(folder, 'ca.pem') })
    assert.match(line ?? '', expected)
    assert.deepEqual(rest, ['200', '200'], text)
  }
  await writeFile(rubbish, broken + (await readFile(join(folder, 'ca.pem'), 'utf8')))
  const [line, ...rest] = await asked(t, { SSL_CERT_FILE: rubbish })
  assert.match(line ?? '', /^annexfs: warn: .*rubbish\.pem/)
  assert.deepEqual(rest, ['200', '200'], 'those beside a broken one count')
})

test('goal 25: a redirect from https to http is refused', { timeout: 180_000 }, async (t) => {
  const plain = await httpServer(t, (_, response) => response.end('tampered'))
  const tls = await certificate('down', 'DNS:right.test', 10)
  const server = await httpServer(t, (_, response) => response.writeHead(302, { location: plain.url }).end(), { tls })
  await assert.rejects(get(client(t, true), `https://right.test:${server.port}/`), (error: unknown) => {
    return isAnnexfsError(error, 'FORBIDDEN') && error.message.includes('from https to http')
  })
  assert.equal(plain.connections, 0)
})
