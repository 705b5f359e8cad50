import assert from 'node:assert/strict'
import { chmod, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { ask } from '../gateway/world.js'
import { serveSession } from '../gateway/serve-session.js'
import { makeSample } from '../support/sample.js'
import { annexfs, AT_HOME, homeOf, mountSession } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const SECRET = 'correct-horse-battery'
const bearer = { headers: { Authorization: `Bearer ${SECRET}` } }

test('serve answers at the address it says, and ends at SIGTERM with exit code 0', LIMIT, async (t) => {
  const { repository, files } = await makeSample(t, { some: 1234 })
  const session = await serveSession(t, [repository])
  assert.match(session.url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
  const got = await ask(session.port, '/local/some')
  assert.ok(got.body.equals(files.get('local/some') ?? Buffer.alloc(0)))
  // The page and the metrics of this process.
  assert.equal((await ask(session.port, '/-/')).status, 200)
  assert.match((await ask(session.port, '/-/metrics')).text, /^annexfs_info/m)
  assert.equal((await ask(session.port, '/-/snapshot')).status, 200)
  assert.equal((await ask(session.port, '/-/nothing')).status, 404)
  assert.match((await ask(session.port, '/')).text, /href="\/-\/"/)
  assert.equal(await session.stop(), 0)
})

test('several SOURCEs are folders', LIMIT, async (t) => {
  const { repository, world } = await makeSample(t, { some: 10 })
  const session = await serveSession(t, [repository, join(world.folder, 'b')])
  assert.match((await ask(session.port, '/')).text, /href="\.\/a\/".*href="\.\/b\/"/s)
  assert.equal((await ask(session.port, '/a/local/some')).status, 200)
})

test('mount --listen serves the same files over HTTP until it is unmounted', LIMIT, async (t) => {
  const { repository, files } = await makeSample(t, { some: 300_000 })
  const mount = await mountSession(t, [repository], { options: ['--listen', '127.0.0.1:0'] })
  const line = await mount.logged(/serving it at http/)
  const port = Number(/:(\d+)\//.exec(line.slice(line.indexOf('http')))?.[1])
  const got = await ask(port, '/shelf/some')
  assert.ok(got.body.equals(files.get('shelf/some') ?? Buffer.alloc(0)))
  assert.equal(JSON.parse((await ask(port, '/-/snapshot')).text).mountpoint, mount.path)
  assert.equal(await mount.stop(), 0)
  await assert.rejects(ask(port, '/shelf/some'), { code: 'ECONNREFUSED' })
})

test('a mount whose --listen is taken does not stay', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const first = await serveSession(t, [repository])
  await assert.rejects(
    mountSession(t, [repository], { options: ['--listen', `127.0.0.1:${first.port}`] }),
    (error: Error) => /ended with 6: .*cannot listen on 127\.0\.0\.1.*EADDRINUSE/s.test(error.message),
  )
})

test('goal 41: the secret comes from a file or the environment, and is in no log', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const file = join(await temporaryFolder(t), 'secret')
  await writeFile(file, `${SECRET}\nnot this\n`)
  await chmod(file, 0o644)
  const sessions = [
    await serveSession(t, [repository], { args: ['--token', '--auth-file', file] }),
    await serveSession(t, [repository], { listen: '0.0.0.0:0', args: ['--token'], env: { ANNEXFS_AUTH: SECRET } }),
  ]
  for (const session of sessions) {
    const { port, process: child } = session
    assert.equal((await ask(port, '/local/some')).status, 401)
    assert.equal((await ask(port, '/-/')).status, 401)
    assert.equal((await ask(port, '/local/some', bearer)).status, 200)
    assert.equal((await ask(port, '/-/', bearer)).status, 200)
    assert.equal(
      (await ask(port, '/local/some', { headers: { Authorization: 'Bearer wrong-horse-battery' } })).status,
      401,
    )
    assert.match(session.log(), /wrong secret/)
    assert.doesNotMatch(session.log(), /horse/)
    assert.doesNotMatch((await readFile(`/proc/${child.pid}/cmdline`)).toString(), /horse/)
  }
  assert.match(sessions[0]?.log() ?? '', /other users can read the secret; chmod 600 it/)
  const basic = await serveSession(t, [repository], { args: ['--basic-auth', 'ann', '--auth-file', file] })
  const authorization = `Basic ${Buffer.from(`ann:${SECRET}`).toString('base64')}`
  assert.equal((await ask(basic.port, '/', { headers: { Authorization: authorization } })).status, 200)
  assert.equal((await ask(basic.port, '/', bearer)).status, 401)
})

test('options that do not go together, or let others in, are exit code 2', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const folder = await temporaryFolder(t)
  const file = join(folder, 'secret')
  await writeFile(file, 'short\n', { mode: 0o600 })
  const serve = ['serve', ...AT_HOME, repository]
  for (const [args, pattern] of [
    [['serve'], /at least one SOURCE/],
    [[...serve, '--listen', '0.0.0.0:0'], /--token or --basic-auth/],
    [[...serve, '--listen', '[::]:0'], /--token or --basic-auth/],
    [[...serve, '--listen', 'x:y'], /ADDRESS:PORT/],
    [[...serve, '--listen', '127.0.0.1:70000'], /ADDRESS:PORT/],
    [[...serve, '--listen', ':8080'], /ADDRESS:PORT/],
    [[...serve, '--token'], /need a secret, from --auth-file FILE/],
    [[...serve, '--token', '--auth-file', join(folder, 'none')], /cannot read the secret/],
    [[...serve, '--token', '--auth-file', file], /at least 8 characters/],
    [[...serve, '--auth-file', file], /--token or --basic-auth/],
    [[...serve, '--token', '--basic-auth', 'x', '--auth-file', file], /not both/],
    [[...serve, '--allow-host', 'a/b'], /--allow-host/],
    [['mount', ...AT_HOME, '--token', repository, folder], /--listen/],
    [['mount', ...AT_HOME, '--allow-host', 'x', repository, folder], /--listen/],
  ] as const) {
    const { code, stderr } = await annexfs(t, args, { timeout: 120_000 })
    assert.equal(code, 2, `${args.slice(2).join(' ')}: ${stderr}`)
    assert.match(stderr, pattern)
    assert.doesNotMatch(stderr, /\n {2,}at /)
  }
})

test('a budget that is spent is 503 with the time until enough of it has come back', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 300_000 })
  const session = await serveSession(t, [repository], { args: ['--budget=256KiB/hour', '--streaming=off'] })
  const range = (start: number): { headers: Record<string, string> } => ({
    headers: { Range: `bytes=${start}-${start}` },
  })
  assert.equal((await ask(session.port, '/shelf/some', range(0))).status, 206)
  assert.equal((await ask(session.port, '/shelf/some', range(140_000))).status, 206)
  const spent = await ask(session.port, '/shelf/some', range(280_000))
  assert.equal(spent.status, 503)
  const seconds = Number(spent.headers['retry-after'])
  // 37856 bytes of 262144 in an hour.
  assert.ok(Number.isInteger(seconds) && seconds > 400 && seconds <= 520, spent.headers['retry-after'])
  assert.match(spent.text, /may be fetched in \d+ s/)
  assert.equal((await ask(session.port, '/shelf/some', range(5))).status, 206, 'what is cached can still be read')
})

test('serve --daemon prints its URL once it answers; status lists it and stop ends it', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const home = await temporaryFolder(t)
  const env = { ...homeOf(home), XDG_RUNTIME_DIR: home }
  const serve = ['serve', '--listen', '127.0.0.1:0', '--cache-dir', join(home, 'cache'), ...AT_HOME]
  const stop = async (url: string): Promise<void> => {
    await annexfs(t, ['stop', url], { env })
  }
  const urls: string[] = []
  for (const [daemon, source] of [
    ['--daemon', repository],
    ['--daemon=true', join(repository, '..', 'b')],
  ] as const) {
    const started = await annexfs(t, [...serve, daemon, source], { env })
    assert.equal(started.code, 0, started.stderr)
    const url = started.stdout.toString().trim()
    t.after(() => stop(url))
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
    urls.push(url)
    assert.match(started.stderr, /serving .*\nannexfs: process \d+, log in .*\.log\n$/)
    assert.equal((await ask(Number(new URL(url).port), '/')).status, 200)
  }
  const [first = '', second = ''] = urls
  assert.match((await annexfs(t, ['status'], { env })).stdout.toString(), new RegExp(first))
  const which = await annexfs(t, ['stop'], { env })
  assert.equal(which.code, 2)
  assert.match(which.stderr, /say which one is to end: http.*, http/)
  const other = await annexfs(t, ['stop', 'http://127.0.0.1:1/'], { env })
  assert.equal(other.code, 3)
  assert.match(other.stderr, /no annexfs serve of yours answers at http:\/\/127\.0\.0\.1:1\/; there is http/)
  assert.equal((await annexfs(t, ['stop', first], { env })).code, 0)
  await assert.rejects(ask(Number(new URL(first).port), '/'), /ECONNREFUSED/)
  assert.equal((await annexfs(t, ['stop'], { env })).code, 0, 'the only one')
  await assert.rejects(ask(Number(new URL(second).port), '/'), /ECONNREFUSED/)
  const none = await annexfs(t, ['stop'], { env })
  assert.equal(none.code, 3)
  assert.match(none.stderr, /no annexfs serve of yours is running/)

  const failed = await annexfs(t, [...serve, '--daemon', join(home, 'nowhere')], { env })
  assert.equal(failed.code, 3, 'what failed in the background is told in front')
  assert.match(failed.stderr, /nowhere/)
  assert.equal(failed.stdout.length, 0)
})

test('stop ends no mount, and says what does', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const home = await temporaryFolder(t)
  const env = { XDG_RUNTIME_DIR: home }
  const mount = await mountSession(t, [repository], { options: ['--listen', '127.0.0.1:0'], env })
  const line = await mount.logged(/serving it at http/)
  const url = /http:\S+/.exec(line)?.[0] ?? ''
  const asked = await annexfs(t, ['stop', url], { env: { ...homeOf(home), ...env } })
  assert.equal(asked.code, 2)
  assert.ok(asked.stderr.includes(`annexfs unmount ${mount.path} ends it`), asked.stderr)
  assert.equal(await mount.stop(), 0)
})
