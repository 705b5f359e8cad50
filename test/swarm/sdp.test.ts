import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isAnnexfsError } from '../../lib/errors.js'
import { safeDescription } from '../../lib/swarm/sdp.js'

const OFFER = [
  'v=0',
  'o=rtc 3968733911 0 IN IP4 127.0.0.1',
  's=-',
  't=0 0',
  'a=group:BUNDLE 0',
  'a=ice-options:ice2,trickle',
  `a=fingerprint:sha-256 ${Array.from({ length: 32 }, () => 'AB').join(':')}`,
  'm=application 42506 UDP/DTLS/SCTP webrtc-datachannel',
  'c=IN IP4 10.0.0.66',
  'a=mid:0',
  'a=sctp-port:5000',
  'a=max-message-size:262144',
  'a=setup:actpass',
  'a=ice-ufrag:67v3',
  'a=ice-pwd:oEbOLBq8W2amTSROgDg8QJ',
]

const candidates = (sdp: string): string[] => sdp.split('\r\n').filter((line) => line.startsWith('a=candidate'))
const all = async (): Promise<boolean> => await Promise.resolve(true)

test('keeps candidates at allowed addresses alone', async () => {
  const sdp = await safeDescription(
    [
      ...OFFER,
      'a=candidate:1 1 UDP 2114977791 192.168.1.7 5000 typ host',
      'a=candidate:2 1 udp 2114977791 127.0.0.1 5000 typ host generation 0',
      'a=candidate:3 1 UDP 2114977791 fd00::2 5000 typ srflx raddr 127.0.0.1 rport 9',
    ].join('\n'),
    async (address) => await Promise.resolve(!address.startsWith('127.')),
  )
  assert.deepEqual(candidates(sdp), [
    'a=candidate:1 1 UDP 2114977791 192.168.1.7 5000 typ host',
    'a=candidate:2 1 UDP 2114977791 fd00::2 5000 typ srflx',
  ])
  assert.ok(!sdp.includes('127.') && !sdp.includes('10.0.0.66'), sdp)
})

test('names, other transports and what is no address never become candidates', async () => {
  const lines = [
    'a=candidate:1 1 UDP 2114977791 localhost 5000 typ host',
    'a=candidate:1 1 UDP 2114977791 0a1b2c3d-0000-4000-8000-000000000000.local 5000 typ host',
    'a=candidate:1 1 TCP 2114977791 10.1.1.1 5000 typ host tcptype passive',
    'a=candidate:1 2 UDP 2114977791 10.1.1.1 5000 typ host',
    'a=candidate:1 1 UDP 2114977791 10.1.1.1 0 typ host',
    'a=candidate:1 1 UDP 2114977791 10.1.1.1 65536 typ host',
    'a=candidate:1 1 UDP 2114977791 0x7f.1 5000 typ host',
    'a=candidate:1 1 UDP 2114977791 2130706433 5000 typ host',
    'a=candidate:1 1 UDP 2114977791 017700000001 5000 typ host',
    'a=candidate:1 1 UDP 2114977791 10.1.1.1%eth0 5000 typ host',
    'a=candidate:1 1 UDP 9999999999 10.1.1.1 5000 typ host',
    'a=remote-candidates:1 127.0.0.1 5000',
  ]
  const sdp = await safeDescription([...OFFER, ...lines].join('\r\n'), all)
  assert.deepEqual(candidates(sdp), [])
})

test('takes at most 16 candidates', async () => {
  const lines = Array.from({ length: 200 }, (_, at) => `a=candidate:1 1 UDP 1 10.1.1.${at} 5000 typ host`)
  assert.equal(candidates(await safeDescription([...OFFER, ...lines].join('\r\n'), all)).length, 16)
})

test('refuses what describes no data channel', async () => {
  const without = (start: string): string => OFFER.filter((line) => !line.startsWith(start)).join('\r\n')
  const wrong: unknown[] = [
    undefined,
    7,
    {},
    '',
    'v=0',
    'x'.repeat(20_000),
    ...['m=', 'a=fingerprint', 'a=ice-ufrag', 'a=ice-pwd', 'a=setup'].map(without),
    [...OFFER, 'm=audio 9 UDP/TLS/RTP/SAVPF 111'].join('\r\n'),
    OFFER.join('\r\n').replace('m=application', 'm=audio'),
    OFFER.join('\r\n').replace('size:262144', 'size:1'),
  ]
  for (const sdp of wrong) await assert.rejects(safeDescription(sdp, all), (error) => isAnnexfsError(error, 'INVALID'))
})

test('goal 36: a description of random lines gives one of known lines or is refused', async () => {
  const line = fc.oneof(
    fc.constantFrom(...OFFER),
    fc.string(),
    fc.string().map((text) => `a=candidate:${text}`),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(line, { maxLength: 40 }), async (lines) => {
      const safe = await safeDescription(lines.join('\r\n'), all).catch((error: unknown) => {
        assert.ok(isAnnexfsError(error, 'INVALID'))
        return ''
      })
      assert.match(safe, /^([vostmca]=[\x20-\x7e]+\r\n)*$/)
    }),
    { numRuns: 2000 },
  )
})
