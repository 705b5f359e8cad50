import assert from 'node:assert/strict'
import { test } from 'node:test'
import { addressPolicy, anyAddress } from '../../lib/net/address-policy.js'
import { isAnnexfsError } from '../../lib/errors.js'

const REFUSED = [
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['0.0.0.0', 'this host'],
  ['0.1.2.3', 'this network'],
  ['10.0.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.1.1', 'private'],
  ['169.254.169.254', 'link-local, cloud metadata'],
  ['100.64.0.1', 'shared (CGNAT)'],
  ['100.127.255.255', 'shared (CGNAT)'],
  ['192.0.0.1', 'protocol assignments'],
  ['192.0.2.1', 'documentation'],
  ['198.18.0.1', 'benchmarking'],
  ['198.51.100.1', 'documentation'],
  ['203.0.113.1', 'documentation'],
  ['224.0.0.1', 'multicast'],
  ['239.255.255.250', 'multicast'],
  ['240.0.0.1', 'reserved'],
  ['255.255.255.255', 'broadcast'],
  ['::', 'unspecified'],
  ['::1', 'loopback'],
  ['0:0:0:0:0:0:0:1', 'loopback'],
  ['fe80::1', 'link-local'],
  ['febf::1', 'link-local'],
  ['fec0::1', 'site-local'],
  ['fc00::1', 'unique local'],
  ['fdff::1', 'unique local'],
  ['ff02::1', 'multicast'],
  ['2001:db8::1', 'documentation'],
  ['100::1', 'discard'],
  ['::ffff:127.0.0.1', 'mapped loopback'],
  ['::ffff:7f00:1', 'mapped loopback'],
  ['::ffff:a9fe:a9fe', 'mapped link-local'],
  ['::ffff:10.1.2.3', 'mapped private'],
  ['::127.0.0.1', 'compatible loopback'],
  ['::7f00:1', 'compatible loopback'],
  ['::ffff:0:127.0.0.1', 'translated loopback'],
  ['2002:7f00:1::', '6to4 of loopback'],
  ['2002:c0a8:101::1', '6to4 of private'],
  ['64:ff9b::7f00:1', 'NAT64 of loopback'],
  ['64:ff9b::10.0.0.1', 'NAT64 of private'],
  ['64:ff9b:1::1', 'NAT64, local prefix'],
  ['2001:0:7f00:1::', 'Teredo with a loopback server'],
  ['2001:0:808:808:0:0:80ff:fffe', 'Teredo with a loopback client'],
  ['2a00:1450::5efe:7f00:1', 'ISATAP of loopback'],
  ['4000::1', 'not handed out'],
  ['localhost', 'no address'],
  ['', 'no address'],
  ['1.2.3', 'no address'],
] as const

const ALLOWED = [
  '1.1.1.1',
  '8.8.8.8',
  '93.184.216.34',
  '172.32.0.1',
  '100.128.0.1',
  '2606:2800:220:1::1',
  '2a00:1450::1',
]
const ALLOWED_WRAPPED = ['::ffff:8.8.8.8', '2002:808:808::1', '64:ff9b::808:808']

test('goal 24: addresses that are not of the public internet are refused in every form', () => {
  const policy = addressPolicy({ allow: [] })
  for (const [address, what] of REFUSED) assert.equal(policy.allows(address), false, `${address} (${what})`)
})

test('public addresses are allowed', () => {
  const policy = addressPolicy({ allow: [] })
  for (const address of [...ALLOWED, ...ALLOWED_WRAPPED]) assert.equal(policy.allows(address), true, address)
})

test('an allowed block is allowed, also in its wrapped forms, and nothing beside it', () => {
  const policy = addressPolicy({ allow: ['127.0.0.2', '10.0.0.0/8', 'fd00::/8'] })
  for (const address of [
    '127.0.0.2',
    '10.255.0.1',
    'fd12::3',
    '::ffff:10.0.0.1',
    '::ffff:127.0.0.2',
    '64:ff9b::10.0.0.1',
  ]) {
    assert.equal(policy.allows(address), true, address)
  }
  for (const address of ['127.0.0.1', '127.0.0.3', '11.0.0.1x', 'fc00::1', '192.168.0.1', '::ffff:127.0.0.1', '::1']) {
    assert.equal(policy.allows(address), false, address)
  }
})

test('`all` and the policy for URLs that the user gave allow every address, but no name', () => {
  for (const policy of [addressPolicy({ allow: ['all'] }), anyAddress]) {
    assert.equal(policy.allows('127.0.0.1'), true)
    assert.equal(policy.allows('::1'), true)
    assert.equal(policy.allows('localhost'), false)
  }
})

test('a malformed block is an error of usage that quotes it', () => {
  for (const text of [
    '',
    'localhost',
    '10.0.0.0/33',
    '10.0.0/8',
    '0x7f000001',
    '127.1',
    '::1/129',
    '10.0.0.0/-1',
    'fe80::1%lo',
  ]) {
    assert.throws(
      () => addressPolicy({ allow: [text] }),
      (error) => isAnnexfsError(error, 'USAGE') && error.message.includes(JSON.stringify(text)),
      text,
    )
  }
})

test('an address is allowed on one port alone, in the forms of git-annex', () => {
  const policy = addressPolicy({
    allow: ['[127.0.0.1]:80', '10.0.0.1:8080', '[::1]:81', '[192.168.0.0/16]:82', '10.0.0.2'],
  })
  const rows: readonly (readonly [string, number | undefined, boolean])[] = [
    ['127.0.0.1', 80, true],
    ['127.0.0.1', 81, false],
    ['127.0.0.1', undefined, false],
    ['::ffff:127.0.0.1', 80, true],
    ['10.0.0.1', 8080, true],
    ['10.0.0.1', 80, false],
    ['::1', 81, true],
    ['::1', 80, false],
    ['192.168.7.7', 82, true],
    ['192.168.7.7', 80, false],
    ['10.0.0.2', 80, true],
    ['10.0.0.2', undefined, true],
    ['1.1.1.1', 80, true],
  ]
  for (const [address, port, expected] of rows)
    assert.equal(policy.allows(address, port), expected, `${address} ${port}`)
  for (const wrong of [
    '[127.0.0.1]',
    '127.0.0.1:',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    '[::1]:x',
    '127.0.0.1:80:80',
    '[]:80',
  ]) {
    assert.throws(
      () => addressPolicy({ allow: [wrong] }),
      (error) => isAnnexfsError(error, 'USAGE'),
      wrong,
    )
  }
})
