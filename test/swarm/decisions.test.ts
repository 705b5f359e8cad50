import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { compactPeers } from '../../lib/swarm/announce.js'
import { Blame } from '../../lib/swarm/blame.js'
import { byUrgency, moreUrgent } from '../../lib/swarm/order.js'
import { joinAddress, ordinaryPeer, splitAddress } from '../../lib/swarm/peer-address.js'
import { UploadAllowance } from '../../lib/swarm/serving.js'
import { startSwarm, type SwarmOptions } from '../../lib/swarm/swarm.js'

test('what somebody waits for is fetched first, then in the order of asking', () => {
  const wants = [
    { index: 1, urgency: 'fill', asked: 0 },
    { index: 2, urgency: 'readahead', asked: 1 },
    { index: 3, urgency: 'read', asked: 3 },
    { index: 4, urgency: 'read', asked: 2 },
  ] as const
  assert.deepEqual(
    wants.toSorted(byUrgency).map((want) => want.index),
    [4, 3, 2, 1],
  )
  assert.equal(moreUrgent('readahead', 'read'), 'read')
  assert.equal(moreUrgent('readahead', 'fill'), 'readahead')
})

test('only a sole giver is struck, and three strikes ban', () => {
  const blame = new Blame()
  const both = new Set(['10.0.0.1', '10.0.0.2'])
  for (let times = 0; times < 10; times++) assert.equal(blame.wrong(both), undefined)
  assert.ok(!blame.banned('10.0.0.1') && !blame.banned('10.0.0.2'))
  assert.equal(blame.wrong(new Set(['10.0.0.1'])), undefined)
  assert.equal(blame.wrong(new Set(['10.0.0.1'])), undefined)
  assert.equal(blame.wrong(new Set(['10.0.0.1'])), '10.0.0.1')
  assert.ok(blame.banned('10.0.0.1'))
  assert.ok(!blame.banned('10.0.0.2'))
})

test('a peer is trusted after a right piece of its own, and not while it is under suspicion', () => {
  const blame = new Blame(['10.0.0.9'])
  assert.ok(blame.banned('10.0.0.9'))
  assert.ok(!blame.trusted('10.0.0.1'))
  blame.right(new Set(['10.0.0.1']))
  assert.ok(blame.trusted('10.0.0.1'))
  blame.wrong(new Set(['10.0.0.1', '10.0.0.2']))
  assert.ok(!blame.trusted('10.0.0.1'))
  blame.right(new Set(['10.0.0.1', '10.0.0.3']))
  assert.ok(!blame.trusted('10.0.0.1'))
  blame.right(new Set(['10.0.0.1']))
  assert.ok(blame.trusted('10.0.0.1'))
})

test('addresses of peers', () => {
  assert.deepEqual(splitAddress('10.0.0.1:6881'), { host: '10.0.0.1', port: 6881 })
  assert.deepEqual(splitAddress('[fd00::1]:6881'), { host: 'fd00::1', port: 6881 })
  assert.deepEqual(splitAddress('peer.example:1'), { host: 'peer.example', port: 1 })
  for (const wrong of ['', '10.0.0.1', '10.0.0.1:0', '10.0.0.1:99999', '::1:80', '10.0.0.1:80/x', 'a b:80', '[x]:80']) {
    assert.equal(splitAddress(wrong), undefined, wrong)
  }
  assert.equal(joinAddress('fd00::1', 1), '[fd00::1]:1')
})

test('only ordinary addresses are connected to without asking the policy', () => {
  for (const host of ['8.8.8.8', '192.168.1.7', '10.0.0.1', '2001:4860:4860::8888', 'fd12::1', '100.64.0.1']) {
    assert.ok(ordinaryPeer(host), host)
  }
  const special = ['127.0.0.1', '169.254.169.254', '0.0.0.0', '255.255.255.255', '224.0.0.1', '::1', '::', 'fe80::1']
  for (const host of [...special, '::ffff:127.0.0.1', '::ffff:169.254.169.254', 'localhost', '0x7f.1.x']) {
    assert.ok(!ordinaryPeer(host), host)
  }
})

test('compact peers of both families, cut where they are cut off', () => {
  assert.deepEqual(compactPeers(Buffer.from([10, 0, 0, 1, 0x1a, 0xe1, 10, 0, 0, 2, 0, 0, 9, 9]), 6), ['10.0.0.1:6881'])
  const six = Buffer.concat([Buffer.from('20010db8000000000000000000000001', 'hex'), Buffer.from([0, 80])])
  assert.deepEqual(compactPeers(six, 18), ['[2001:db8:0:0:0:0:0:1]:80'])
})

test('an upload allowance lets a second of its rate through at once, and then waits', () => {
  assert.equal(new UploadAllowance(undefined).take(1e9), 0)
  const slow = new UploadAllowance(200_000)
  assert.equal(slow.take(131_072), 0)
  assert.ok(slow.take(131_072) > 100)
})

test('a named peer that is none is refused', () => {
  const options = { peers: ['nonsense'], allowAddress: () => true } as unknown as SwarmOptions
  assert.throws(
    () => startSwarm(options, silentLog),
    (error) => error instanceof AnnexfsError && error.code === 'USAGE',
  )
})
