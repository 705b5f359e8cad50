import assert from 'node:assert/strict'
import { chmod, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { pageAt } from '../../cmd/ui.js'
import { eventually, startBrowser, type TestBrowser } from '../support/browser.js'
import { makeTorrent, startLibtorrent } from '../support/peers.js'
import { makeSample } from '../support/sample.js'
import { annexfs, mountSession, PROGRAM, runProgram } from '../support/session.js'
import { temporaryFolder } from '../support/temp.js'
import { serveSession } from './serve-session.js'

const LIMIT = { timeout: 180_000 }

let chromium: TestBrowser
before(async () => {
  chromium = await startBrowser()
})
after(() => chromium.close())

test('the page of a mount shows a torrent being read, piece by piece, and from whom', LIMIT, async (t) => {
  const torrent = await makeTorrent(t, { length: 16 * 2 ** 20, pieceLength: 131_072, name: 'film.bin' })
  const peer = await startLibtorrent(t, { host: '127.0.0.61', torrent, seed: true })
  const home = await temporaryFolder(t)
  const env = { XDG_STATE_HOME: home }
  const options = ['--listen', '127.0.0.1:0', '--peer', peer.address, '--download-limit', '2MiB']
  const mount = await mountSession(t, [torrent.file], { options, env })

  const ui = await annexfs(t, ['ui', mount.path], { env })
  assert.equal(ui.code, 0, ui.stderr)
  const url = ui.stdout.toString().trim()
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/-\/$/)
  assert.equal((await annexfs(t, ['ui'], { env })).stdout.toString().trim(), url, 'the only one that runs')

  const { page, context, trouble, requests } = await chromium.open(url)
  t.after(() => context.close())
  const shows = (pattern: RegExp): Promise<void> =>
    eventually(
      async () => pattern.test(await page.innerText('body')),
      async () => `the page does not show ${String(pattern)}:\n${await page.innerText('body')}`,
    )
  await shows(/Nothing is being read\. Open a file in .*mount/)
  const file = await open(join(mount.path, 'film.bin'))
  try {
    const reading = (async () => {
      const bytes = Buffer.alloc(16 * 2 ** 20)
      for (let at = 0; at < bytes.length;) at += (await file.read(bytes, at, 65_536, at)).bytesRead
      return bytes
    })()
    await shows(/film\.bin[\s\S]*every piece is checked as it comes/)
    await shows(/(^|\n)[1-9]\d? % cached[^\n]*128 pieces of 128 KiB/)
    await shows(/127\.0\.0\.61:\d+[\s\S]*libtorrent/)
    await shows(/[1-9][\d.]* [KM]iB\/s/)
    assert.ok((await reading).equals(torrent.content))
    await shows(/100 % cached · 128 pieces of 128 KiB/)
    await shows(/16 MiB fetched, 16 MiB read/)
    await page.getByText('Pieces in words').click()
    await shows(/Pieces 1 to \d+ \(from 0 B\): here, checked/)
  } finally {
    await file.close()
  }
  assert.deepEqual(trouble, [])
  for (const request of requests) assert.ok(request.startsWith(url) || request.startsWith('data:'), request)
  assert.equal(await mount.stop(), 0)
  await page.locator('#connection').waitFor({ state: 'visible' })
})

test('the page works for who knows the secret of the gateway', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const secret = 'correct-horse-battery'
  const session = await serveSession(t, [repository], { args: ['--basic-auth', 'me'], env: { ANNEXFS_AUTH: secret } })
  const { page, context, trouble } = await chromium.open(`${session.url}-/`, {
    httpCredentials: { username: 'me', password: secret },
  })
  t.after(() => context.close())
  await page.waitForSelector('body.ready')
  await page.getByRole('link', { name: 'Browse the files' }).click()
  await page.getByRole('link', { name: 'local' }).first().waitFor()
  assert.deepEqual(trouble, [])
})

test('ui says what to do where there is no page', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const env = { XDG_STATE_HOME: await temporaryFolder(t) }
  const nothing = await annexfs(t, ['ui'], { env })
  assert.equal(nothing.code, 3)
  assert.match(nothing.stderr, /nothing of yours is running/)
  const mount = await mountSession(t, [repository], { env })
  for (const args of [['ui'], ['ui', mount.path]]) {
    const without = await annexfs(t, args, { env })
    assert.equal(without.code, 3)
    assert.match(without.stderr, /serves no page: mount it with --listen 127\.0\.0\.1:8080/)
  }
})

test('ui serves SOURCEs until it is told to stop, and opens the browser of a desktop', LIMIT, async (t) => {
  const { repository } = await makeSample(t, { some: 10 })
  const folder = await temporaryFolder(t)
  const opened = join(folder, 'opened')
  await writeFile(
    join(folder, 'xdg-open'),
    `#!/bin/sh\nprintf '%s\\n' "$@" > '${opened}.new'\nmv '${opened}.new' '${opened}'\n`,
  )
  await chmod(join(folder, 'xdg-open'), 0o755)
  // Ends by itself once the browser was opened, as after Ctrl-C.
  const script = `"$0" "$1" ui "$2" --cache-dir "$3/cache" --no-dht --no-lsd --min-free=1MiB & pid=$!
    for turn in $(seq 300); do [ -e '${opened}' ] && break; sleep 0.1; done; kill -INT $pid; wait $pid`
  const env = { PATH: `${folder}:${process.env['PATH'] ?? ''}`, HOME: folder, DISPLAY: ':77' }
  const ended = await runProgram('sh', ['-c', script, process.execPath, PROGRAM, repository, folder], { env })
  assert.equal(ended.code, 0, ended.stderr)
  const url = (await readFile(opened, 'utf8')).trim()
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/-\/$/)
  assert.equal(ended.stdout.toString().trim(), url)
})

test('a page that listens everywhere is opened by the nearest address', () => {
  assert.equal(pageAt('http://0.0.0.0:8080/'), 'http://127.0.0.1:8080/-/')
  assert.equal(pageAt('http://[::]:8080/'), 'http://[::1]:8080/-/')
  assert.equal(pageAt('http://192.0.2.1:8080/'), 'http://192.0.2.1:8080/-/')
})
