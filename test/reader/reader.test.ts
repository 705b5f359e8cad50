import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AnnexfsError, isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { Reader } from '../../lib/reader/reader.js'
import { fetchBudget } from '../../lib/scheduler/budget.js'
import { Fetcher } from '../../lib/scheduler/fetcher.js'
import type { Source } from '../../lib/sources/source.js'
import { bytesOf, memoryCache, memorySource, randomOf, spaceOf, type MemorySourceOptions } from '../support/memory.js'
import { until } from '../support/peers.js'

const never = new AbortController().signal

interface Setup {
  readonly reader: Reader
  readonly fetcher: Fetcher
  readonly source: ReturnType<typeof memorySource>
  readonly cache: ReturnType<typeof memoryCache>
}

function setup(
  bytes: Buffer,
  options: {
    piece: number
    offset?: number
    length?: number
    readahead?: number
    source?: MemorySourceOptions
    others?: Source[]
  },
): Setup {
  const space = spaceOf(bytes, options.piece)
  const source = memorySource(bytes, options.source)
  const cache = memoryCache(space)
  const sources = [source, ...(options.others ?? [])]
  const fetcher = new Fetcher({
    space,
    sources: async () => ({ sources, unusable: [] }),
    cache,
    budget: fetchBudget(1e9),
    log: silentLog,
  })
  const offset = options.offset ?? 0
  const slice = { space, offset, length: options.length ?? bytes.byteLength - offset }
  const reader = new Reader({ slice, cache, fetcher, readahead: options.readahead ?? 0, log: silentLog })
  return { reader, fetcher, source, cache }
}

async function readAt(reader: Reader, offset: number, length: number): Promise<Buffer> {
  const into = Buffer.alloc(length)
  const result = await reader.read(offset, length, into, never)
  return typeof result === 'number' ? into.subarray(0, result) : Buffer.from(result)
}

test('any read of any slice gives just the bytes of the source, short only at the end', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        size: fc.integer({ min: 0, max: 5000 }),
        piece: fc.integer({ min: 1, max: 700 }),
        from: fc.nat(5000),
        reads: fc.array(fc.tuple(fc.nat(6000), fc.nat(3000)), { maxLength: 12 }),
        readahead: fc.constantFrom(0, 1000),
      }),
      async ({ size, piece, from, reads, readahead }) => {
        const bytes = bytesOf(size, size + 1)
        const offset = Math.min(from, size)
        const { reader, fetcher } = setup(bytes, { piece, offset, readahead })
        const expected = bytes.subarray(offset)
        await Promise.all(
          reads.map(async ([at, length]) => {
            assert.deepEqual(await readAt(reader, at, length), expected.subarray(at, at + length))
          }),
        )
        reader.close()
        fetcher.close()
      },
    ),
    { numRuns: 300 },
  )
})

test('a cached read answers at once and touches no source', async () => {
  const bytes = bytesOf(10_000, 3)
  const { reader, fetcher, source } = setup(bytes, { piece: 1000 })
  await readAt(reader, 0, 10_000)
  const before = source.asked.ranges.length
  const into = Buffer.alloc(2500)
  assert.equal(reader.read(500, 2500, into, never), 2500)
  assert.deepEqual(into, bytes.subarray(500, 3000))
  assert.equal(source.asked.ranges.length, before)
  fetcher.close()
})

test('a random read fetches only its pieces; sequential reads fetch ahead within the window', async () => {
  const bytes = bytesOf(5_000_000, 4)
  const random = setup(bytes, { piece: 10_000, readahead: 500_000 })
  await readAt(random.reader, 3_705_000, 10_000)
  assert.deepEqual([...random.cache.pieces.keys()].sort(), [370, 371])
  random.fetcher.close()
  const sequential = setup(bytes, { piece: 10_000, readahead: 500_000 })
  for (let at = 0; at < 1_000_000; at += 10_000) await readAt(sequential.reader, at, 10_000)
  await until('it is fetched ahead', () => sequential.cache.pieces.has(124))
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.ok(!sequential.cache.pieces.has(152))
  sequential.fetcher.close()
})

test('closing a file cancels what was being fetched ahead of it', async () => {
  const bytes = bytesOf(3_000_000, 5)
  let open = true
  const { reader, fetcher, source } = setup(bytes, {
    piece: 10_000,
    readahead: 2_000_000,
    source: {
      chunk: 10_000,
      before: (range, given) =>
        range.start + given < 400_000 || !open ? undefined : new Promise((done) => setTimeout(done, 5)),
    },
  })
  for (let at = 0; at < 400_000; at += 10_000) await readAt(reader, at, 10_000)
  assert.ok(source.asked.running > 0 && fetcher.isFetching(60))
  reader.close()
  await until('nothing is fetched', () => source.asked.running === 0 && !fetcher.isFetching(60))
  open = false
  assert.throws(
    () => reader.read(0, 10, Buffer.alloc(10), never),
    (error) => isAnnexfsError(error, 'ABORTED'),
  )
  fetcher.close()
})

test('goal 4: faults at every step of the read path give the right bytes or an error, never a short or wrong read', async (t) => {
  const seed = Number(process.env['ANNEXFS_TEST_SEED'] ?? Date.now() % 1_000_000)
  t.diagnostic(`seed ${seed}`)
  const random = randomOf(seed)
  const bytes = bytesOf(300_000, seed)
  const faulty = (name: string, cost: number): Source => {
    const source = memorySource(bytes, {
      name,
      cost,
      chunk: 700,
      before: async () => {
        const dice = random()
        if (dice < 0.03) throw new AnnexfsError('UNAVAILABLE', 'cut off')
        if (dice < 0.05) throw new Error('something nobody foresaw')
        if (dice < 0.3) await new Promise((done) => setImmediate(done))
      },
      find: async () => {
        if (random() < 0.1) throw new AnnexfsError('UNAVAILABLE', 'not reachable')
        return true
      },
    })
    return source
  }
  let failed = 0
  let right = 0
  for (let round = 0; round < 12; round++) {
    const { reader, fetcher, cache } = setup(bytes, {
      piece: 4096,
      readahead: 40_000,
      source: { name: 'dead', cost: 50, find: async () => false },
      others: [faulty('a', 100), faulty('b', 200)],
    })
    const put = cache.put.bind(cache)
    const failing = { put: async (piece: Parameters<typeof put>[0]) => (random() < 0.2 ? false : put(piece)) }
    Object.assign(cache, failing)
    const reads = Array.from({ length: 40 }, async () => {
      const offset = Math.floor(random() * 310_000)
      const length = Math.floor(random() * 30_000)
      try {
        const got = await readAt(reader, offset, length)
        assert.deepEqual(got, bytes.subarray(offset, offset + length))
        right += 1
      } catch (error) {
        if (!isAnnexfsError(error)) throw error
        failed += 1
      }
    })
    await Promise.all(reads)
    reader.close()
    fetcher.close()
  }
  t.diagnostic(`${right} reads right, ${failed} reads failed with an error`)
  assert.ok(right > failed, `${right} right, ${failed} failed`)
})

test('reads that the kernel makes ahead of a place that was left let the read at the new place go first', async () => {
  const bytes = bytesOf(40_000_000, 6)
  const piece = 131_072
  const order: number[] = []
  const { reader, fetcher } = setup(bytes, {
    piece,
    readahead: 1_000_000,
    source: {
      chunk: piece,
      parallel: 1,
      before: async (range) => {
        await new Promise((done) => setTimeout(done, 5))
        order.push(range.start)
      },
    },
  })
  for (let at = 0; at < 8 * piece; at += piece) await readAt(reader, at, piece)
  // What is read now of the old place is not in the cache, and nobody waits for all of it.
  const old = Array.from({ length: 16 }, (_, i) => readAt(reader, (20 + i) * piece, piece))
  await new Promise((done) => setTimeout(done, 8))
  order.length = 0
  const sought = readAt(reader, 250 * piece, piece).then((got) => {
    assert.deepEqual(got, bytes.subarray(250 * piece, 251 * piece))
    return order.length
  })
  assert.ok((await sought) <= 4, order.join(' '))
  for (const [i, got] of (await Promise.all(old)).entries()) {
    assert.deepEqual(got, bytes.subarray((20 + i) * piece, (21 + i) * piece), 'they all come in the end')
  }
  reader.close()
  fetcher.close()
})

test('parallel reads at random places never make way for one another', async () => {
  const bytes = bytesOf(4_000_000, 7)
  let aborted = 0
  const { reader, fetcher, source } = setup(bytes, { piece: 10_000, readahead: 500_000 })
  const random = randomOf(8)
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const at = Math.floor(random() * 399) * 10_000
        assert.deepEqual(await readAt(reader, at, 10_000), bytes.subarray(at, at + 10_000))
      }),
    )
    aborted += source.asked.aborted
  }
  assert.equal(aborted, 0)
  reader.close()
  fetcher.close()
})

test('media that is played has its index fetched early, media that is glanced at has not', async () => {
  const size = 60_000_000
  const bytes = bytesOf(size, 9)
  const mdat = 55_000_000
  Buffer.from('0000001866747970', 'hex').copy(bytes)
  bytes.writeUInt32BE(mdat, 24)
  bytes.write('mdat', 28, 'latin1')
  const piece = 131_072
  const indexAt = Math.floor((24 + mdat) / piece)
  for (const [pause, expected] of [
    [12, true],
    [0, false],
  ] as const) {
    const { reader, fetcher, cache } = setup(bytes, { piece, readahead: 1_000_000 })
    for (let at = 0; at < 64 * piece; at += piece) {
      await readAt(reader, at, piece)
      if (pause > 0) await new Promise((done) => setTimeout(done, pause))
    }
    await fetcher.idle()
    assert.equal(cache.pieces.has(indexAt + 1), expected, `${pause} ms between reads`)
    reader.close()
    fetcher.close()
  }
})
