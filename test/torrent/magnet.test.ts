import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isAnnexfsError } from '../../lib/errors.js'
import { parseMagnet } from '../../lib/torrent/magnet.js'

const HASH = 'd2474e86c95b19b8bcfdb92bc12c9d44667cfa36'
const BASE32 = '2JDU5BWJLMM3RPH5XEV4CLE5IRTHZ6RW'

test('a magnet link says what to fetch and where from', () => {
  const magnet = parseMagnet(
    [
      `magnet:?xt=urn:btih:${HASH.toUpperCase()}`,
      'dn=Leaves+of%20Grass',
      'tr=udp%3A%2F%2Ftracker.example%3A80%2Fannounce',
      'tr.1=https://other.example/announce',
      'tr=udp%3A%2F%2Ftracker.example%3A80%2Fannounce',
      'ws=http://seed.example/file',
      'x.pe=192.0.2.1:6881',
      'x.pe=[2001:db8::1]:6881',
      'xs=https://example.org/leaves.torrent',
      'as=http://example.org/again.torrent',
    ].join('&'),
  )
  assert.deepEqual(magnet, {
    infohash: HASH,
    displayName: 'Leaves of Grass',
    trackers: ['udp://tracker.example:80/announce', 'https://other.example/announce'],
    webSeeds: ['http://seed.example/file'],
    peers: ['192.0.2.1:6881', '[2001:db8::1]:6881'],
    exactSources: ['https://example.org/leaves.torrent', 'http://example.org/again.torrent'],
  })
})

test('a base32 infohash is the same torrent', () => {
  assert.equal(parseMagnet(`magnet:?xt=urn:btih:${BASE32}`).infohash, HASH)
  assert.equal(parseMagnet(` magnet:?xt=urn:btih:${BASE32.toLowerCase()}\n`).infohash, HASH)
})

test('a hybrid magnet is read by its v1 infohash, one of v2 alone is refused with a message that says so', () => {
  const multihash = `urn:btmh:1220${'ab'.repeat(32)}`
  assert.equal(parseMagnet(`magnet:?xt=${multihash}&xt=urn:btih:${HASH}`).infohash, HASH)
  assert.throws(
    () => parseMagnet(`magnet:?xt=${multihash}`),
    (error) => isAnnexfsError(error, 'UNSUPPORTED') && /v2/.test(error.message),
  )
})

const REFUSED = {
  'no magnet link': 'http://example.org/',
  'no topic': 'magnet:?dn=x',
  'another kind of topic': `magnet:?xt=urn:sha1:${HASH}`,
  'a short infohash': 'magnet:?xt=urn:btih:abc',
  'no hexadecimal': `magnet:?xt=urn:btih:${'g'.repeat(40)}`,
  'no base32': `magnet:?xt=urn:btih:${'1'.repeat(32)}`,
  'two torrents': `magnet:?xt=urn:btih:${HASH}&xt.2=urn:btih:${'0'.repeat(40)}`,
  'longer than 64 KiB': `magnet:?xt=urn:btih:${HASH}&dn=${'x'.repeat(70_000)}`,
}

test('what is no usable magnet link is refused', () => {
  for (const [name, link] of Object.entries(REFUSED)) {
    assert.throws(
      () => parseMagnet(link),
      (error) => isAnnexfsError(error, 'INVALID'),
      name,
    )
  }
})

test('of addresses only those of the known kinds are kept, and not without bound', () => {
  const magnet = parseMagnet(
    [
      `magnet:?xt=urn:btih:${HASH}`,
      'tr=file:///etc/passwd',
      'tr=http://a%0d%0aHost:b/',
      'tr=%',
      'tr',
      '=x',
      'ws=ftp://x/',
      'xs=urn:btih:abc',
      'x.pe=host:0',
      'x.pe=host:70000',
      'x.pe=-oProxyCommand:1',
      'x.pe=a/b:1',
      '__proto__=x',
      ...Array.from({ length: 2000 }, (_, index) => `tr=udp://t${index}/`),
    ].join('&'),
  )
  assert.equal(magnet.trackers.length, 512)
  assert.deepEqual(magnet.webSeeds, [])
  assert.deepEqual(magnet.exactSources, [])
  assert.deepEqual(magnet.peers, [])
})
