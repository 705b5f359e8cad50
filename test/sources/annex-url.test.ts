import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseRecordedUrl } from '../../lib/sources/annex-url.js'

test('recorded URLs tell who downloads them', () => {
  const magnet = 'magnet:?dn=x&xt=urn:btih:0123456789abcdef0123456789abcdef01234567'
  const rows: [string, unknown][] = [
    ['http://host/a b', { kind: 'web', url: 'http://host/a b' }],
    ['HTTPS://host/ü', { kind: 'web', url: 'HTTPS://host/ü' }],
    [':http://host/x.torrent#2', { kind: 'torrent', url: 'http://host/x.torrent', file: 2 }],
    [':http://host/x.torrent', { kind: 'torrent', url: 'http://host/x.torrent', file: 1 }],
    [':https://host/x.torrent?key=1#12', { kind: 'torrent', url: 'https://host/x.torrent?key=1', file: 12 }],
    [`:${magnet}#3`, { kind: 'torrent', url: magnet, file: 3 }],
    [`:${magnet}`, { kind: 'torrent', url: magnet, file: 1 }],
  ]
  for (const [text, expected] of rows) assert.deepEqual(parseRecordedUrl(text), expected, text)
})

test('goal 38: hostile and unknown URLs are taken for neither', () => {
  for (const text of [
    '',
    ':',
    'yt:https://video.example/watch?v=1',
    'quvi:http://video.example/',
    ':toy:something',
    ':dl+archive:KEY#path=a&size=1',
    ':http://host/page.html',
    ':http://host/x.torrent#0',
    ':magnet:?xt=urn:sha1:ABC',
    'ftp://host/f',
    'file:///etc/passwd',
    ':file:///etc/x.torrent',
    '-oProxyCommand=touch /tmp/x',
    ':-oProxyCommand=x.torrent',
    'http:/etc/passwd',
    'http://host/\u0000',
    'http://host/\r\nX: y',
    `http://host/${'x'.repeat(9000)}`,
  ]) {
    assert.deepEqual(parseRecordedUrl(text), { kind: 'unsupported' }, text.slice(0, 60))
  }
})
