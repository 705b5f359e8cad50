import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOCK_LENGTH } from '../../lib/swarm/assembly.js'
import { Flow } from '../../lib/swarm/flow.js'
import type { Bytes, Milliseconds } from '../../lib/space/space.js'

const KIB = 1024
const MIB = 1024 * KIB
const PIECE = 256 * KIB

interface Peer {
  /** Bytes per second. */
  readonly rate: number
  /** From a request to the block on an idle line, without the time that the block takes. */
  readonly latency: Milliseconds
  /** It gives only at multiples of this, all that its rate allows since the last time. */
  readonly pulse?: Milliseconds
  /** Every block comes later by something between nothing and this. */
  readonly jitter?: Milliseconds
  /** This machine does nothing now. */
  readonly busy?: boolean
}

interface Played {
  /** Of what the peer could have given in the second half. */
  readonly used: number
  /** By how much a block came later than on an idle line, on average in the second half. */
  readonly queue: Milliseconds
  readonly flow: Flow
  readonly owed: number
}

/** Asks one peer for all that its flow allows, in a time of its own. */
function play(peerAt: (now: Milliseconds) => Peer, duration: Milliseconds): Played {
  const flow = new Flow(PIECE, BLOCK_LENGTH)
  const owed: { readonly asked: Milliseconds; readonly comes: Milliseconds }[] = []
  let free = 0
  let lots = 1
  let bytes: Bytes = 0
  let waited = 0
  let possible = 0
  const speeds: number[] = []
  for (let now = 0; now < duration; now++) {
    const peer = peerAt(now)
    if (now >= duration / 2) possible += peer.rate / 1000
    if (peer.busy === true) continue
    while ((owed[0]?.comes ?? Infinity) <= now) {
      const block = owed.shift()
      if (block === undefined) break
      flow.came(BLOCK_LENGTH, now - block.asked, owed.length, now)
      speeds.push(now)
      if (now < duration / 2) continue
      bytes += BLOCK_LENGTH
      waited += now - block.asked - peer.latency
    }
    while ((speeds[0] ?? Infinity) < now - 1000) speeds.shift()
    const speed = speeds.length * BLOCK_LENGTH
    for (let room = flow.room({ speed, owes: owed.length, queue: undefined }, now); room > 0; room--) {
      flow.asked(owed.length, now)
      lots = (lots * 16_807) % 2_147_483_647
      const arrives = now + peer.latency + ((peer.jitter ?? 0) * lots) / 2_147_483_647
      free = Math.max(arrives, free) + (BLOCK_LENGTH * 1000) / peer.rate
      const pulse = peer.pulse ?? 1
      owed.push({ asked: now, comes: Math.ceil(free / pulse) * pulse })
    }
  }
  const blocks = bytes / BLOCK_LENGTH
  return { used: bytes / possible, queue: waited / Math.max(1, blocks), flow, owed: owed.length }
}

/** Milliseconds at which a machine does nothing: 50 to 300 of them in a row, then as many in which it works. */
function naps(duration: Milliseconds): ReadonlySet<Milliseconds> {
  const idle = new Set<Milliseconds>()
  let lots = 7
  const between = (): Milliseconds => {
    lots = (lots * 16_807) % 2_147_483_647
    return 50 + (lots % 251)
  }
  for (let now = 0; now < duration; now += between())
    for (const until = now + between(); now < until; now++) idle.add(now)
  return idle
}

test('a slow peer is kept busy and has next to nothing queued up that a seek would have to wait for', () => {
  for (const [rate, latency] of [
    [2.4 * MIB, 40],
    [MIB, 40],
    [4 * MIB, 15],
    [2 * MIB, 150],
  ] as const) {
    const { used, queue } = play(() => ({ rate, latency }), 20_000)
    assert.ok(used > 0.9, `${rate} ${latency}: used ${used}`)
    // Less than two blocks' time and a tenth of the delay; the block itself is one of them.
    const block = (BLOCK_LENGTH * 1000) / rate
    assert.ok(queue < 2 * block + latency / 5 + 5, `${rate} ${latency}: queue ${queue}`)
  }
})

test('a very slow peer is asked for a few blocks at a time', () => {
  const { used, owed } = play(() => ({ rate: 30 * KIB, latency: 100 }), 120_000)
  assert.ok(used > 0.9, `used ${used}`)
  assert.ok(owed <= 6, `owed ${owed}`)
})

test('a fast peer gets a window instead of a pace', () => {
  const { used, flow } = play(() => ({ rate: 40 * MIB, latency: 2 }), 5_000)
  assert.ok(used > 0.95, `used ${used}`)
  assert.equal(flow.pace, undefined)
})

test('a peer whose upload limit is filled up twice a second loses little', () => {
  const { used } = play(() => ({ rate: MIB, latency: 20, pulse: 500 }), 40_000)
  assert.ok(used > 0.8, `used ${used}`)
})

test('a peer whose delay varies loses little', () => {
  const { used } = play(() => ({ rate: 2 * MIB, latency: 30, jitter: 40 }), 40_000)
  assert.ok(used > 0.8, `used ${used}`)
})

test('a machine that is busy with other things for moments asks for as much as before soon', () => {
  const busy = (now: Milliseconds): boolean => now % 3_000 < 400
  const { used } = play((now) => ({ rate: 2.4 * MIB, latency: 40, busy: busy(now) }), 30_000)
  assert.ok(used > 0.75, `used ${used}`)
})

test('a line that becomes slower, then faster, is followed', () => {
  const slower = play((now) => ({ rate: now < 5_000 ? 4 * MIB : MIB, latency: 40 }), 20_000)
  assert.ok(slower.used > 0.85, `used ${slower.used}`)
  assert.ok(slower.queue < 100, `queue ${slower.queue}`)
  const faster = play((now) => ({ rate: now < 5_000 ? MIB : 4 * MIB, latency: 40 }), 30_000)
  assert.ok(faster.used > 0.85, `used ${faster.used}`)
})

test('a busy machine, which does nothing for moments at random and then has much to do at once, keeps the line full', () => {
  for (const [rate, latency] of [
    [2.4 * MIB, 40],
    [8 * MIB, 25],
    [MIB, 100],
  ] as const) {
    const busy = naps(60_000)
    const { used } = play((now) => ({ rate, latency, busy: busy.has(now) }), 60_000)
    assert.ok(used > 0.95, `${rate} ${latency}: used ${used}`)
  }
})

test('a line whose rate doubles or halves is followed within seconds', () => {
  for (const factor of [0.5, 2]) {
    const rate = 2.4 * MIB
    const { used, queue } = play((now) => ({ rate: now < 10_000 ? rate : rate * factor, latency: 40 }), 26_000)
    assert.ok(used > 0.9, `${factor}: used ${used}`)
    assert.ok(queue < 40, `${factor}: queue ${queue}`)
  }
})

test('two peers behind one line share it, keep it busy, and do not outbid each other without end', () => {
  const rate = 2.4 * MIB
  const peers = [1, 2].map(() => ({
    flow: new Flow(PIECE, BLOCK_LENGTH),
    owed: [] as { asked: Milliseconds; comes: Milliseconds }[],
    came: [] as Milliseconds[],
  }))
  let free = 0
  for (let now = 0; now < 30_000; now++) {
    for (const { flow, owed, came } of peers) {
      for (let block = owed[0]; block !== undefined && block.comes <= now; block = owed[0]) {
        owed.shift()
        flow.came(BLOCK_LENGTH, now - block.asked, owed.length, now)
        came.push(now)
      }
      const speed = came.filter((at) => at > now - 1000).length * BLOCK_LENGTH
      for (let room = flow.room({ speed, owes: owed.length, queue: undefined }, now); room > 0; room--) {
        flow.asked(owed.length, now)
        free = Math.max(now + 40, free) + (BLOCK_LENGTH * 1000) / rate
        owed.push({ asked: now, comes: Math.ceil(free) })
      }
    }
  }
  const given = peers.map(({ came }) => came.filter((at) => at >= 15_000).length * BLOCK_LENGTH)
  const all = given.reduce((sum, one) => sum + one, 0)
  assert.ok(all > 0.95 * 15 * rate, `given ${given.join(' ')}`)
  for (const one of given) assert.ok(one > 0.2 * all, `given ${given.join(' ')}`)
  assert.ok(free - 30_000 - 40 < 1000, `queue ${free - 30_040}`)
})

test('a small queue that stays is not taken for the delay in the long run', () => {
  const { queue } = play(() => ({ rate: 2.4 * MIB, latency: 40 }), 300_000)
  assert.ok(queue < 25, `queue ${queue}`)
})

test('never more than the peer takes is under way', () => {
  const flow = new Flow(PIECE, BLOCK_LENGTH)
  assert.equal(flow.room({ speed: 0, owes: 0, queue: undefined }, 0), 32)
  assert.equal(flow.room({ speed: 0, owes: 3, queue: 10 }, 0), 7)
  for (let given = 0; given < 1000; given++) flow.came(BLOCK_LENGTH, 1, 100, given)
  assert.equal(flow.room({ speed: 1e9, owes: 0, queue: undefined }, 1000), 250)
  assert.equal(flow.room({ speed: 1e9, owes: 0, queue: 2000 }, 1000), 500)
  assert.equal(flow.room({ speed: 1e9, owes: 0, queue: 10 }, 1000), 10)
})
