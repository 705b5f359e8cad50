import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnnexfsError } from '../../lib/errors.js'
import { codePoints, surrogateUtf8 } from '../../lib/stores/code-points.js'
import { identifiedVersions, objectName, recordedVersions } from '../../lib/stores/s3-names.js'
import { bucketUrl, movedTo, s3Settings, type S3Settings } from '../../lib/stores/s3-settings.js'
import { signedV2, signedV4, v2Signature } from '../../lib/stores/s3-sign.js'
import { urlBelow } from '../../lib/stores/url-path.js'
import { keyOf } from './real-remote.js'

/** The account of the examples in Amazon's documentation. */
const EXAMPLE = { user: 'AKIAIOSFODNN7EXAMPLE', password: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }

function settings(config: Readonly<Record<string, string>>): S3Settings {
  return s3Settings(new Map(Object.entries({ bucket: 'b-1', ...config })), 'x (S3)')
}

test('signatures of version 4 are those of the examples in its documentation', () => {
  const date = new Date('2013-05-24T00:00:00Z')
  const sign = (query: string): string => {
    const url = new URL(`https://examplebucket.s3.amazonaws.com/${query}`)
    return signedV4({ method: 'GET', url, date }, EXAMPLE, 'us-east-1')['authorization'] ?? ''
  }
  const scope = 'Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request'
  const names = 'SignedHeaders=host;x-amz-content-sha256;x-amz-date'
  assert.equal(
    sign('?lifecycle'),
    `AWS4-HMAC-SHA256 ${scope}, ${names}, Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543`,
  )
  assert.match(sign('?max-keys=2&prefix=J'), /=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7$/)
})

test('signatures of version 2 are those of the examples in its documentation', () => {
  const date = 'Tue, 27 Mar 2007 19:36:42 +0000'
  const what = { method: 'GET', date, amz: {}, resource: '/johnsmith/photos/puppy.jpg' }
  assert.equal(v2Signature(EXAMPLE.password, what), 'bWq2s1WEIj+Ydj0vQ697zp+IXMU=')
})

test('a signature of version 2 is for the bucket wherever that stands, and for the version', () => {
  const request = { method: 'GET' as const, date: new Date(0) }
  const inHost = { ...request, url: new URL('http://b.s3.example/a%20b?versionId=v%2B1') }
  const inPath = { ...request, url: new URL('http://s3.example/b/a%20b?versionId=v%2B1') }
  const [one, two] = [signedV2(inHost, EXAMPLE, 'b'), signedV2(inPath, EXAMPLE, undefined)]
  assert.equal(one['authorization'], two['authorization'])
  const resource = '/b/a%20b?versionId=v+1'
  const amz = { 'x-amz-date': 'Thu, 01 Jan 1970 00:00:00 GMT' }
  const right = v2Signature(EXAMPLE.password, { method: 'GET', date: '', amz, resource })
  assert.equal(one['authorization'], `AWS ${EXAMPLE.user}:${right}`)
})

test('the place of a bucket follows from its settings as in git-annex', () => {
  const cases: [Readonly<Record<string, string>>, string, string, string][] = [
    [{}, 'https://b-1.s3.amazonaws.com', 'v4', 'us-east-1'],
    [
      { host: 's3.amazonaws.com', port: '80', datacenter: 'EU' },
      'https://b-1.s3.eu-west-1.amazonaws.com',
      'v4',
      'eu-west-1',
    ],
    [{ datacenter: 'ap-south-1', signature: 'v2' }, 'https://b-1.s3.ap-south-1.amazonaws.com', 'v4', 'ap-south-1'],
    [{ datacenter: 'cn-north-1' }, 'https://b-1.s3.cn-north-1.amazonaws.com.cn', 'v4', 'cn-north-1'],
    [
      { host: 's3-us-west-2.amazonaws.com', protocol: 'http' },
      'http://b-1.s3-us-west-2.amazonaws.com',
      'v4',
      'us-west-2',
    ],
    [{ bucket: 'A.B' }, 'https://s3.amazonaws.com/a.b', 'v4', 'us-east-1'],
    [{ host: 'Minio.Example', port: '9000', requeststyle: 'path' }, 'http://minio.example:9000/b-1', 'v2', 'us-east-1'],
    [{ host: 'minio.example', port: '443' }, 'https://b-1.minio.example', 'v2', 'us-east-1'],
    [{ host: 'minio.example', port: '8443', protocol: 'https' }, 'https://b-1.minio.example:8443', 'v2', 'us-east-1'],
    [
      { host: 's3.eu-central-003.backblazeb2.com', signature: 'v4' },
      'http://b-1.s3.eu-central-003.backblazeb2.com',
      'v4',
      'eu-central-003',
    ],
    [{ host: 'x.example', signature: 'anonymous', region: 'here' }, 'http://b-1.x.example', 'anonymous', 'here'],
    [
      { host: '[::1]', port: '9000', requeststyle: 'path', bucket: 'ä b'.replace(' ', '') },
      'http://[::1]:9000/%C3%A4b',
      'v2',
      'us-east-1',
    ],
  ]
  for (const [config, url, signature, region] of cases) {
    const { place, bucket } = settings(config)
    assert.deepEqual([bucketUrl(place, bucket), place.signature, place.region], [url, signature, region])
  }
  const { place } = settings({})
  assert.equal(bucketUrl(movedTo(place, 'eu-west-3'), 'b'), 'https://b.s3.eu-west-3.amazonaws.com')
  const other = settings({ host: 'minio.example', signature: 'v4' }).place
  assert.equal(bucketUrl(movedTo(other, 'eu-west-3'), 'b'), 'http://b.minio.example')
})

test('settings that name no place are refused', () => {
  const cases: Readonly<Record<string, string>>[] = [
    { bucket: '' },
    { bucket: 'a/b' },
    { bucket: '..' },
    { host: 'a b' },
    { host: 'evil.example/path?' },
    { host: 'user@evil.example' },
    { host: '-evil' },
    { port: '0' },
    { port: '80@evil.example' },
    { signature: 'v9' },
    { host: '[::1]' },
    { bucket: 'é' },
    { datacenter: 'a/b' },
  ]
  for (const config of cases) {
    assert.throws(
      () => settings(config),
      (error) => error instanceof AnnexfsError && ['INVALID', 'UNSUPPORTED'].includes(error.code),
      JSON.stringify(config),
    )
  }
})

test('public URLs are those of git-annex', () => {
  const base = (config: Readonly<Record<string, string>>): string | undefined => settings(config).publicBase
  assert.equal(base({}), undefined)
  assert.equal(base({ public: 'yes' }), 'https://b-1.s3.amazonaws.com')
  assert.equal(base({ public: 'yes', host: 'minio.example' }), undefined)
  assert.equal(base({ public: 'yes', host: 'minio.example', publicurl: 'http://x/y/' }), 'http://x/y')
  // Buckets with a policy of their own: newer versions of git-annex.
  assert.equal(base({ publicurl: 'yes' }), 'https://b-1.s3.amazonaws.com')
  assert.equal(base({ host: 's3.us.archive.org', bucket: 'Item-1' }), 'https://archive.org/download/item-1')
})

test('names of objects are those that git-annex gives', () => {
  const key = keyOf('WORM-s1-m2--a b%é/"c.x')
  const name = { key, content: key }
  const text = (config: Readonly<Record<string, string>>, path?: Buffer): string =>
    objectName(settings(config), name, path).toString('utf8')
  assert.equal(text({ fileprefix: 'p/' }), 'p/WORM-s1-m2--a b%é/"c.x')
  assert.equal(text({ fileprefix: 'p/', mungekeys: 'ia' }), 'p&47;WORM-s1-m2--ab&37;&233;&47;"c.x')
  assert.equal(text({}, Buffer.from('d/\xff\xc3x', 'latin1')), 'd/\ufffd\ufffdx')
  assert.equal(text({}, Buffer.from('😀/é')), '😀/é')
})

test('bytes that are no UTF-8 stand as surrogates in names of WebDAV', () => {
  const odd = Buffer.from('b\xe9\xe2\x82b', 'latin1')
  assert.equal(surrogateUtf8(codePoints(odd)).toString('hex'), '62edb3a9edb3a2edb28262')
  const plain = Buffer.from('aé€😀')
  assert.ok(surrogateUtf8(codePoints(plain)).equals(plain))
})

test('recorded versions are taken for what they are, and boundedly many', () => {
  const found = recordedVersions(['v1#a#b', '#none', 'none', 'a b#x', 'v2#\xc3\xa9', 'x'.repeat(5000) + '#y'])
  assert.deepEqual(found, [
    { version: 'v1', name: Buffer.from('a#b') },
    { version: 'v2', name: Buffer.from('é') },
  ])
  assert.equal(recordedVersions(Array.from({ length: 1000 }, (_, at) => `v${at}#x`)).length, 8)
  const ids = `v1:!${Buffer.from('v:2').toString('base64')}:#etag:a b`
  assert.deepEqual(
    identifiedVersions(ids, Buffer.from('x')).map(({ version }) => version),
    ['v1', 'v:2'],
  )
  assert.deepEqual(identifiedVersions('', Buffer.from('x')), [])
})

test('an object whose name no URL can say is refused, not another one asked for', () => {
  for (const path of ['../x', 'a/../b', './a', 'a/.', 'URL--http://h/../x']) {
    assert.throws(() => urlBelow('http://h/b', Buffer.from(path)), /cannot be asked for/)
  }
  assert.equal(urlBelow('http://h/b', Buffer.from('a//b/..c/%2e')), 'http://h/b/a//b/..c/%252e')
})
