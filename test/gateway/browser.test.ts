import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { chromium, type BrowserContext } from 'playwright-core'
import { annexWorld } from '../support/annex.js'
import { engineFor } from '../support/engine.js'
import { runProgram } from '../support/session.js'
import { MemoryVolume } from '../fuse/memory-volume.js'
import { startGateway } from './world.js'

const LIMIT = { timeout: 180_000 }

/** A real browser in which `evil.example` is this machine, as after a DNS answer that flipped. */
async function browser(t: TestContext): Promise<BrowserContext> {
  const started = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: ['--no-sandbox', '--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
  })
  t.after(() => started.close())
  return started.newContext()
}

test('a browser plays a film, shows pictures and text, and walks through folders', LIMIT, async (t) => {
  const world = await annexWorld(t)
  const repository = await world.repository('a')
  const made = await runProgram('ffmpeg', [
    ...'-loglevel error -f lavfi -i testsrc=d=3:s=160x120 -pix_fmt yuv420p -y'.split(' '),
    join(repository, 'film #1.mp4'),
  ])
  assert.equal(made.code, 0, made.stderr)
  const picture = await runProgram('ffmpeg', [
    ...'-loglevel error -f lavfi -i testsrc=s=32x24 -frames:v 1 -y'.split(' '),
    join(repository, 'picture.png'),
  ])
  assert.equal(picture.code, 0, picture.stderr)
  await world.write('a', 'folder/text.txt', 'grüße\n')
  await world.annex('a', 'add', '--quiet', '.')
  await world.git('a', 'commit', '--quiet', '-m', 'films')
  const { volume } = await engineFor(t, repository)
  const { url } = await startGateway(t, volume)
  const page = await (await browser(t)).newPage()
  await page.goto(url)
  await page.click('text=film #1.mp4')
  const playing = 'document.querySelector("video")?.readyState >= 2 && document.querySelector("video").videoWidth'
  for (let tries = 0; (await page.evaluate(playing)) !== 160; tries++) {
    assert.ok(tries < 600, 'the film does not play')
    await page.waitForTimeout(100)
  }
  await page.goBack()
  await page.click('text=picture.png')
  assert.equal(await page.evaluate('document.images[0].naturalWidth'), 32)
  await page.goto(url)
  await page.click('text=folder/')
  assert.equal(page.url(), `${url}folder/`)
  await page.click('text=text.txt')
  assert.equal(await page.evaluate('document.body.innerText.trim()'), 'grüße')
})

/** Tries all that a page can to get at `/-/` and at other files, and tells by its title and by requests. */
const ATTACK = `<!DOCTYPE html><title>quiet</title>
<img src="/-/image"><iframe src="/-/frame"></iframe><object data="/-/object"></object><embed src="/-/embed">
<link rel="stylesheet" href="/-/style"><link rel="prefetch" href="/-/prefetch"><script src="/-/script"></script>
<video src="/-/video"></video><form id="f" action="/-/form" method="post"><input name="a"></form>
<script>
document.title = 'ran'
fetch('/-/fetch').then(() => { document.title = 'fetched' })
fetch('/secret.txt').then(() => { document.title = 'read' })
navigator.sendBeacon('/-/beacon', 'x')
new EventSource('/-/events')
new WebSocket('ws://' + location.host + '/-/socket')
document.getElementById('f').submit()
window.open('/-/window')
</script>`

test('goal 41: a page among the files runs nothing and reaches nothing of ours', LIMIT, async (t) => {
  const handled: string[] = []
  const svg = `<svg xmlns="http://www.w3.org/2000/svg"><script>document.title='ran';fetch('/-/svg')</script><image href="/-/image"/></svg>`
  const volume = new MemoryVolume({
    '/page.html': { size: 0, text: ATTACK },
    '/page.xhtml': { size: 0, text: ATTACK.replace('<!DOCTYPE html>', '') },
    '/picture.svg': { size: 0, text: svg },
    '/page.txt': { size: 0, text: ATTACK },
    '/page.bin': { size: 0, text: ATTACK },
    '/page.mp4': { size: 0, text: ATTACK },
    '/page.mp3': { size: 0, text: ATTACK },
    '/page.json': { size: 0, text: ATTACK },
    '/refresh.html': { size: 0, text: '<meta http-equiv="refresh" content="0;url=javascript:document.title=1">' },
    '/secret.txt': { size: 0, text: 'secret' },
  })
  const { url } = await startGateway(t, volume, {
    handlers: [
      (request, response) => {
        handled.push(request.url ?? '')
        response.end('ours')
        return true
      },
    ],
  })
  const context = await browser(t)
  for (const name of [
    'page.html',
    'page.xhtml',
    'picture.svg',
    'page.txt',
    'page.mp4',
    'page.mp3',
    'page.json',
    'refresh.html',
  ]) {
    const page = await context.newPage()
    await page.goto(`${url}${name}`, { waitUntil: 'commit' })
    await page.waitForTimeout(700)
    assert.doesNotMatch(await page.title(), /ran|fetched|read|1/, name)
    await page.close()
  }
  assert.deepEqual(handled, [])
})

test('goal 41: pages of other sites, and of names that point here, get nothing', LIMIT, async (t) => {
  const volume = new MemoryVolume({
    '/secret.txt': { size: 0, text: 'secret' },
    '/secret.js': { size: 0, text: 'window.got = 1' },
  })
  const handled: string[] = []
  const { port } = await startGateway(t, volume, {
    handlers: [(request, response) => (handled.push(request.url ?? ''), response.end('ours'), true)],
  })
  const own = `http://127.0.0.1:${port}`
  const attack = `<!DOCTYPE html><title>evil</title><script>
    window.results = []
    const targets = ['${own}/secret.txt', '${own}/-/', 'http://evil.example:${port}/secret.txt', 'http://evil.example:${port}/-/']
    window.done = Promise.all(targets.flatMap((url) => [
      fetch(url).then((r) => r.text()).then((text) => results.push(url + ' ' + text), () => 0),
      fetch(url, { mode: 'no-cors', credentials: 'include' }).then((r) => r.text()).then((text) => text && results.push(url + ' opaque ' + text), () => 0),
      fetch(url, { method: 'PROPFIND', headers: { Depth: '0' } }).then((r) => r.text()).then((text) => results.push(url + ' ' + text), () => 0),
    ]))
  </script><script src="${own}/secret.js"></script><iframe id="i" src="${own}/secret.txt"></iframe>`
  const evil = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html')
    response.end(attack)
  })
  evil.listen(0, '127.0.0.1')
  await once(evil, 'listening')
  t.after(() => {
    evil.closeAllConnections()
    evil.close()
  })
  const context = await browser(t)
  const page = await context.newPage()
  await page.goto(`http://evil.example:${(evil.address() as AddressInfo).port}/`)
  assert.equal(await page.title(), 'evil')
  await page.evaluate('window.done')
  assert.deepEqual(await page.evaluate('window.results'), [])
  assert.equal(await page.evaluate('window.got'), undefined)
  // The name now points at the gateway itself, as DNS rebinding does it.
  const rebound = await context.newPage()
  const answered = await rebound.goto(`http://evil.example:${port}/secret.txt`)
  assert.equal(answered?.status(), 403)
  assert.doesNotMatch(await rebound.content(), /secret/)
  assert.deepEqual(handled, [])
})
