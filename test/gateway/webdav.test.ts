import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryVolume } from '../fuse/memory-volume.js'
import { ask, startGateway, type Answer } from './world.js'
import { measured } from '../support/marks.js'

const LIMIT = { timeout: 180_000 }
const TIME = Date.UTC(2021, 4, 5, 6, 7, 8)
/** Names as repositories have them, and as nobody would have them. */
const ODD = [
  'a b',
  'a#b?c',
  '100%',
  '%41',
  'it\'s "<b>&amp;',
  'plus+and;semi=colon',
  'ünïcödé 日本語 \u{1F600}',
  'back\\slash',
  '\\xff\\xfe',
  '\\x2e.',
  'tab\there',
  'line\nbreak',
  'bell\u0007',
  '\u202eright to left',
  '-',
  ' ',
  ':colon',
  'javascript:alert(1)',
  '?m3u',
  'ﬀ\uffff',
]

function oddVolume(): MemoryVolume {
  const files = ODD.flatMap((name, index) => [
    [`/${name}`, { size: index + 1, seed: index, mtime: TIME }] as const,
    [`/in/${name}/${name}`, { size: index + 1, seed: index, mtime: TIME }] as const,
  ])
  return new MemoryVolume(Object.fromEntries(files))
}

function propfind(port: number, path: string, depth: string, body?: string): Promise<Answer> {
  return ask(port, path, {
    method: 'PROPFIND',
    headers: { Depth: depth, ...(body !== undefined && { 'Content-Length': String(Buffer.byteLength(body)) }) },
    ...(body !== undefined && { body }),
  })
}

function hrefs(text: string): string[] {
  return [...text.matchAll(/<D:href>([^<]*)<\/D:href>/g)].map(([, href = '']) =>
    href.replaceAll('&#38;', '&').replaceAll('&#39;', "'"),
  )
}

test('OPTIONS tells of WebDAV class 1, read-only', LIMIT, async (t) => {
  const { port } = await startGateway(t, oddVolume())
  const got = await ask(port, '/in/', { method: 'OPTIONS' })
  assert.deepEqual([got.status, got.headers['dav'], got.headers.allow], [200, '1', 'OPTIONS, GET, HEAD, PROPFIND'])
})

test('every name that a folder shows leads to its file, by PROPFIND and by the page', LIMIT, async (t) => {
  const { port } = await startGateway(t, oddVolume())
  for (const folder of ['/', '/in/']) {
    const found = await propfind(port, folder, '1')
    assert.equal(found.status, 207)
    const [own, ...entries] = hrefs(found.text)
    assert.equal(own, folder)
    const page = (await ask(port, folder)).text
    const links = [...page.matchAll(/<a href="\.\/([^"]*)">/g)].map(([, href = '']) => `${folder}${href}`)
    assert.deepEqual(links.toSorted(), entries.toSorted())
    assert.equal(entries.length, folder === '/' ? ODD.length + 1 : ODD.length)
    for (const href of entries) {
      assert.match(href, /^[\x21-\x7e]+$/)
      assert.equal((await propfind(port, href, '0')).status, 207, href)
      const got = await ask(port, href)
      assert.equal(got.status, 200, href)
      // What a browser makes of it is the same.
      assert.equal(new URL(href, 'http://localhost').pathname, href)
    }
  }
  for (const [index, name] of ODD.entries()) {
    const path = `/in/${encodeURIComponent(name)}/${encodeURIComponent(name)}`
    assert.equal((await ask(port, path)).body.length, index + 1, name)
  }
})

test('pages and answers hold names as text, never as markup', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({ '/<script>alert(1)</script>/"\'&<x>\u0001\u001b': { size: 1 } }),
  )
  for (const got of [
    await ask(port, '/'),
    await ask(port, `/${encodeURIComponent('<script>alert(1)</script>')}/`),
    await propfind(port, `/${encodeURIComponent('<script>alert(1)</script>')}`, '1'),
  ]) {
    for (const bad of ['<script', '<x>', '\u0001', '\u001b']) assert.ok(!got.text.includes(bad), bad)
  }
})

test('PROPFIND: size, type, time and tag, as GET has them', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({ '/f.mkv': { size: 5, mtime: TIME }, '/u': { size: 7, unsized: true } }),
  )
  const { text } = await propfind(port, '/f.mkv', '0')
  const { headers } = await ask(port, '/f.mkv')
  assert.match(text, /<D:getcontentlength>5<\/D:getcontentlength>/)
  assert.match(text, /<D:getcontenttype>video\/x-matroska<\/D:getcontenttype>/)
  assert.ok(text.includes(`<D:getlastmodified>${headers['last-modified'] ?? '?'}</D:getlastmodified>`))
  assert.ok(text.includes(`<D:getetag>${(headers.etag ?? '?').replaceAll('"', '&#34;')}</D:getetag>`))
  assert.match(text, /<D:resourcetype\/>/)
  assert.match((await propfind(port, '/', '0')).text, /<D:resourcetype><D:collection\/><\/D:resourcetype>/)
  // A size that nobody knows is not made up.
  assert.doesNotMatch((await propfind(port, '/u', '0')).text, /getcontentlength/)
})

test('PROPFIND: allprop, propname and prop, with properties that do not exist', LIMIT, async (t) => {
  const { port } = await startGateway(t, new MemoryVolume({ '/f': { size: 5 } }))
  const names = await propfind(port, '/f', '0', '<?xml version="1.0"?><propfind xmlns="DAV:"><propname/></propfind>')
  assert.match(names.text, /<D:getcontentlength\/>/)
  assert.doesNotMatch(names.text, />5</)
  const all = await propfind(port, '/f', '0', '<a:propfind xmlns:a="DAV:"><a:allprop/></a:propfind>')
  assert.match(all.text, /<D:getcontentlength>5</)
  const some = await propfind(
    port,
    '/f',
    '0',
    `<D:propfind xmlns:D='DAV:' xmlns:X="urn:&quot;x&amp;&lt;">
      <!-- a comment --><D:prop><D:getcontentlength/><D:lockdiscovery/><X:foo/><X:foo/><bar xmlns=""/></D:prop></D:propfind>`,
  )
  assert.equal(some.status, 207)
  const [ok = '', missing = ''] = some.text.split('200 OK')
  assert.match(ok, /<D:getcontentlength>5<\/D:getcontentlength>/)
  assert.match(
    missing,
    /<D:lockdiscovery\/><foo xmlns="urn:&#34;x&#38;&#60;"\/><bar xmlns=""\/><\/D:prop>.*404 Not Found/,
  )
  assert.doesNotMatch(some.text, /displayname/)
})

test('PROPFIND of a whole tree is refused, as the standard has it', LIMIT, async (t) => {
  const { port } = await startGateway(t, oddVolume())
  for (const headers of [{}, { Depth: 'infinity' }]) {
    const got = await ask(port, '/', { method: 'PROPFIND', headers })
    assert.equal(got.status, 403)
    assert.match(got.text, /<D:error xmlns:D="DAV:"><D:propfind-finite-depth\/><\/D:error>/)
  }
  for (const depth of ['2', '-1', '1,noroot', 'Infinity ']) {
    assert.ok([400, 403].includes((await propfind(port, '/', depth)).status), depth)
  }
  assert.equal((await propfind(port, '/nothing', '0')).status, 404)
  assert.equal((await propfind(port, `/${encodeURIComponent('a b')}/`, '1')).status, 404)
  assert.equal((await propfind(port, '/in', '1')).status, 207)
})

test('goal 41: bodies that are hostile are refused at once', LIMIT, async (t) => {
  const { port } = await startGateway(t, new MemoryVolume({ '/f': { size: 5 } }))
  const nested = (count: number): string => `${'<a>'.repeat(count)}${'</a>'.repeat(count)}`
  const bodies = [
    'no xml',
    '<',
    '<propfind/>',
    '<D:propfind/>',
    '<propfind xmlns="DAV:"/>',
    '<propfind xmlns="DAV:"><prop/>',
    '<propfind xmlns="DAV:"><prop></propfind></prop>',
    '<propfind xmlns="DAV:"><prop><a b=c/></prop></propfind>',
    '<propfind xmlns="DAV:"><prop><D:x/></prop></propfind>',
    '<propfind xmlns="DAV:"><prop><a"><b/></prop></propfind>',
    '<propfind xmlns="DAV:"><allprop/></propfind><x/>',
    '<!DOCTYPE a [<!ENTITY x "y">]><propfind xmlns="DAV:"><allprop/></propfind>',
    '<!DOCTYPE a SYSTEM "file:///etc/passwd"><propfind xmlns="DAV:"><allprop/></propfind>',
    `<propfind xmlns="DAV:"><prop>${nested(100)}</prop></propfind>`,
    `<propfind xmlns="DAV:"><prop>${'<a/>'.repeat(100)}</prop></propfind>`,
    `<propfind xmlns="DAV:"><prop>${'<a/>'.repeat(3_000)}</prop></propfind>`,
    `<propfind xmlns="DAV:"><prop><a ${'x '.repeat(5_000)}/></prop></propfind>`,
    `<!--${'-'.repeat(15_000)}`,
    `<![CDATA[${']'.repeat(15_000)}`,
    `<a ${'\t'.repeat(15_000)}`,
    `<a ${'a="" '.repeat(3_000)}`,
    'x'.repeat(20_000),
    '\ud800',
  ]
  let worst = 0
  for (const body of bodies) {
    const start = performance.now()
    const got = await propfind(port, '/f', '0', body)
    assert.equal(got.status, 400, body.slice(0, 80))
    worst = Math.max(worst, performance.now() - start)
  }
  measured(t, 'the slowest took', worst, { mark: 1000, alarm: 20_000 })
  const binary = await ask(port, '/f', { method: 'PROPFIND', headers: { Depth: '0' }, body: '\ufeff' })
  assert.ok([207, 400].includes(binary.status))
})

test('symbolic links are followed inside the tree, and lead nowhere else', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({
      '/d/e/f': { size: 3, text: 'abc' },
      '/to-file': { link: 'd/e/f' },
      '/to-dir': { link: './d/' },
      '/d/up': { link: '../to-file' },
      '/d/through': { link: '../to-dir/e/../e' },
      '/absolute': { link: '/etc/passwd' },
      '/above': { link: '../../../../etc/passwd' },
      '/self': { link: 'self' },
      '/one': { link: 'two/x' },
      '/two': { link: 'one/x' },
      '/root': { link: '.' },
      '/empty': { link: '' },
    }),
  )
  for (const path of [
    '/to-file',
    '/to-dir/e/f',
    '/d/up',
    '/d/through/f',
    '/root/root/root/to-dir/e/f',
    '/to-dir/through/f',
  ]) {
    assert.equal((await ask(port, path)).text, 'abc', path)
  }
  for (const path of ['/absolute', '/above', '/self', '/self/x', '/one', '/two', '/empty', '/to-file/x', '/above/x']) {
    assert.equal((await ask(port, path)).status, 404, path)
  }
  const { text } = await propfind(port, '/', '1')
  assert.deepEqual(hrefs(text), ['/', '/d/', '/to-dir/', '/to-file'])
  assert.deepEqual(hrefs((await propfind(port, '/to-dir', '1')).text), ['/to-dir/', '/to-dir/e/', '/to-dir/up'])
  const page = (await ask(port, '/')).text
  assert.match(page, /absolute<\/bdi> \(a link, not followed here\)/)
  assert.match(page, /href="\.\/to-dir\/"/)
})

test('who copies a whole tree over HTTP does not go in circles', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({
      '/a/f': { size: 1 },
      '/b/g': { size: 1 },
      '/a/self': { link: '.' },
      '/a/top': { link: '..' },
      '/a/b': { link: '../b' },
      '/b/a': { link: '../a' },
      '/b/top/x': { link: '../../a/top' },
      '/ab': { link: 'a' },
    }),
  )
  const seen: string[] = []
  const folders = ['/']
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    assert.ok(seen.push(folder) < 50, seen.join(' '))
    for (const href of hrefs((await propfind(port, folder, '1')).text).slice(1)) {
      if (href.endsWith('/')) folders.push(href)
    }
  }
  assert.deepEqual(seen.toSorted(), ['/', '/a/', '/a/b/', '/a/b/top/', '/ab/', '/b/', '/b/a/', '/b/top/'])
  assert.equal((await ask(port, '/a/top/b/a/f')).status, 200)
})

test('a large folder is sent whole, piece by piece', LIMIT, async (t) => {
  const files = Array.from({ length: 25_000 }, (_, index) => [`/many/${index}`, { size: index }] as const)
  const { port } = await startGateway(t, new MemoryVolume(Object.fromEntries(files)))
  const found = await propfind(port, '/many/', '1')
  assert.equal(hrefs(found.text).length, 25_001)
  assert.equal([...(await ask(port, '/many/')).text.matchAll(/<a href="\.\/\d/g)].length, 25_000)
})

test('a playlist has the media of a folder and of those below it, by whole URLs', LIMIT, async (t) => {
  const { port } = await startGateway(
    t,
    new MemoryVolume({
      '/films/b c.mkv': { size: 1 },
      '/films/a.mp4': { size: 1 },
      '/films/notes.txt': { size: 1 },
      '/films/series/1#.webm': { size: 1 },
      '/films/series/line\nbreak.mp3': { size: 1 },
      '/films/z.m3u': { size: 1 },
      '/films/link.ogg': { link: 'a.mp4' },
      '/films/dead.ogg': { link: 'nowhere.ogg' },
      '/films/loop': { link: '.' },
      '/text/x.txt': { size: 1 },
      '/real.m3u': { size: 4, text: 'real' },
      '/real/a.mp3': { size: 1 },
    }),
  )
  const expected = `#EXTM3U
#EXTINF:-1,a.mp4
http://localhost:81/films/a.mp4
#EXTINF:-1,b c.mkv
http://localhost:81/films/b%20c.mkv
#EXTINF:-1,link.ogg
http://localhost:81/films/link.ogg
#EXTINF:-1,1#.webm
http://localhost:81/films/series/1%23.webm
#EXTINF:-1,line break.mp3
http://localhost:81/films/series/line%0Abreak.mp3
`
  const headers = { Host: 'localhost:81' }
  for (const path of ['/films/?m3u', '/films?m3u', '/films.m3u', '/films.m3u8']) {
    const got = await ask(port, path, { headers })
    assert.equal(got.text, expected, path)
    assert.match(String(got.headers['content-type']), /^audio\/x-mpegurl/)
  }
  const proxied = await ask(port, '/films.m3u', { headers: { ...headers, 'X-Forwarded-Proto': 'https' } })
  assert.match(proxied.text, /\nhttps:\/\/localhost:81\//)
  assert.equal((await ask(port, '/real.m3u')).text, 'real')
  assert.equal((await ask(port, '/text.m3u')).text, '#EXTM3U\n')
  assert.equal((await ask(port, '/nothing.m3u')).status, 404)
  assert.equal((await ask(port, '/films/a.mp4.m3u')).status, 404)
  assert.match((await ask(port, '/.m3u')).text, /films\/a\.mp4/)
})

test('text is said to be UTF-8, and what a name does not tell is bytes', LIMIT, async (t) => {
  const types: Readonly<Record<string, string>> = {
    'a.txt': 'text/plain; charset=utf-8',
    'a.html': 'text/html; charset=utf-8',
    'a.MD': 'text/markdown; charset=utf-8',
    'a.json': 'application/json; charset=utf-8',
    'a.svg': 'image/svg+xml; charset=utf-8',
    'a.py': 'text/plain; charset=utf-8',
    README: 'text/plain; charset=utf-8',
    '.gitattributes': 'text/plain; charset=utf-8',
    'a.mp4': 'video/mp4',
    'a.jpg': 'image/jpeg',
    'a.nii.gz': 'application/gzip',
    mp4: 'application/octet-stream',
    '.mp4': 'application/octet-stream',
    'a.constructor': 'application/octet-stream',
    'a.': 'application/octet-stream',
    thing: 'application/octet-stream',
  }
  const { port } = await startGateway(
    t,
    new MemoryVolume(Object.fromEntries(Object.keys(types).map((name) => [`/${name}`, { size: 1 }]))),
  )
  for (const [name, type] of Object.entries(types)) {
    assert.equal((await ask(port, `/${name}`)).headers['content-type'], type, name)
  }
})
