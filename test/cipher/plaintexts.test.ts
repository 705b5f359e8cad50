import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { AnnexfsError } from '../../lib/errors.js'
import { plaintextSink, type Plaintext } from '../../lib/cipher/plaintext.js'
import { Plaintexts, type FlightDemand } from '../../lib/cipher/plaintexts.js'
import { Slots } from '../../lib/slots.js'
import type { Demand } from '../../lib/sources/source.js'
import { privateRoom, Scratch, type Room } from '../../lib/cache/scratch.js'
import { silentLog } from '../../lib/log/log.js'
import { Awaited } from '../../lib/space/awaited.js'
import { until } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }
const never = new AbortController().signal
const DEMAND: Demand = { urgency: 'read', signal: never }

interface Watched extends Plaintext {
  closed: number
}

function watched(size: number, onFile = false): Watched {
  const plaintext: Watched = {
    size,
    memory: onFile ? 0 : size,
    closed: 0,
    read: async function* ({ start, end }) {
      assert.equal(plaintext.closed, 0, 'not read when closed')
      yield Buffer.alloc(end - start)
    },
    close: () => Promise.resolve(void plaintext.closed++),
  }
  return plaintext
}

async function taken(body: AsyncIterable<Uint8Array>): Promise<number> {
  let length = 0
  for await (const part of body) length += part.byteLength
  return length
}

test('readers that wait for a decryption know what it waits for', LIMIT, async () => {
  const plaintexts = new Plaintexts({ memory: 1000, files: 1, idle: 500 })
  let go: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (go = resolve))
  const make = async ({ awaits }: FlightDemand): Promise<Plaintext> => {
    const over = awaits?.(() => 'the server asked to wait')
    await gate
    over?.()
    return watched(100)
  }
  const waiting = [new Awaited(), new Awaited()]
  const reads = waiting.map((one) =>
    taken(plaintexts.read('a', make, { start: 0, end: 10 }, { ...DEMAND, awaits: one.tell })),
  )
  const said = ['the server asked to wait', 'the server asked to wait']
  await until('both know it', () => waiting.every(({ now }, index) => now === said[index]))
  go()
  await Promise.all(reads)
  assert.deepEqual(
    waiting.map(({ now }) => now),
    [undefined, undefined],
  )
})

test(
  'readers of one object share one decryption, and its bytes are kept for the next',
  { timeout: 180_000 },
  async () => {
    const plaintexts = new Plaintexts({ memory: 1000, files: 1, idle: 500 })
    const made: Watched[] = []
    const make = async (): Promise<Plaintext> => {
      await sleep(5)
      made.push(watched(100))
      return made.at(-1) as Watched
    }
    const ranges = [0, 10, 50].map((start) => ({ start, end: 100 }))
    await Promise.all(ranges.map((range) => taken(plaintexts.read('a', make, range, DEMAND))))
    await taken(plaintexts.read('a', make, { start: 5, end: 6 }, DEMAND))
    assert.equal(made.length, 1)
    await until('it is closed when idle', () => made[0]?.closed === 1)
    await taken(plaintexts.read('a', make, { start: 5, end: 6 }, DEMAND))
    assert.equal(made.length, 2)
  },
)

test('what is kept is bounded in memory and files, the least recently used goes', { timeout: 180_000 }, async () => {
  const plaintexts = new Plaintexts({ memory: 1000, files: 2, idle: 60_000 })
  const made = new Map<string, Watched>()
  const read = async (id: string, size: number, onFile = false): Promise<void> => {
    const make = (): Promise<Plaintext> => {
      const plaintext = watched(size, onFile)
      made.set(id, plaintext)
      return Promise.resolve(plaintext)
    }
    await taken(plaintexts.read(id, make, { start: 0, end: 1 }, DEMAND))
  }
  for (const id of ['a', 'b', 'c']) await read(id, 400)
  for (const id of ['x', 'y', 'z']) await read(id, 1_000_000, true)
  const kept = (): string[] => [...made].filter(([, { closed }]) => closed === 0).map(([id]) => id)
  await until('the others are closed', () => kept().length <= 4)
  assert.deepEqual(kept(), ['b', 'c', 'y', 'z'])
  assert.ok([...made.values()].every(({ closed }) => closed <= 1))
})

test('a decryption goes on for those who stay, and ends with the last who leaves', { timeout: 180_000 }, async () => {
  const plaintexts = new Plaintexts({ memory: 1000, files: 1, idle: 1000 })
  let flight: FlightDemand | undefined
  let getReady: () => void = () => undefined
  const ready = new Promise<void>((resolve) => (getReady = resolve))
  const late = watched(10)
  const make = async (demand: FlightDemand): Promise<Plaintext> => {
    flight = demand
    // When all have left.
    await ready
    return late
  }
  const [one, two] = [new AbortController(), new AbortController()]
  const reading = [one, two].map(({ signal }, index) =>
    taken(plaintexts.read('a', make, { start: 0, end: 5 }, { urgency: index === 0 ? 'readahead' : 'read', signal })),
  )
  await until('it has begun', () => flight !== undefined)
  assert.equal(flight?.urgency(), 'read', 'as urgent as the most urgent')
  one.abort()
  await assert.rejects(reading[0] ?? Promise.resolve(), { code: 'ABORTED' })
  assert.equal(flight?.signal.aborted, false)
  two.abort()
  await assert.rejects(reading[1] ?? Promise.resolve(), { code: 'ABORTED' })
  assert.equal(flight?.signal.aborted, true)
  getReady()
  await until('one that is ready nevertheless is closed', () => late.closed === 1)
})

test('a failure is told to all who wait, and not kept', { timeout: 180_000 }, async () => {
  const plaintexts = new Plaintexts({ memory: 1000, files: 1, idle: 1000 })
  let tries = 0
  const make = async (): Promise<Plaintext> => {
    await sleep(2)
    if (tries++ === 0) throw new AnnexfsError('CORRUPT', 'tampered')
    return watched(10)
  }
  const range = { start: 0, end: 10 }
  const both = [0, 1].map(() => taken(plaintexts.read('a', make, range, DEMAND)))
  for (const one of both) await assert.rejects(one, { code: 'CORRUPT' })
  assert.equal(await taken(plaintexts.read('a', make, range, DEMAND)), 10)
})

test('a plaintext of another length is an error, in memory and on disk', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  for (const size of [1000, 20 * 1024 * 1024]) {
    for (const difference of [-1, 0, 1]) {
      const sink = await plaintextSink({ size, most: size, folder })
      const bytes = Buffer.alloc(size + difference, 7)
      if (difference > 0) await assert.rejects(sink.write(bytes), { code: 'CORRUPT' })
      else await sink.write(bytes)
      if (difference < 0) assert.throws(() => sink.finish(), { code: 'CORRUPT' })
      if (difference !== 0) await sink.discard()
      else {
        const plaintext = sink.finish()
        assert.equal(await taken(plaintext.read({ start: 1, end: size }, never)), size - 1)
        await plaintext.close()
      }
    }
  }
  await assert.rejects(plaintextSink({ size: 2 ** 52, most: 2 ** 52, folder }), { code: 'SYSTEM', message: /free/ })
})

test('slots are few, given back, and go to who is waited for first', { timeout: 180_000 }, async () => {
  const slots = new Slots(2)
  const order: string[] = []
  const first = await slots.take(never, () => 'fill')
  await slots.take(never, () => 'fill')
  const leaving = new AbortController()
  const gone = slots.take(leaving.signal, () => 'read')
  const waiting = (['fill', 'readahead', 'read'] as const).map(async (urgency) => {
    const release = await slots.take(never, () => urgency)
    order.push(urgency)
    release()
  })
  leaving.abort()
  await assert.rejects(gone, { code: 'ABORTED' })
  first()
  first()
  await Promise.all(waiting)
  assert.deepEqual(order, ['read', 'fill', 'readahead'])
})

test('a large plaintext takes its room from the cache, and gives it back', { timeout: 180_000 }, async (t) => {
  const folder = await temporaryFolder(t)
  const size = 20 * 1024 * 1024
  const inner = privateRoom(2 * size)
  let reserved = 0
  const room: Room = {
    ...inner,
    reserve: async (bytes) => {
      const got = await inner.reserve(bytes)
      if (got) reserved += bytes
      return got
    },
    unused: (bytes) => {
      reserved -= bytes
      inner.unused(bytes)
    },
  }
  const scratch = new Scratch(folder, room, silentLog)
  t.after(() => scratch.close())
  const sink = await plaintextSink({ size, most: size, folder, scratch })
  await sink.write(Buffer.alloc(size, 5))
  const plaintext = sink.finish()
  assert.equal(reserved, size)
  assert.deepEqual(await readdir(await scratch.folder()), ['lock'], 'its file has no name')
  await assert.rejects(plaintextSink({ size: 4 * size, most: 4 * size, folder, scratch }), {
    code: 'SYSTEM',
    message: /make it larger/,
  })
  assert.equal(await taken(plaintext.read({ start: 3, end: size }, never)), size - 3)
  await plaintext.close()
  assert.equal(reserved, 0)
  const other = await plaintextSink({ size, most: size, folder, scratch })
  await other.discard()
  assert.equal(reserved, 0)
})
