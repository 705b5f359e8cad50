import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createHash } from 'node:crypto'
import { AnnexfsError, isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { inOneLine } from '../../lib/scheduler/explain.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import type { Source } from '../../lib/sources/source.js'
import type { PieceSpace } from '../../lib/space/space.js'
import { bytesOf, memoryCache, memorySource, spaceOf } from '../support/memory.js'
import { until } from '../support/peers.js'

const PIECE = 1000
const bytes = bytesOf(10 * PIECE + 500, 1)
const plain = spaceOf(bytes, PIECE)
const hashed: PieceSpace = {
  ...plain,
  hashes: {
    algorithm: 'sha1',
    at: (index) =>
      createHash('sha1')
        .update(bytes.subarray(index * PIECE, (index + 1) * PIECE))
        .digest(),
  },
}

function fetcherOf(sources: readonly Source[], space: PieceSpace = plain, budget = 1e9): Fetcher {
  return new Fetcher({
    space,
    sources: async () => ({ sources, unusable: [] }),
    cache: memoryCache(space),
    budget: fetchBudget(budget),
    log: silentLog,
  })
}

const never = new AbortController().signal
const read = { urgency: 'read', signal: never } as const
const ahead = { urgency: 'readahead', signal: never } as const

function piece(index: number): Buffer {
  return bytes.subarray(index * PIECE, (index + 1) * PIECE)
}

test('a source that puts its bytes where they are wanted brings all pieces in a few buffers', async () => {
  const source: Source = {
    name: 'places',
    cost: 200,
    find: async () => ({
      unit: PIECE,
      longest: 4 * PIECE,
      parallel: 1,
      has: () => true,
      async *read(range, _demand, room) {
        for (let at = range.start; at < range.end;) {
          const place = room?.(at)
          assert.ok(place)
          // Of every other piece in parts.
          const part = (at / PIECE) % 2 === 1 ? place.subarray(0, PIECE / 2) : place
          part.set(bytes.subarray(at, at + part.byteLength))
          at += part.byteLength
          await Promise.resolve()
          yield new Uint8Array(part.buffer, part.byteOffset, part.byteLength)
        }
      },
    }),
  }
  const fetcher = fetcherOf([source])
  const buffers = new Set<ArrayBufferLike>()
  for (let round = 0; round < 20; round++) {
    for (let index = 0; index < 10; index++) {
      const got = await fetcher.fetch(index, read)
      assert.deepEqual(Buffer.from(got.bytes), piece(index))
      buffers.add(got.bytes.buffer)
      await new Promise(setImmediate)
    }
  }
  assert.ok(buffers.size < 10, `${buffers.size} buffers for 200 pieces`)
  fetcher.close()
})

test('wishes of one turn for neighbouring pieces become one request', async () => {
  const source = memorySource(bytes)
  const fetcher = fetcherOf([source])
  await Promise.all(
    [3, 4, 5, 10].map(async (index) => {
      const one = await fetcher.fetch(index, index === 3 ? read : ahead)
      assert.deepEqual(Buffer.from(one.bytes), piece(index))
    }),
  )
  assert.deepEqual(source.asked.ranges, [
    { start: 3000, end: 6000 },
    { start: 10_000, end: 10_500 },
  ])
  fetcher.close()
})

test('equal wishes share one fetch', async () => {
  const source = memorySource(bytes)
  const fetcher = fetcherOf([source])
  await Promise.all(Array.from({ length: 20 }, () => fetcher.fetch(7, read)))
  assert.equal(source.asked.ranges.length, 1)
  fetcher.close()
})

test('a failing source is replaced by another, and the error names all of them when none is left', async () => {
  const bad = memorySource(bytes, {
    name: 'bad',
    cost: 100,
    before: () => {
      throw new AnnexfsError('UNAVAILABLE', 'connection refused')
    },
  })
  const good = memorySource(bytes, { name: 'good' })
  const fetcher = fetcherOf([bad, good])
  assert.deepEqual(Buffer.from((await fetcher.fetch(2, read)).bytes), piece(2))
  fetcher.close()
  const alone = fetcherOf([bad, memorySource(bytes, { name: 'empty', find: async () => false })])
  await assert.rejects(alone.fetch(2, read), (error) => {
    assert.ok(isAnnexfsError(error, 'UNAVAILABLE'))
    assert.match(error.message, /bad: connection refused; empty: does not have it/)
    return true
  })
  alone.close()
})

test('a source that cannot be asked for a moment is asked again before the read fails', async () => {
  let down = true
  const flaky = memorySource(bytes, {
    find: async () => {
      if (down) throw new AnnexfsError('UNAVAILABLE', 'connection refused')
      return true
    },
  })
  const fetcher = fetcherOf([flaky])
  setTimeout(() => (down = false), 100)
  assert.deepEqual(Buffer.from((await fetcher.fetch(2, read)).bytes), piece(2))
  fetcher.close()
})

test('after a failed read, sources are looked for afresh by the first read that comes later, not by the second', async () => {
  let down = true
  const refusing = memorySource(bytes, {
    find: async () => {
      if (down) throw new AnnexfsError('FORBIDDEN', 'not let in')
      return true
    },
  })
  const fetcher = fetcherOf([refusing])
  await assert.rejects(fetcher.fetch(2, read), /not let in/)
  down = false
  await sleep(2_100)
  assert.deepEqual(Buffer.from((await fetcher.fetch(2, read)).bytes), piece(2))
  fetcher.close()
})

test('a source that gives a piece with the wrong hash is set aside and the read goes on from another', async () => {
  const lies = Buffer.from(bytes)
  lies[3100] = (lies[3100] ?? 0) ^ 1
  const liar = memorySource(lies, { name: 'liar', cost: 100 })
  const honest = memorySource(bytes, { name: 'honest' })
  const fetcher = fetcherOf([liar, honest], hashed)
  assert.deepEqual(Buffer.from((await fetcher.fetch(3, read)).bytes), piece(3))
  assert.deepEqual(Buffer.from((await fetcher.fetch(4, read)).bytes), piece(4))
  assert.equal(liar.asked.ranges.length, 1)
  assert.deepEqual(fetcher.sourceNames, ['honest'])
  fetcher.close()
})

test('a source that ends early or gives too much fails over', async () => {
  const short = memorySource(bytes, { name: 'short', cost: 100 })
  const holding = await short.find(plain, never)
  assert.ok(holding !== undefined)
  for (const wrong of [-1, 1]) {
    const source: Source = {
      name: 'wrong',
      cost: 100,
      find: async () => ({
        ...holding,
        async *read(range) {
          yield bytes.subarray(range.start, range.end + wrong)
        },
      }),
    }
    const fetcher = fetcherOf([source, memorySource(bytes)])
    assert.deepEqual(Buffer.from((await fetcher.fetch(1, read)).bytes), piece(1))
    fetcher.close()
  }
})

test('a source that stalls gets company from another one', async () => {
  const stalled = memorySource(bytes, {
    name: 'stalled',
    cost: 100,
    before: (_range, _given, demand) => hang(demand.signal),
  })
  const other = memorySource(bytes, { name: 'other' })
  const fetcher = fetcherOf([stalled, other])
  const signal = AbortSignal.timeout(60_000)
  assert.deepEqual(Buffer.from((await fetcher.fetch(6, { urgency: 'read', signal })).bytes), piece(6))
  await until('the stalled request is given up', () => stalled.asked.running === 0)
  fetcher.close()
})

test('when nobody waits any more the transfer stops; when one of two goes it does not', async () => {
  const slow = memorySource(bytes, { before: (_range, _given, demand) => hang(demand.signal) })
  const fetcher = fetcherOf([slow])
  const one = new AbortController()
  const two = new AbortController()
  const first = fetcher.fetch(0, { urgency: 'read', signal: one.signal })
  const second = fetcher.fetch(0, { urgency: 'read', signal: two.signal })
  await until('it has begun', () => slow.asked.running === 1)
  one.abort()
  await assert.rejects(first, (error) => isAnnexfsError(error, 'ABORTED'))
  assert.equal(slow.asked.running, 1)
  two.abort()
  await assert.rejects(second, (error) => isAnnexfsError(error, 'ABORTED'))
  await until('it has stopped', () => slow.asked.running === 0)
  assert.ok(!fetcher.isFetching(0))
  fetcher.close()
})

test('the error at a deadline says what was being tried', async () => {
  const hung = memorySource(bytes, { name: 'hung', before: (_range, _given, demand) => hang(demand.signal) })
  const fetcher = fetcherOf([hung])
  await assert.rejects(fetcher.fetch(0, { urgency: 'read', signal: AbortSignal.timeout(500) }), (error) => {
    assert.ok(isAnnexfsError(error, 'TIMED_OUT'))
    assert.equal(error.attempts[0]?.source, 'hung')
    return true
  })
  fetcher.close()
})

test('what a source says that it waits for is told instead of its silence, until it is over', async () => {
  const gate = withResolvers()
  const polite = memorySource(bytes, {
    name: 'polite',
    before: async (_range, _given, demand) => {
      const over = demand.awaits?.(() => 'the server asked to wait 4.0 s more (HTTP 429)')
      await Promise.race([gate.promise, hang(demand.signal)])
      over?.()
      await hang(demand.signal)
    },
  })
  const fetcher = fetcherOf([polite])
  const over = new AbortController()
  const first = fetcher.fetch(0, { urgency: 'read', signal: over.signal })
  const second = fetcher.fetch(0, read)
  const said = (): string => inOneLine([fetcher.explain(0) ?? assert.fail()])
  await until('it says so', () => /asked \d\.\d s ago, the server asked to wait 4\.0 s more \(HTTP 429\)$/.test(said()))
  over.abort(new AnnexfsError('TIMED_OUT', 'it took too long'))
  await assert.rejects(first, { message: 'it took too long (polite: the server asked to wait 4.0 s more (HTTP 429))' })
  gate.resolve()
  await until('it waits for bytes', () => /0 of 1000 bytes, nothing for \d\.\d s$/.test(said()))
  fetcher.close()
  await assert.rejects(second, (error) => isAnnexfsError(error, 'ABORTED'))
})

test('the error at a deadline names the sources that have not said whether they have it', async () => {
  const silent = memorySource(bytes, { name: 'silent', find: () => new Promise<never>(() => undefined) })
  const fetcher = fetcherOf([silent, memorySource(bytes, { name: 'empty', find: async () => false })])
  const said = /empty: does not have it; silent: has not said yet whether it has it/
  const waiting = fetcher.fetch(1, { urgency: 'read', signal: AbortSignal.timeout(1_000) })
  const told = assert.rejects(waiting, (error) => isAnnexfsError(error, 'TIMED_OUT') && said.test(error.message))
  await sleep(50)
  assert.match(inOneLine([fetcher.explain(1) ?? assert.fail()]), said)
  await told
  fetcher.close()
})

test('what is fetched ahead stays within the budget, and reads pass it', async () => {
  const gate = withResolvers()
  const source = memorySource(bytes, { longest: PIECE, parallel: 100, before: () => gate.promise })
  const fetcher = fetcherOf([source], plain, 3 * PIECE)
  const wishes = [0, 1, 2, 3, 4, 5].map((index) => fetcher.fetch(index, ahead))
  await until('as much as may be is asked for', () => source.asked.running >= 3)
  await sleep(20)
  assert.equal(source.asked.running, 3)
  const urgent = fetcher.fetch(9, read)
  await until('the read is asked for', () => source.asked.running === 4)
  gate.resolve()
  await Promise.all([...wishes, urgent])
  fetcher.close()
})

test('closing ends everything that waits', async () => {
  const hung = memorySource(bytes, { before: (_range, _given, demand) => hang(demand.signal) })
  const fetcher = fetcherOf([hung])
  const waiting = fetcher.fetch(0, read)
  await sleep(10)
  fetcher.close()
  await assert.rejects(waiting, (error) => isAnnexfsError(error, 'ABORTED'))
  await assert.rejects(fetcher.fetch(1, read), (error) => isAnnexfsError(error, 'ABORTED'))
})

function hang(signal: AbortSignal): Promise<void> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new AnnexfsError('ABORTED', 'stopped')), { once: true })
  })
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = (): void => undefined
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve: () => resolve() }
}
