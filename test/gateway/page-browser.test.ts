import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, test, type TestContext } from 'node:test'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { pageHandler, type PageOptions } from '../../lib/gateway/page/page.js'
import type { Snapshot } from '../../lib/status/snapshot.js'
import { eventually, startBrowser, valueIn, type TestBrowser, type Watched } from '../support/browser.js'
import type { Seen } from '../support/seen.js'
import { openFile, origin, pieceMap, setStation, type SetStation } from '../support/station.js'

let chromium: TestBrowser
before(async () => {
  chromium = await startBrowser()
})
after(() => chromium.close())

/** What one of the functions of `seen.ts` finds in the page. */
function seen<K extends keyof Seen>(page: Page, name: K, ...given: readonly unknown[]): Promise<ReturnType<Seen[K]>> {
  return valueIn(page, `seen.${name}(${given.map((one) => JSON.stringify(one)).join()})`)
}

async function listen(station: SetStation, port = 0, options: PageOptions = { interval: 100 }): Promise<Server> {
  const handler = pageHandler(station, options)
  const server = createServer((request, response) => {
    void Promise.resolve(handler(request, response)).then((done) => (done ? undefined : response.writeHead(404).end()))
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return server
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

function stop(server: Server): void {
  server.closeAllConnections()
  server.close()
}

/** The page over `station`, once it has shown the first news. */
async function look(
  t: TestContext,
  station: SetStation,
  options: BrowserContextOptions = {},
  page: PageOptions = { interval: 100 },
): Promise<Watched & { readonly url: string }> {
  const server = await listen(station, 0, page)
  t.after(() => stop(server))
  const url = `http://127.0.0.1:${portOf(server)}/-/`
  const watched = await chromium.open(url, options)
  t.after(() => watched.context.close())
  await watched.page.waitForSelector('body.ready')
  return { ...watched, url }
}

/** Waits until the page's text has all of it. */
async function shows(page: Page, ...texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    await eventually(
      async () => (await page.innerText('body')).includes(text),
      async () => `the page does not show ${JSON.stringify(text)}:\n${await page.innerText('body')}`,
    )
  }
}

function has(page: Page, selector: string, count: number): Promise<void> {
  const found = (): Promise<number> => page.locator(selector).count()
  return eventually(
    async () => (await found()) === count,
    async () => `there are ${await found()} ${selector}`,
  )
}

const MIB = 2 ** 20

/** Much of everything. */
function busy(): SetStation {
  const film = openFile('/films/night.mkv', {
    size: 100 * MIB,
    cached: 37 * MIB,
    positions: [36 * MIB],
    origins: ['swarm', 'web'],
  })
  const tree = openFile('/data/tree.nc', { size: 64 * MIB, cached: 0, verified: 'pending', origins: ['web'] })
  const now = Date.now()
  const station = setStation({
    files: [tree, film],
    origins: [
      origin('web', { kind: 'web', rate: 5.6 * MIB, fetched: 90 * MIB, latency: 61, history: [0, MIB, 5 * MIB] }),
      origin('swarm', { kind: 'swarm', rate: 3 * MIB, history: [MIB, MIB, 3 * MIB], trouble: 'no peers for 12 s' }),
    ],
    peers: [
      peer('203.0.113.7:51413', { client: 'Transmission 4.0.5', down: 2 * MIB, name: 'night films' }),
      peer('203.0.113.20:6881', { choked: true }),
    ],
    waiting: [
      {
        path: '/data/tree.nc',
        range: { start: 0, end: 131_072 },
        since: now - 4_000,
        what: 'piece 0 of 64: web is asked',
      },
    ],
    errors: [{ time: now - 95_000, path: '/films/broken.avi', reason: 'no source has piece 7' }],
    budget: { limit: 5 * 2 ** 30, left: 2 ** 30, per: 3_600_000 },
  })
  station.maps.set(
    film.id,
    pieceMap(
      film.id,
      [
        ['verified', 30, 0],
        ['have', 7, 1],
        ['fetching', 3, 1],
        ['wanted', 5, -1],
        ['absent', 55, -1],
      ],
      { origins: ['swarm', 'web'] },
    ),
  )
  station.maps.set(tree.id, pieceMap(tree.id, [['absent', 64, -1]]))
  return station
}

function peer(address: string, about: Partial<Snapshot['peers'][number]> = {}): Snapshot['peers'][number] {
  return { torrent: '0123456789'.repeat(4), address, client: '', down: 0, up: 0, choked: false, kind: 'tcp', ...about }
}

test('the page shows what happens, and goes on showing it without being loaded again', async (t) => {
  const station = busy()
  const { page, trouble, requests, url } = await look(t, station)
  await shows(page, '/mnt/archive', '8.60 MiB/s', 'night.mkv', '37 % cached · 3 pieces on their way · 5 wanted')
  await shows(
    page,
    'piece 0 of 64: web is asked',
    'no source has piece 7',
    'Transmission 4.0.5',
    '0123456789…',
    'night films (0123456789…)',
  )
  await shows(page, 'no peers for 12 s', '1 GiB left of 5 GiB per hour.', '⊘ choked', '✓ open')
  const rows = (): Promise<string[]> => page.locator('#files h3').allInnerTexts()
  assert.deepEqual(await rows(), ['tree.nc', 'night.mkv'], 'by path, not by what was read last')
  await valueIn(page, `document.querySelector('#files li').setAttribute('data-was', 'here')`)

  const [tree, film] = station.state.files
  assert.ok(tree !== undefined && film !== undefined)
  station.state = {
    ...station.state,
    files: [{ ...film, cached: 90 * MIB }, tree, openFile('/a-first.bin')],
    cache: { ...station.state.cache, lowDisk: { free: 7.9 * MIB, minFree: 2 ** 30 } },
    waiting: [],
    errors: [{ time: Date.now(), path: '/new.bin', reason: 'the deadline has passed' }, ...station.state.errors],
  }
  await shows(page, '90 % cached', 'No read waits for bytes.', 'the deadline has passed', 'a-first.bin')
  await shows(page, 'Nothing can be cached: 7.90 MiB free there, and --min-free is 1 GiB.')
  assert.deepEqual(await rows(), ['a-first.bin', 'tree.nc', 'night.mkv'])
  assert.equal(await page.locator('#files li[data-was]').locator('h3').innerText(), 'tree.nc', 'rows are kept')

  station.state = { ...station.state, files: [] }
  await shows(page, 'closed just now')
  await has(page, '#files > li', 0)
  await shows(page, 'Nothing is being read. Open a file in /mnt/archive')
  assert.deepEqual(trouble, [])
  assert.ok(requests.length > 5)
  for (const request of requests) assert.ok(request.startsWith(url) || request.startsWith('data:'), request)
})

test('parts of one large read are shown as one wait', async (t) => {
  const since = Date.now() - 570_000
  const part = (path: string, start: number, age = 0): Snapshot['waiting'][number] => ({
    path,
    range: { start: start * MIB, end: (start + 1) * MIB },
    since: since + age,
    what: `piece ${start}: swarm is asked`,
  })
  const waiting = [part('/b', 1, 5_000), part('/a', 7), part('/b', 3, 5_000), part('/b', 2), part('/b', 9)]
  const { page } = await look(t, setStation({ waiting }))
  await shows(page, '3 MiB at 1 MiB, 3 reads', '1 MiB at 9 MiB')
  assert.equal(await page.locator('#waiting > li').count(), 3)
  assert.match(await page.locator('#waiting > li').nth(1).innerText(), /for 9 min[\s\S]*piece 2: swarm is asked/)
})

test('an empty mount says what can be done', async (t) => {
  const { page, trouble } = await look(t, setStation())
  await shows(page, 'Nothing is being read. Open a file in /mnt/archive', 'No source was asked for anything yet.')
  await shows(page, 'No BitTorrent peer is connected.', 'No read waits for bytes.', 'No reader got an error.')
  assert.equal(await page.locator('table:visible').count(), 0)
  assert.deepEqual(trouble, [])
})

test('names that are markup, script, endless or turn the direction of text do no harm', async (t) => {
  const nasty = [
    '<img src=x onerror="globalThis.hacked=1">',
    '"><script>globalThis.hacked=1</script>',
    "'-alert(1)-'</bdi></title><style>*{display:none}</style>",
    'javascript:alert(1)',
    '\u202egpj.exe\u2066',
    '__proto__',
    'constructor',
    '${globalThis.hacked=1}',
    'x'.repeat(60_000),
    '\u0000\n\r\u2028\ud800',
  ]
  const station = setStation({
    mountpoint: nasty[0] ?? '',
    version: nasty[1] ?? '',
    sources: nasty.map((name) => ({ name, source: name, kind: name })),
    files: nasty.map((name) => openFile(`/${name}/${name}`, { id: name.slice(0, 300), origins: [name] })),
    origins: nasty.map((name) => origin(name, { trouble: name, rate: 5, history: [5] })),
    peers: nasty.map((name) => peer(name, { client: name, torrent: name, name, kind: name })),
    waiting: nasty.map((path) => ({ path, range: { start: 0, end: 1 }, since: Date.now(), what: path })),
    errors: nasty.map((path) => ({ time: Date.now(), path, reason: path })),
    cache: { ...setStation().state.cache, folder: nasty[2] ?? '' },
  })
  for (const file of station.state.files) {
    station.maps.set(file.id, pieceMap(file.id, [['verified', 5, 0]], { origins: [...file.origins] }))
  }
  const { page, trouble } = await look(t, station, { viewport: { width: 360, height: 740 } })
  await shows(page, '<img src=x onerror="globalThis.hacked=1">', '\\u202egpj.exe\\u2066', '__proto__', 'constructor')
  for (const details of await page.locator('#files summary').all()) await details.click()
  await shows(page, 'Pieces 1 to 5 (from 0 B): here, checked, ${globalThis.hacked=1}')
  assert.equal(await valueIn(page, 'globalThis.hacked'), undefined)
  assert.equal(await page.locator('img, iframe, body script, body style, object, embed').count(), 0)
  assert.equal(await page.locator('#files > li').count(), nasty.length)
  assert.ok(!(await page.innerText('body')).includes('\u202e'))
  const wide = await valueIn<number>(page, 'document.documentElement.scrollWidth')
  assert.ok(wide <= 360, 'even endless names stay inside')
  assert.deepEqual(trouble, [])
})

test('the page needs no sideways scrolling, on small phones, in dark and light', async (t) => {
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const width of [320, 360, 700, 1000, 1600]) {
      const { page, context, trouble } = await look(t, busy(), { colorScheme, viewport: { width, height: 740 } })
      await shows(page, '37 % cached')
      const wide = await valueIn<number>(page, 'document.documentElement.scrollWidth')
      assert.ok(wide <= width, `${wide} pixels in a window of ${width}`)
      assert.deepEqual(await seen(page, 'cut'), [], `cut off at ${width}`)
      assert.deepEqual(trouble, [])
      await context.close()
    }
  }
})

test('all text has the contrast that WCAG AA asks for, in dark and light, connected and not', async (t) => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, context } = await look(t, busy(), { colorScheme })
    await shows(page, '37 % cached')
    await valueIn(page, `Object.assign(document.getElementById('connection'), { hidden: false, textContent: 'Lost' })`)
    const found = await seen(page, 'lowContrast')
    assert.ok(found.checked > 60, `${found.checked} texts`)
    assert.deepEqual(found.low, [], colorScheme)
    const ground = await valueIn<string>(page, 'getComputedStyle(document.documentElement).backgroundColor')
    const [red = 0] = (ground.match(/\d+/g) ?? []).map(Number)
    assert.ok(colorScheme === 'dark' ? red < 60 : red > 200, ground)
    await context.close()
  }
})

test('everything can be reached and left with the keyboard, and shows where one is', async (t) => {
  const { page } = await look(t, busy())
  await shows(page, '37 % cached')
  await page.keyboard.press('Tab')
  assert.equal((await seen(page, 'focus'))?.text, 'Skip to the files')
  const box = await page.locator('.skip').boundingBox()
  assert.ok(box !== null && box.y >= 0, 'the link to skip is seen once it has the focus')
  await page.keyboard.press('Enter')
  assert.equal((await seen(page, 'focus'))?.id, 'main')
  await page.keyboard.press('Tab')
  assert.equal((await seen(page, 'focus'))?.text, 'Pieces in words')
  await page.keyboard.press('Enter')
  await shows(page, 'Pieces 1 to 64 (from 0 B): not here')

  await seen(page, 'unfocus')
  const reached: string[] = []
  for (let turn = 0; turn < 40; turn++) {
    await page.keyboard.press('Tab')
    const now = await seen(page, 'focus')
    if (now === undefined) break
    assert.match(now.outline, /^(solid|auto) [1-9]/, `the focus on ${JSON.stringify(now.text)} is seen`)
    assert.notEqual(now.text, '')
    reached.push(now.text)
  }
  assert.ok(reached.length >= 7 && reached.length < 40, `no trap: ${reached.join(' | ')}`)
})

test('landmarks, headings, tables and pictures have the names that screen readers need', async (t) => {
  const { page } = await look(t, busy())
  await shows(page, '37 % cached', '8.60 MiB/s')
  const found = await seen(page, 'structure')
  assert.equal(found.lang, 'en')
  assert.match(found.title, /annexfs/)
  assert.deepEqual(found.twice, [])
  assert.deepEqual(found.landmarks, [1, 1, 1, 1])
  assert.equal(found.headings.filter((level) => level === 1).length, 1)
  found.headings.forEach((level, index) =>
    assert.ok(level <= (found.headings[index - 1] ?? 0) + 1, 'no level is left out'),
  )
  assert.equal(found.dangling, 0)
  assert.equal(found.nameless, 0)
  assert.deepEqual(found.live, ['announce'], 'little is read aloud')
  for (const name of ['Where bytes come from', 'Peers']) {
    const table = page.getByRole('table', { name })
    assert.equal(await table.count(), 1)
    assert.ok((await table.getByRole('columnheader').count()) >= 7)
    assert.equal(await table.getByRole('row').count(), 3)
  }
  assert.equal(await page.getByRole('img', { name: /^Piece map: 37 % cached · 3 pieces on their way/ }).count(), 1)
  assert.equal(await page.getByRole('region', { name: 'Recent errors' }).count(), 1)
  await page.setViewportSize({ width: 360, height: 740 })
  assert.equal(
    await page.getByRole('table', { name: 'Peers' }).getByRole('cell').count(),
    12,
    'also where rows are blocks',
  )
})

test('screen readers are told of new errors and of long waits, once', async (t) => {
  const station = busy()
  station.state = { ...station.state, waiting: [] }
  const { page } = await look(t, station)
  const said = page.locator('#announce')
  assert.equal(await said.innerText(), '', 'what was before is not news')
  station.state = {
    ...station.state,
    errors: [{ time: Date.now(), path: '/x.bin', reason: 'no source has it' }, ...station.state.errors],
  }
  await eventually(
    async () => (await said.innerText()) === '1 new error. /x.bin: no source has it',
    () => said.innerText(),
  )
})

test('states of pieces differ in shape, origins in pattern: colour is not needed', async (t) => {
  const { page } = await look(t, busy(), { deviceScaleFactor: 2 })
  await shows(page, '37 % cached · 3')
  const states = await seen(page, 'printed', '#legend canvas')
  assert.equal(states.length, 6)
  assert.equal(new Set(states).size, 6)
  const origins = await seen(page, 'printed', '#origins canvas')
  assert.equal(origins.length, 2)
  assert.equal(new Set(origins).size, 2)
})

test('a box of a map tells what it is when it is pointed at', async (t) => {
  const { page } = await look(t, busy())
  await shows(page, '37 % cached · 3')
  const map = page.getByRole('img', { name: /^Piece map: 37 %/ })
  await map.hover({ position: { x: 4, y: 6 } })
  await shows(page, 'Piece 1 (from 0 B): here, checked, swarm')
  await map.hover({ position: { x: 11 * 31 + 4, y: 6 } })
  await shows(page, 'Piece 32 (from 31 MiB): here, not checked, web')
  await page.mouse.move(1, 1)
  await shows(page, '37 % cached · 3')
})

test('maps are asked for only while they are seen and something changes', async (t) => {
  const station = busy()
  const names = Array.from({ length: 30 }, (_, index) => `/many/${String(index).padStart(2, '0')}.bin`)
  station.state = { ...station.state, files: names.map((name) => openFile(name)) }
  for (const { id } of station.state.files) station.maps.set(id, pieceMap(id, [['verified', 40, -1]]))
  const { page } = await look(t, station)
  await has(page, '#files > li:first-child:has-text("40 pieces")', 1)
  await page.waitForTimeout(600)
  const asked = new Set(station.asked.maps)
  assert.ok(asked.size < 20, `${asked.size} of 30 maps for one screen`)
  assert.equal(station.asked.maps.length, asked.size, 'each once: nothing has changed')
  await page.locator('#files > li').last().scrollIntoViewIfNeeded()
  await has(page, '#files > li:last-child:has-text("40 pieces")', 1)
})

test('a lost connection shows, with the age of what is seen, and heals by itself', async (t) => {
  const station = busy()
  const first = await listen(station)
  const port = portOf(first)
  const { page, context } = await chromium.open(`http://127.0.0.1:${port}/-/`)
  t.after(() => context.close())
  await page.waitForSelector('body.ready')
  const banner = page.locator('#connection')
  assert.equal(await banner.isVisible(), false)
  stop(first)
  await banner.waitFor({ state: 'visible' })
  await shows(page, 'The connection to annexfs is lost. Trying again … What you see is from')
  assert.match(await page.locator('#announce').innerText(), /connection .* is lost/)
  assert.equal(await page.locator('body.stale').count(), 1)
  station.state = { ...station.state, mountpoint: '/mnt/again' }
  const second = await listen(station, port)
  t.after(() => stop(second))
  await banner.waitFor({ state: 'hidden' })
  await shows(page, '/mnt/again')
  assert.equal(await page.locator('#announce').innerText(), 'Connected again')
})

test('a station that does not answer, and a server that is full, are told apart from quiet', async (t) => {
  const station = busy()
  const { page } = await look(t, station)
  station.before = () => Promise.reject(new Error('the engine hangs'))
  await shows(page, 'the engine hangs. What you see is from')
  station.before = () => Promise.resolve()
  await page.locator('#connection').waitFor({ state: 'hidden' })

  const full = await listen(station, 0, { interval: 100, clients: 0 })
  t.after(() => stop(full))
  const other = await chromium.open(`http://127.0.0.1:${portOf(full)}/-/`)
  t.after(() => other.context.close())
  await other.page.locator('#connection').waitFor({ state: 'visible' })
})

test('a page that nobody sees asks for nothing, and catches up when it is seen', async (t) => {
  const station = busy()
  const { page } = await look(t, station)
  await seen(page, 'hide', true)
  await page.waitForTimeout(300)
  const { snapshots } = station.asked
  await page.waitForTimeout(500)
  assert.equal(station.asked.snapshots, snapshots)
  station.state = { ...station.state, mountpoint: '/mnt/later' }
  await seen(page, 'hide', false)
  await shows(page, '/mnt/later')
})

test('the page is small', async (t) => {
  const { requests } = await look(t, busy())
  let bytes = 0
  let sent = 0
  for (const request of new Set(requests.filter((one) => /\.(mjs|css)$/.test(one)))) {
    bytes += (await (await fetch(request)).arrayBuffer()).byteLength
    const { headers } = await fetch(request, { method: 'HEAD', headers: { 'Accept-Encoding': 'gzip, br' } })
    sent += Number(headers.get('content-length'))
  }
  t.diagnostic(`${bytes} bytes of scripts and styles, ${sent} of them sent`)
  assert.ok(bytes > 10_000 && bytes < 30_000, `${bytes} bytes`)
  assert.ok(sent > 1_000 && sent < 12_000, `${sent} bytes sent`)
})
