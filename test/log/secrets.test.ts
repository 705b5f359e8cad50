import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jsonLog, textLog } from '../../lib/log/log.js'
import { withoutSecrets } from '../../lib/log/secrets.js'
import { measured } from '../support/marks.js'

const CANARY = 'c4n4ry-S3cret'
const URLS = [
  `https://user:${CANARY}@host.example/repo.git`,
  `http://${CANARY}@host.example:8080/a/b`,
  `ssh://git:${CANARY}@host.example/~/repo`,
  `ftp://user:p@ss@${CANARY}@host.example/x`,
  `https://host.example/file?token=${CANARY}&x=1`,
  `https://host.example/file?X-Amz-Signature=${CANARY}#frag`,
  `https://host.example/file#${CANARY}`,
  `HTTPS://User:${CANARY}@HOST/`,
  `https://host.example/a%20b?q=a%0A${CANARY}`,
  `https://[::1]:80/?${CANARY}`,
  `udp://user:${CANARY}@tracker:80`,
  `https://tracker.example/0123456789abcdef${CANARY}/announce?x`,
  `https://tracker.example:443/announce/?passkey=${CANARY}`,
  `magnet:?xt=urn:btih:0123456789012345678901234567890123456789&tr=https%3A%2F%2Ft%2F${CANARY}%2Fannounce`,
]

test('goal 43: no password, token or key of a URL is in a line of a log, wherever it stands', () => {
  for (const url of URLS) {
    for (const text of [url, `cannot read '${url}': gone`, `(${url})`, `a ${url} b ${url}`, `fatal: "${url}/"`]) {
      const written: string[] = []
      for (const log of [
        textLog('info', (line) => written.push(line)),
        jsonLog('info', (line) => written.push(line)),
      ]) {
        log.info(text, { url: text })
      }
      assert.equal(written.length, 2)
      for (const line of written) assert.ok(!line.includes(CANARY), line)
    }
  }
})

test('what is left of a URL still says where it leads', () => {
  for (const [text, wanted] of [
    ['https://user:pw@host.example:8080/a/b.git', 'https://host.example:8080/a/b.git'],
    ['see https://host/a?b=c.', 'see https://host/a?…'],
    ['https://host/a#b', 'https://host/a?…'],
    ['https://host/@scope/pkg', 'https://host/@scope/pkg'],
    ['https://t.example/0123456789abcdef0123/announce', 'https://t.example/…/announce'],
    ['magnet:?xt=urn:btih:ABCD&dn=x', 'magnet:?xt=urn:btih:ABCD…'],
    ['mounted /srv/a, https://u@h/x at /mnt', 'mounted /srv/a, https://h/x at /mnt'],
    ['file:///srv/repository', 'file:///srv/repository'],
    ['user@host:repository', 'user@host:repository'],
    ['a key SHA256E-s1--ab.mkv, tokens and passwords', 'a key SHA256E-s1--ab.mkv, tokens and passwords'],
  ] as const) {
    assert.equal(withoutSecrets(text), wanted)
  }
})

test('what programs and servers call a secret is left out', () => {
  for (const text of [
    `Authorization: Bearer ${CANARY}`,
    `authorization: basic ${CANARY}`,
    `Proxy-Authorization: ${CANARY}`,
    `password=${CANARY} rest`,
    `passphrase: ${CANARY}`,
    `AWS secret_access_key = ${CANARY}`,
    `secretAccessKey=${CANARY}`,
    `api-key:${CANARY}`,
    `token=${CANARY}`,
    `AWS_SECRET_ACCESS_KEY=${CANARY}`,
    `env RSYNC_PASSWORD='${CANARY} and more' rsync`,
    `password="${CANARY}"`,
    `clientSecret=${CANARY}`,
    `{"password": "${CANARY}", "x": 1}`,
    `{"token":"a ${CANARY}"}`,
    `secret: ${CANARY}`,
    `the secret: ${CANARY}`,
    `a wrong token: ${CANARY}`,
    `x-auth-token: Bearer ${CANARY}`,
    `Authorization: Digest username="u", nonce="n", response="${CANARY}"`,
    `Authorization: AWS4-HMAC-SHA256 Credential=AKIA/x, SignedHeaders=host, Signature=${CANARY}`,
    `{"Authorization": "Bearer ${CANARY}"}`,
    `Set-Cookie: session=${CANARY}; path=/`,
    `git: fatal: token: ${CANARY}`,
  ]) {
    assert.ok(!withoutSecrets(text).includes(CANARY), withoutSecrets(text))
  }
})

test('a secret that is a plain word is left out where a name of a secret stands like a key', () => {
  for (const text of [
    'password: swordfish',
    'the password: swordfish',
    'passphrase: swordfish',
    'secret: swordfish',
    'token: swordfish',
    'user: ann, token: swordfish',
    'password=swordfish',
    'pass=swordfish',
    'passkey: swordfish',
    'api key: swordfish',
    'password:swordfish',
  ]) {
    assert.ok(!withoutSecrets(text).includes('swordfish'), withoutSecrets(text))
  }
})

test('ordinary sentences and names about secrets stay as they are', () => {
  for (const text of [
    'cannot read /films/The Secret: Dare to Dream.mkv',
    'the secret: a file that others can read',
    'cannot read the secret from /x: no such file',
    'the password: it is empty',
    'no password: set RSYNC_PASSWORD',
    'the server refused the token: expired',
    'the server refused the token: it has expired',
    'invalid token: unexpected end',
    'Unexpected token: }',
    'Authorization: required',
    'tests pass: all of them',
    'bypass=no is not known',
    'the api key: missing',
    'a secret key: none is usable',
    'it has passed: nothing to do; tokens: two; secrets: many',
    'Top Secret! (1984).mkv, Token.2023.mkv',
  ]) {
    assert.equal(withoutSecrets(text), text)
  }
})

test('long hostile lines cost little', (t) => {
  const started = performance.now()
  for (const part of [
    'https://',
    'a://b@',
    '/0a0a0a0a0a0a0a0a0a',
    'password=',
    'magnet:?',
    'authorization:',
    'authorization: digest ',
    'password="',
    "token: '",
    'secret secret',
    'cookie: ',
    '\\',
    '-1',
  ]) {
    withoutSecrets(part.repeat(200_000 / part.length))
    withoutSecrets(`https://h/${part.repeat(200_000 / part.length)}`)
  }
  // Anything quadratic takes minutes for one of them.
  measured(t, 'all of them:', performance.now() - started, { mark: 5000, alarm: 60_000 })
})
