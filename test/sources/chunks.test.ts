import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { chunkKey, parseChunkSize, probeOrder, recordedChunks } from '../../lib/annex/chunk-log.js'
import { parseKey, type Key } from '../../lib/annex/key.js'
import { AnnexfsError } from '../../lib/errors.js'
import { joined, partRange, partsOf } from '../../lib/sources/chunks.js'
import { openLegacyChunks } from '../../lib/sources/chunks-legacy.js'
import { OpenParts } from '../../lib/sources/chunks-open.js'
import type { ByteRange } from '../../lib/space/space.js'
import type { ObjectName, ObjectStore, StoredObject } from '../../lib/stores/store.js'
import { readObject, readWhole } from '../stores/store-contract.js'
import { randomNumbers } from './contract.js'

const UUID = '68d1a2e4-1c5c-4169-982d-ecbbf186a82c'
const NAME = '201fbd62af3bc579bad98e2aaa05b371d267ceb385ff7300edd7060674d52902.bin'
const never = new AbortController().signal

function keyOf(raw: string): Key {
  const key = parseKey(raw)
  assert.ok(key)
  return key
}

const K25 = keyOf(`SHA256E-s2500000--${NAME}`)

test('the key of a chunk is that of the content with two more fields', () => {
  assert.equal(chunkKey(K25, 1_048_576, 3).raw, `SHA256E-s2500000-S1048576-C3--${NAME}`)
  assert.equal(chunkKey(keyOf('WORM-s3-m7--a/b'), 2, 1).raw, 'WORM-s3-m7-S2-C1--a/b')
})

test('sizes of chunks are read as git-annex reads them', () => {
  const table: [string | undefined, number | undefined][] = [
    ['1MiB', 1_048_576],
    ['1MB', 1_000_000],
    ['100 KB', 100_000],
    ['100kb', 100_000],
    ['1.5 megabytes', 1_500_000],
    ['2 kibibytes', 2048],
    ['1m', 1_000_000],
    ['1Mi', 1_048_576],
    ['512', 512],
    ['7 B', 7],
    ['0', undefined],
    ['0 MiB', undefined],
    ['', undefined],
    [undefined, undefined],
    ['much', undefined],
    ['1 parsec', undefined],
    ['-5', undefined],
    ['9999999 YB', undefined],
  ]
  for (const [text, size] of table) assert.equal(parseChunkSize(text), size, String(text))
})

test('recorded lists are those of the store that fit the content, smallest chunks first', () => {
  const fields = new Map([
    [`${UUID}:1048576`, '3'],
    [`${UUID}:1000000`, '3'],
    [`${UUID}:500000`, '0'],
    [`${UUID}:600000`, '4'],
    [`${UUID}:0`, '1'],
    [`${UUID}:1e3`, '2500'],
    [`${UUID}:99999999999999999999`, '1'],
    [`${UUID}:2500000`, '-1'],
    [`${UUID}:`, '1'],
    ['other:100000', '25'],
  ])
  assert.deepEqual(recordedChunks(fields, UUID, 2_500_000), [
    { size: 1_000_000, count: 3 },
    { size: 1_048_576, count: 3 },
  ])
  assert.deepEqual(recordedChunks(new Map([[`${UUID}:10`, '1']]), UUID, 0), [{ size: 10, count: 1 }])
  const many = new Map(Array.from({ length: 5000 }, (_, index) => [`${UUID}:${3_000_000 + index}`, '1']))
  assert.equal(recordedChunks(many, UUID, 2_500_000).length, 16)
})

test('places are looked at in the order of git-annex', () => {
  const recorded = [
    { size: 1_000_000, count: 3 },
    { size: 1_048_576, count: 3 },
  ]
  const order = (key: Key, chunk: number | undefined, lists: typeof recorded): string[] =>
    probeOrder({ key, length: 2_500_000, chunk, recorded: lists }).map((stored) =>
      stored.kind === 'whole' ? 'whole' : `${stored.size}x${stored.count}`,
    )
  assert.deepEqual(order(K25, undefined, []), ['whole'])
  assert.deepEqual(order(K25, undefined, recorded), ['whole', '1000000x3', '1048576x3'])
  assert.deepEqual(order(K25, 1_048_576, recorded), ['1000000x3', '1048576x3', 'whole'])
  assert.deepEqual(order(K25, 2_000_000, recorded), ['1000000x3', '1048576x3', 'whole', '2000000x2'])
  assert.deepEqual(order(K25, 1_048_576, []), ['whole', '1048576x3'])
  assert.deepEqual(order(keyOf('URL-s2500000--http://x'), 1_048_576, []), ['whole'])
  assert.deepEqual(order(keyOf('VURL-s2500000--http://x'), 1_048_576, []), ['whole'])
})

test('the parts that a range touches cover it exactly', () => {
  const random = randomNumbers(3)
  for (let round = 0; round < 2000; round++) {
    const length = Math.floor(random() * 1000)
    const size = 1 + Math.floor(random() * 300)
    const start = Math.floor(random() * (length + 1))
    const range: ByteRange = { start, end: start + Math.floor(random() * (length - start + 1)) }
    let at = range.start
    for (const part of partsOf(range, size, length)) {
      assert.deepEqual(part.range, partRange(part.index, size, length))
      assert.equal(part.range.start + part.wanted.start, at)
      assert.ok(part.wanted.end > part.wanted.start && part.range.start + part.wanted.end <= part.range.end)
      at = part.range.start + part.wanted.end
    }
    assert.equal(at, range.end)
  }
})

test('the next part is begun while one is read, and ended when the reader leaves', { timeout: 180_000 }, async () => {
  const events: string[] = []
  async function* open(part: number, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    events.push(`begin ${part}`)
    try {
      if (part === 1) await sleep(5_000, undefined, { signal })
      yield Buffer.from([part])
      yield Buffer.from([part])
    } finally {
      events.push(`end ${part}`)
    }
  }
  for await (const _ of joined([0, 1, 2], open, never)) {
    await sleep(1)
    break
  }
  await sleep(10)
  assert.deepEqual(events.sort(), ['begin 0', 'begin 1', 'end 0', 'end 1'])
  const failing = joined(
    [0, 1],
    async function* (part) {
      if (part === 1) throw new AnnexfsError('UNAVAILABLE', 'the second')
      yield Buffer.from('first')
    },
    never,
  )
  assert.equal((await failing.next()).value?.toString(), 'first')
  await assert.rejects(failing.next(), { message: 'the second' })
})

test('few objects stay open, none is closed while it is read, and all in the end', { timeout: 180_000 }, async () => {
  const open = new Set<number>()
  const parts = new OpenParts((index) => {
    open.add(index)
    return Promise.resolve(memoryObject(Buffer.alloc(1), () => open.delete(index)))
  })
  const reading = await parts.borrow(0, never)
  for (let index = 1; index < 50; index++) (await parts.borrow(index, never))?.release(false)
  assert.ok(open.has(0) && open.size <= 5, String([...open]))
  const failed = await parts.borrow(60, never)
  failed?.release(true)
  assert.ok(!open.has(60))
  parts.close()
  assert.deepEqual([...open], [0])
  reading?.release(false)
  reading?.release(false)
  assert.equal(open.size, 0)
  ;(await parts.borrow(3, never))?.release(false)
  assert.equal(open.size, 0)
})

/** An object in memory; with `sized` false as a store gives it that opens unasked. */
function memoryObject(content: Buffer, close: () => void = () => undefined, sized = true): StoredObject {
  const read = async function* (range: ByteRange): AsyncGenerator<Uint8Array, void, undefined> {
    yield content.subarray(range.start, range.end)
  }
  return {
    unit: 1,
    longest: 1000,
    parallel: 2,
    ...(sized ? { size: content.length } : {}),
    read,
    all: () => read({ start: 0, end: content.length }),
    close,
  }
}

/** Files by suffix. `unasked`: opens everything, and reads then tell. */
function legacyStore(files: Readonly<Record<string, Buffer>>, unasked: boolean): ObjectStore {
  return {
    open: ({ suffix = '' }: ObjectName) => {
      const content = files[suffix]
      if (content !== undefined) return Promise.resolve(memoryObject(content, undefined, !unasked))
      if (!unasked) return Promise.resolve(undefined)
      const fail = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
        yield* []
        throw new AnnexfsError('NOT_FOUND', 'not there')
      }
      return Promise.resolve({ ...memoryObject(Buffer.alloc(0), undefined, false), read: fail, all: fail })
    },
  }
}

test('old chunks are joined, with and without their count, and whatever the store tells', async () => {
  const files = { '.chunk1': Buffer.from('abcd'), '.chunk2': Buffer.from('efgh'), '.chunk3': Buffer.from('ij') }
  const demand = { urgency: 'read', signal: never } as const
  for (const unasked of [false, true]) {
    for (const count of [{}, { '.chunkcount': Buffer.from('3\n') }]) {
      const store = legacyStore({ ...files, ...count }, unasked)
      const object = await openLegacyChunks(store, { key: K25, content: K25, size: 10 }, demand)
      assert.ok(object)
      for (let start = 0; start < 10; start++) {
        for (let end = start; end <= 10; end++) {
          assert.equal((await readObject(object, { start, end })).toString(), 'abcdefghij'.slice(start, end))
        }
      }
      object.close?.()
      const unsized = await openLegacyChunks(store, { key: K25, content: K25 }, demand)
      assert.ok(unsized)
      assert.equal((await readWhole(unsized, 10)).toString(), 'abcdefghij')
    }
  }
  const name = { key: K25, content: K25, size: 10 }
  assert.equal(await openLegacyChunks(legacyStore({}, false), name, demand), undefined)
  const cut = { ...files, '.chunkcount': Buffer.from('4') }
  await assert.rejects(openLegacyChunks(legacyStore(cut, false), name, demand), { code: 'UNAVAILABLE' })
  const short = openLegacyChunks(legacyStore(files, false), { ...name, size: 11 }, demand)
  await assert.rejects(short, { code: 'CORRUPT' })
  const absurd = { ...files, '.chunkcount': Buffer.from('999999999999') }
  await assert.rejects(openLegacyChunks(legacyStore(absurd, false), name, demand), { code: 'CORRUPT' })
})
