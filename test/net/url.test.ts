import assert from 'node:assert/strict'
import { test } from 'node:test'
import { percentEncoded, shownUrl, webUrl } from '../../lib/net/url.js'

test('goal 43: a shown URL has no user, password, query or fragment, and no control characters', () => {
  for (const [url, shown] of [
    ['http://user:pass@host/a/b?token=x#y', 'http://host/a/b?…'],
    ['https://host:8443/é b', 'https://host:8443/%C3%A9%20b'],
    ['ftp://user:pass@host/f?x', 'ftp://host/f?…'],
    ['magnet:?xt=urn:btih:abc&tr=http://t/secret', 'magnet:?…'],
    ['http://user:pass@', 'http://'],
    ['\u001b[31mred\n', '\\x1b[31mred\\x0a'],
    ['://u:p@x\u2028', '://x\\x2028'],
  ] as const) {
    assert.equal(shownUrl(url), shown)
  }
  assert.ok(shownUrl(`http://host/${'x'.repeat(5_000)}`).length <= 301)
})

test('hosts come out as the addresses that they mean', () => {
  for (const host of ['0x7f.1', '2130706433', '017700000001', '127.0.0.1.', '%3127.0.0.1']) {
    assert.equal(webUrl(`http://${host}/`).hostname, '127.0.0.1', host)
  }
})

test('a name becomes one segment of a path', () => {
  for (const [name, encoded] of [
    ['a b', 'a%20b'],
    ['a/b?c#d%', 'a%2Fb%3Fc%23d%25'],
    ['..a', '..a'],
  ] as const) {
    assert.equal(percentEncoded(Buffer.from(name)), encoded)
  }
})
