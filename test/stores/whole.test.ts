import assert from 'node:assert/strict'
import { createHash, pbkdf2, randomBytes } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { appendFile, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseKey } from '../../lib/annex/key.js'
import { openPieceStore } from '../../lib/cache/open.js'
import type { PieceStore } from '../../lib/cache/store.js'
import { AnnexfsError, throwIfAborted } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import type { ByteRange, Bytes } from '../../lib/space/space.js'
import type { ObjectName, ObjectStore, StoredObject, WholeStore } from '../../lib/stores/store.js'
import { wholeObjects, type WholeOptions } from '../../lib/stores/whole.js'
import { temporaryFolder } from '../support/temp.js'

const MIB = 1024 * 1024

/** Writes objects from memory, a step at a time, as told. */
class Steps implements WholeStore {
  ordered = true
  runs = 0
  atOnce = 0
  mostAtOnce = 0
  resumedAt: Bytes[] = []
  aborted = 0
  /** Called before each step; may wait or throw. */
  before: (at: Bytes, run: number) => Promise<void> | void = () => undefined
  /** What is written at the end of a transfer that goes well. */
  tail = Buffer.alloc(0)

  constructor(
    public objects: ReadonlyMap<string, Buffer>,
    readonly step = 64 * 1024,
  ) {}

  has(name: ObjectName): Promise<boolean | undefined> {
    return Promise.resolve(this.objects.has(name.key.raw) ? undefined : false)
  }

  async retrieve(name: ObjectName, file: string, options: Parameters<WholeStore['retrieve']>[2]): Promise<void> {
    const bytes = this.objects.get(name.key.raw) ?? Buffer.alloc(0)
    const run = ++this.runs
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce)
    try {
      let at = await stat(file).then(
        (status) => status.size,
        () => 0,
      )
      this.resumedAt.push(at)
      if (at === 0) await writeFile(file, '')
      while (at < bytes.length) {
        await this.before(at, run)
        throwIfAborted(options.signal)
        await appendFile(file, bytes.subarray(at, at + this.step))
        at = Math.min(bytes.length, at + this.step)
        options.progress(at)
      }
      await appendFile(file, this.tail)
    } catch (error) {
      if (options.signal.aborted) this.aborted++
      throw error
    } finally {
      this.atOnce--
    }
  }
}

function objectOf(bytes: Buffer): ObjectName {
  const digest = createHash('sha256').update(bytes).digest('hex')
  const key = parseKey(`SHA256-s${bytes.length}--${digest}`)
  assert.ok(key)
  return { key, content: key, size: bytes.length }
}

interface Given {
  readonly steps: Steps
  readonly store: ObjectStore
  readonly names: readonly ObjectName[]
  readonly cache: PieceStore
  readonly folder: string
}

async function given(
  t: TestContext,
  objects: readonly Buffer[],
  options: Partial<WholeOptions> = {},
  limit = 64 * MIB,
): Promise<Given> {
  const folder = await temporaryFolder(t)
  const cache = await openPieceStore({ folder, limitBytes: limit, minFreeBytes: 0, log: silentLog })
  const names = objects.map(objectOf)
  const steps = new Steps(new Map(objects.map((bytes, index) => [names[index]?.key.raw ?? '', bytes])))
  const store = wholeObjects(steps, { name: 'toy', folder, scratch: cache.scratch, log: silentLog, ...options })
  t.after(async () => {
    await store.close?.()
    await cache.close()
  })
  return { steps, store, names, cache, folder }
}

async function opened(store: ObjectStore, name: ObjectName | undefined): Promise<StoredObject> {
  assert.ok(name)
  const object = await store.open(name, AbortSignal.timeout(60_000))
  assert.ok(object)
  return object
}

async function read(object: StoredObject, range: ByteRange, signal = AbortSignal.timeout(60_000)): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of object.read(range, { urgency: 'read', signal })) parts.push(part)
  return Buffer.concat(parts)
}

async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2_400; tries++) {
    if (await condition()) return
    await sleep(25)
  }
  assert.fail(`not within a minute: ${what}`)
}

test('many readers share one transfer', async (t) => {
  const bytes = randomBytes(3 * MIB + 17)
  const { steps, store, names } = await given(t, [bytes])
  const object = await opened(store, names[0])
  assert.equal(object.whole, true)
  assert.equal(object.unit, bytes.length)
  const ranges = Array.from({ length: 40 }, (_, i) => ({
    start: i * 70_001,
    end: Math.min(bytes.length, i * 70_001 + 200_000),
  }))
  const read40 = await Promise.all(ranges.map((range) => read(object, range)))
  for (const [index, { start, end }] of ranges.entries()) assert.ok(read40[index]?.equals(bytes.subarray(start, end)))
  assert.equal(steps.runs, 1)
})

test('the beginning is there while the rest is on its way, when it is written in order', async (t) => {
  const bytes = randomBytes(2 * MIB)
  const { steps, store, names } = await given(t, [bytes])
  let release: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (release = resolve))
  steps.before = (at) => (at >= MIB ? gate : undefined)
  const object = await opened(store, names[0])
  assert.ok((await read(object, { start: 0, end: MIB })).equals(bytes.subarray(0, MIB)))
  const last = read(object, { start: bytes.length - 10, end: bytes.length })
  release()
  assert.ok((await last).equals(bytes.subarray(-10)))
  assert.equal(steps.runs, 1)
})

test('nothing is given of an unordered transfer before it is complete and has the right hash', async (t) => {
  const bytes = randomBytes(MIB)
  const { steps, store, names } = await given(t, [bytes])
  steps.ordered = false
  let finished = false
  steps.before = async (at) => {
    await sleep(2)
    finished = at + steps.step >= bytes.length
  }
  assert.ok((await read(await opened(store, names[0]), { start: 0, end: 10 })).equals(bytes.subarray(0, 10)))
  assert.ok(finished)

  const wrong = Buffer.from(bytes)
  wrong[100] = (wrong[100] ?? 0) ^ 1
  const other = await given(t, [bytes])
  other.steps.ordered = false
  ;(other.steps.objects as Map<string, Buffer>).set(other.names[0]?.key.raw ?? '', wrong)
  const object = await opened(other.store, other.names[0])
  await assert.rejects(read(object, { start: 0, end: 10 }), { code: 'CORRUPT', message: /another hash/ })
  await until('the wrong file is gone', async () => (await other.cache.usage()).usedBytes < MIB)
})

test('a failed transfer is resumed from what came', async (t) => {
  const bytes = randomBytes(MIB)
  const { steps, store, names } = await given(t, [bytes])
  steps.before = (at, run) => {
    if (run === 1 && at >= MIB / 2) throw new AnnexfsError('UNAVAILABLE', 'the line broke')
  }
  const object = await opened(store, names[0])
  await assert.rejects(read(object, { start: MIB - 10, end: MIB }), { code: 'UNAVAILABLE', message: /the line broke/ })
  assert.ok((await read(object, { start: 0, end: MIB })).equals(bytes))
  assert.deepEqual(steps.resumedAt, [0, MIB / 2])
})

test('an object of another size is an error, and is fetched anew the next time', async (t) => {
  const bytes = randomBytes(MIB)
  const { steps, store, names } = await given(t, [bytes])
  const object = await opened(store, names[0])
  steps.ordered = false
  steps.tail = Buffer.from('more')
  await assert.rejects(read(object, { start: MIB - 1, end: MIB }), { code: 'CORRUPT', message: /more than/ })
  steps.tail = Buffer.alloc(0)
  assert.ok((await read(object, { start: 0, end: MIB })).equals(bytes))

  const short = await given(t, [bytes])
  ;(short.steps.objects as Map<string, Buffer>).set(short.names[0]?.key.raw ?? '', bytes.subarray(0, 1000))
  await assert.rejects(read(await opened(short.store, short.names[0]), { start: 0, end: MIB }), {
    code: 'CORRUPT',
    message: /less than/,
  })
})

test('a transfer that nobody waits for is cancelled after a while, and a reader in time keeps it', async (t) => {
  const bytes = randomBytes(4 * MIB)
  const { steps, store, names } = await given(t, [bytes], { grace: 2_000 })
  steps.before = () => sleep(200)
  const object = await opened(store, names[0])
  const far = { start: bytes.length - 1, end: bytes.length }
  await assert.rejects(read(object, far, AbortSignal.timeout(100)), { code: 'TIMED_OUT' })
  await sleep(100)
  await assert.rejects(read(object, far, AbortSignal.timeout(100)), { code: 'TIMED_OUT' })
  assert.equal(steps.runs, 1)
  assert.equal(steps.aborted, 0)
  await until('it is cancelled', () => steps.aborted === 1)
  steps.before = () => undefined
  assert.ok((await read(object, far)).equals(bytes.subarray(-1)))
  assert.equal(steps.runs, 2)
  assert.ok((steps.resumedAt[1] ?? 0) > 0)
})

test('at most so many transfers run at once', async (t) => {
  const all = Array.from({ length: 6 }, () => randomBytes(300_000))
  const { steps, store, names } = await given(t, all, { together: 2 })
  steps.before = () => sleep(5)
  const objects = await Promise.all(names.map((name) => opened(store, name)))
  const contents = await Promise.all(objects.map((object, i) => read(object, { start: 0, end: all[i]?.length ?? 0 })))
  for (const [index, content] of contents.entries()) assert.ok(content.equals(all[index] ?? Buffer.alloc(0)))
  assert.equal(steps.mostAtOnce, 2)
})

test('the file goes soon after all of it was read, and what is asked later is transferred again', async (t) => {
  const bytes = randomBytes(MIB)
  const { steps, store, names, cache } = await given(t, [bytes], { idle: 1_500 })
  const object = await opened(store, names[0])
  await read(object, { start: 0, end: MIB })
  assert.ok((await cache.usage()).usedBytes >= MIB)
  await until('the file is gone', async () => (await cache.usage()).usedBytes < MIB)
  assert.ok((await read(object, { start: 5, end: 9 })).equals(bytes.subarray(5, 9)))
  assert.equal(steps.runs, 2)
})

test('files of transfers and pieces together stay below the bound', async (t) => {
  const all = Array.from({ length: 8 }, () => randomBytes(5 * MIB))
  const limit = 16 * MIB
  const { store, names, cache, steps } = await given(t, all, { idle: 60_000 }, limit)
  steps.before = () => sleep(1)
  let most = 0
  const watching = setInterval(() => {
    cache.usage().then(
      ({ usedBytes }) => (most = Math.max(most, usedBytes)),
      () => undefined,
    )
  }, 20)
  t.after(() => clearInterval(watching))
  const objects = await Promise.all(names.map((name) => opened(store, name)))
  for (const [i, object] of objects.entries()) {
    const bytes = all[i] ?? Buffer.alloc(0)
    assert.ok((await read(object, { start: 0, end: bytes.length })).equals(bytes))
  }
  assert.ok(most > 0 && most <= limit, `${most} of ${limit} bytes`)
})

test('an object that can never fit is refused with what to do', async (t) => {
  const { store, names, steps } = await given(t, [randomBytes(MIB)], {}, MIB)
  const [name] = names
  assert.ok(name)
  await assert.rejects(store.open(name, AbortSignal.timeout(1_000)), {
    code: 'FORBIDDEN',
    message: /only comes whole.*--cache-size/,
  })
  assert.equal(steps.runs, 0)
})

test('an object of unknown size is read to its end, and not beyond the bound', async (t) => {
  const bytes = randomBytes(2 * MIB)
  const { store, names } = await given(t, [bytes])
  const [name] = names
  assert.ok(name)
  const unsized: ObjectName = { key: name.key, content: name.content }
  const object = await opened(store, unsized)
  const parts: Uint8Array[] = []
  for await (const part of object.all(3 * MIB, { urgency: 'read', signal: AbortSignal.timeout(60_000) }))
    parts.push(part)
  assert.ok(Buffer.concat(parts).equals(bytes))
  await assert.rejects(
    async () => {
      for await (const part of object.all(MIB, { urgency: 'read', signal: AbortSignal.timeout(60_000) }))
        assert.ok(part)
    },
    { code: 'CORRUPT' },
  )

  const small = await given(t, [bytes], {}, MIB)
  const [large] = small.names
  assert.ok(large)
  small.steps.before = () => sleep(20)
  const endless = await opened(small.store, { key: large.key, content: large.content })
  await assert.rejects(
    async () => {
      for await (const part of endless.all(9 * MIB, { urgency: 'read', signal: AbortSignal.timeout(60_000) }))
        assert.ok(part)
    },
    { code: 'UNAVAILABLE', message: /--cache-size/ },
  )
})

test('closing ends transfers and removes their files', async (t) => {
  const bytes = randomBytes(2 * MIB)
  const { store, names, steps, cache } = await given(t, [bytes])
  steps.before = () => sleep(20)
  const reading = read(await opened(store, names[0]), { start: bytes.length - 1, end: bytes.length })
  const failed = assert.rejects(reading, { code: 'ABORTED' })
  await until('it has begun', () => steps.runs === 1)
  await store.close?.()
  await failed
  assert.equal(steps.aborted, 1)
  assert.ok((await cache.usage()).usedBytes < 100_000)
})

test('files that a dead process has left are removed at the next start, those of a living one are not', async (t) => {
  const folder = await temporaryFolder(t)
  const options = { folder, limitBytes: 64 * MIB, minFreeBytes: 0, log: silentLog }
  const first = await openPieceStore(options)
  t.after(() => first.close())
  const file = await first.scratch.take(1000)
  assert.ok(file)
  await writeFile(file.path, 'of the living')
  const dead = join(folder, 'transfers', '0123456789abcdef')
  await mkdir(join(dead, 'clone'), { recursive: true })
  await writeFile(join(dead, 'lock'), '')
  await writeFile(join(dead, 'clone', 'object'), randomBytes(MIB), { mode: 0o444 })
  assert.ok((await first.usage()).usedBytes >= MIB)
  const second = await openPieceStore(options)
  t.after(() => second.close())
  assert.ok((await second.usage()).usedBytes < MIB)
  assert.equal(await readFile(file.path, 'utf8'), 'of the living')
})

test('transfers go on after the cache folder was emptied under them', async (t) => {
  const all = [randomBytes(MIB), randomBytes(MIB)]
  const { store, names, folder } = await given(t, all)
  assert.ok((await read(await opened(store, names[0]), { start: 0, end: MIB })).equals(all[0] ?? Buffer.alloc(0)))
  for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true })
  const second = await opened(store, names[1])
  assert.ok((await read(second, { start: 0, end: MIB })).equals(all[1] ?? Buffer.alloc(0)))
})

test('a read that is under way when the remote is closed never gives bytes of another file', async (t) => {
  const bytes = randomBytes(256 * 1024)
  const { store, names, folder } = await given(t, [bytes])
  const object = await opened(store, names[0])
  await read(object, { start: 0, end: bytes.length })
  const other = join(folder, 'other')
  await writeFile(other, Buffer.alloc(bytes.length, 'x'))
  // So long nothing that was asked of the thread pool begins.
  const busy = Array.from(
    { length: 16 },
    () => new Promise((resolve) => pbkdf2('busy', 'pool', 200_000, 64, 'sha512', resolve)),
  )
  const reading = read(object, { start: 0, end: bytes.length }).catch((error: unknown) => error)
  // Up to where the read has been asked for.
  await new Promise((resolve) => setImmediate(resolve))
  const closing = store.close?.()
  const fds = Array.from({ length: 64 }, () => openSync(other, 'r'))
  const outcome = await reading
  for (const fd of fds) closeSync(fd)
  await Promise.all([...busy, closing])
  assert.ok(outcome instanceof AnnexfsError || (outcome instanceof Buffer && outcome.equals(bytes)), 'other bytes')
})

test('what follows on a transfer that turned out wrong is not given as its continuation', async (t) => {
  const bytes = randomBytes(2 * MIB)
  const { steps, store, names } = await given(t, [bytes])
  const wrong = Buffer.alloc(bytes.length, 'x')
  steps.before = async (at, run) => {
    if (run > 1 || at < MIB) return
    await sleep(300)
    throw new AnnexfsError('CORRUPT', 'that was not it')
  }
  steps.objects = new Map([[names[0]?.key.raw ?? '', wrong]])
  const object = await opened(store, names[0])
  const demand = { urgency: 'read' as const, signal: AbortSignal.timeout(60_000) }
  const reader = object.read({ start: 0, end: bytes.length }, demand)[Symbol.asyncIterator]()
  const first = await reader.next()
  assert.ok(first.value?.[0] === 120)
  // Its consumer is slow: meanwhile the transfer fails, and another reader starts the next one.
  await sleep(600)
  steps.objects = new Map([[names[0]?.key.raw ?? '', bytes]])
  assert.ok((await read(object, { start: 0, end: bytes.length })).equals(bytes))
  await assert.rejects(reader.next(), { code: 'CORRUPT' })
})
