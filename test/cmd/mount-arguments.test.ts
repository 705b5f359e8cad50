import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mountArguments } from '../../cmd/mount-arguments.js'

test('the arguments of mount(8) become those of annexfs mount', () => {
  for (const [given, wanted] of [
    [
      ['/data', '/mnt'],
      ['--', '/data', '/mnt'],
    ],
    [
      ['/data', '/mnt', '-o', 'ro'],
      ['--', '/data', '/mnt'],
    ],
    [
      ['/data', '/mnt', '-o', 'rw,defaults,noauto,user,_netdev,x-systemd.automount,nofail'],
      ['--', '/data', '/mnt'],
    ],
    [
      ['/data', '/mnt', '-sn', '-o', 'cache-size=1GiB,allow_other,ref=v1'],
      ['--cache-size=1GiB', '--allow-other', '--ref=v1', '--', '/data', '/mnt'],
    ],
    [
      ['-o', 'no_dht,no-lsd', '/data', '/mnt', '-t', 'fuse.annexfs', '-N', '4'],
      ['--no-dht', '--no-lsd', '--', '/data', '/mnt'],
    ],
    [
      ['/data', '/mnt', '-o', 'ref=a=b'],
      ['--ref=a=b', '--', '/data', '/mnt'],
    ],
    [
      ['/a /b', '/mnt'],
      ['--', '/a', '/b', '/mnt'],
    ],
    [
      ['/a\\ b /c', '/mnt'],
      ['--', '/a b', '/c', '/mnt'],
    ],
    [
      ['--cache-dir=/etc', '/mnt'],
      ['--', '--cache-dir=/etc', '/mnt'],
    ],
    [
      ['/data', '/mnt', '-o', 'peer=1.2.3.4:5,peer=1.2.3.4:6'],
      ['--peer=1.2.3.4:5', '--peer=1.2.3.4:6', '--', '/data', '/mnt'],
    ],
  ] as const) {
    assert.deepEqual(mountArguments(given), wanted, given.join(' '))
  }
})

test('what mount(8) should not have said is refused with a reason', () => {
  for (const [given, said] of [
    [[], /wants SOURCE and MOUNTPOINT/],
    [['/data'], /wants SOURCE and MOUNTPOINT/],
    [['/a', '/b', '/c'], /wants SOURCE and MOUNTPOINT/],
    [['/data', '/mnt', '-o', 'frobnicate'], /no mount option "frobnicate"/],
    [['/data', '/mnt', '-o', 'cache-size'], /no mount option "cache-size"/],
    [['/data', '/mnt', '-o', 'no-dht=1'], /no mount option "no-dht=1"/],
    [['/data', '/mnt', '-o', 'daemon'], /no mount option "daemon"/],
  ] as const) {
    const answer = mountArguments(given)
    assert.ok(typeof answer === 'string')
    assert.match(answer, said)
  }
})
