import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { open, readFile, stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Operations } from '../../lib/fuse/operations.js'
import { silentLog } from '../../lib/log/log.js'
import { mountInChild } from '../support/mount.js'
import { until } from '../support/peers.js'
import { bytesOf, MemoryVolume } from './memory-volume.js'

const MEMORY = new URL('./memory-module.js', import.meta.url)
const SIZE = 300_000

test(
  'content that changes between opens is read anew, although size and time are the same',
  { timeout: 180_000 },
  async (t) => {
    const mount = await mountInChild(t, MEMORY, { '/f': { size: SIZE, seed: 1 } })
    const path = `${mount.path}/f`
    for (const seed of [1, 2, 3, 1, 2, 2, 9]) {
      await mount.command('set', { '/f': { size: SIZE, seed } })
      for (let again = 0; again < 3; again++) {
        assert.deepEqual(await readFile(path), bytesOf(seed, 0, SIZE), `seed ${seed}, read ${again}`)
      }
      const { mtimeMs } = await stat(path)
      assert.equal(Math.floor(mtimeMs / 1000), Date.UTC(2020, 1, 2, 3, 4, 5) / 1000, 'the second stays')
    }
  },
)

test('pages are kept over opens while the content is the same', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/f': { size: SIZE, delay: 0, seed: 1 } })
  const path = `${mount.path}/f`
  await readFile(path)
  await readFile(path)
  const before = await mount.command<{ reads: number }>('counts')
  for (let again = 0; again < 5; again++) assert.deepEqual(await readFile(path), bytesOf(1, 0, SIZE))
  const after = await mount.command<{ reads: number }>('counts')
  assert.equal(after.reads, before.reads)
})

test(
  'an open file keeps its content, mapped too; others see the new one after it is closed',
  { timeout: 180_000 },
  async (t) => {
    const mount = await mountInChild(t, MEMORY, { '/f': { size: SIZE, seed: 1 } })
    const path = `${mount.path}/f`
    const mapper = spawn('/usr/bin/python3', ['-c', MAPPER, path], { stdio: ['pipe', 'pipe', 'inherit'] })
    t.after(() => mapper.kill('SIGKILL'))
    const lines = createInterface({ input: mapper.stdout })[Symbol.asyncIterator]()
    const line = async (): Promise<string> => String((await lines.next()).value)
    assert.equal(await line(), 'open')
    const early = await open(path)
    const head = Buffer.alloc(1000)
    await early.read(head, 0, 1000, 0)
    await mount.command('set', { '/f': { size: SIZE + 5, seed: 2 } })
    const tail = Buffer.alloc(1000)
    await early.read(tail, 0, 1000, SIZE - 1000)
    assert.deepEqual(tail, bytesOf(1, SIZE - 1000, SIZE))
    await early.close()
    assert.deepEqual(await readFile(path), bytesOf(1, 0, SIZE), 'the mapping still holds it')
    mapper.stdin.write('go\n')
    const { createHash } = await import('node:crypto')
    assert.equal(
      await line(),
      createHash('sha256')
        .update(bytesOf(1, 0, SIZE))
        .digest('hex'),
    )
    mapper.stdin.end()
    await once(mapper, 'exit')
    // The release of the last handle reaches us a moment after close(2).
    await until('the new size shows', async () => (await stat(path)).size === SIZE + 5)
    assert.deepEqual(await readFile(path), bytesOf(2, 0, SIZE + 5))
  },
)

/** Maps the file, closes it, and hashes the mapping when told to. */
const MAPPER = `
import sys, os, mmap, hashlib
fd = os.open(sys.argv[1], os.O_RDONLY)
view = mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ)
os.close(fd)
print('open', flush=True)
sys.stdin.readline()
print(hashlib.sha256(view).hexdigest(), flush=True)
sys.stdin.readline()
`

test(
  'no read mixes two contents while the path changes every 50 ms under 8 readers',
  { timeout: 180_000 },
  async (t) => {
    const mount = await mountInChild(t, MEMORY, { '/f': { size: 200_000, seed: 0 } })
    await mount.command('change', { path: '/f', size: 200_000, every: 50 })
    const readers = spawn('/usr/bin/python3', ['-c', CHECKER, `${mount.path}/f`, '8', '6'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let out = ''
    readers.stdout.setEncoding('utf8').on('data', (text: string) => (out += text))
    const [code] = (await once(readers, 'close')) as [number]
    assert.equal(code, 0, out)
    const [reads, contents] = out.trim().split(' ').map(Number)
    t.diagnostic(`${reads} whole reads of ${contents} contents`)
    assert.ok((reads ?? 0) > 50 && (contents ?? 0) > 5, out)
  },
)

/** Byte 0 and 512 tell the seed; every other byte must agree with it. */
const CHECKER = `
import sys, os, threading, time
path, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
SIZE = 200000
base = bytes(((((i ^ (i >> 9)) * 31)) & 255) for i in range(SIZE))
table = [bytes((b + a) & 255 for b in range(256)) for a in range(256)]
bad = []; seen = set(); reads = [0]; end = time.time() + seconds
def work(number):
    while time.time() < end and not bad:
        fd = os.open(path, os.O_RDONLY)
        got = b''
        while True:
            part = os.read(fd, 50000)
            if not part: break
            got += part
        os.close(fd)
        reads[0] += 1
        seen.add(got[0])
        if got != base.translate(table[(got[0] - base[0]) & 255]): bad.append((number, len(got)))
        time.sleep(0.01 * number)
threads = [threading.Thread(target=work, args=(n,)) for n in range(count)]
[t.start() for t in threads]; [t.join() for t in threads]
print(reads[0], len(seen), bad)
sys.exit(1 if bad else 0)
`

test('a size that is learned at open reaches the first reader', { timeout: 180_000 }, async (t) => {
  const spec = Object.fromEntries([1, 2, 3, 4].map((n) => [`/f${n}`, { size: SIZE, seed: n, unsized: true }]))
  const mount = await mountInChild(t, MEMORY, spec)
  for (const n of [1, 2, 3, 4]) {
    const path = `${mount.path}/f${n}`
    if (n > 1) assert.equal((await stat(path)).size, 0)
    if (n > 2) await sleep(60)
    const file = await open(path)
    try {
      const whole = Buffer.alloc(SIZE + 10)
      const { bytesRead } = await file.read(whole, 0, SIZE + 10, 0)
      assert.equal(bytesRead, SIZE)
      assert.deepEqual(whole.subarray(0, SIZE), bytesOf(n, 0, SIZE))
      assert.equal((await file.stat()).size, SIZE)
    } finally {
      await file.close()
    }
  }
})

test('a content that shrinks or grows is read at its new length', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 1000, seed: 0 } })
  const path = `${mount.path}/f`
  for (const [round, size] of [50_000, 10, 300_000, 0, 77_777, 1].entries()) {
    await stat(path)
    await mount.command('set', { '/f': { size, seed: round } })
    const file = await open(path)
    try {
      const buffer = Buffer.alloc(400_000)
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0)
      assert.deepEqual(buffer.subarray(0, bytesRead), bytesOf(round, 0, size), `size ${size}`)
    } finally {
      await file.close()
    }
  }
})

test('who opens a file that has changed waits for the release of what was closed before, and reads the new content', async () => {
  const volume = new MemoryVolume({ '/f': { size: 10, seed: 1 } })
  const gauge = { started: () => undefined, ended: () => undefined }
  const { handlers } = new Operations(volume, { readTimeout: 5_000, allowOther: false, log: silentLog, gauge })
  const opened = (): Promise<number> =>
    new Promise((resolve, reject) => {
      handlers.open(
        (result, number) => (number === undefined ? reject(new Error(`errno ${result}`)) : resolve(number)),
        '/f',
        0,
      )
    })
  const none = (): void => undefined
  const first = await opened()
  handlers.flush(none, '/f', first)
  volume.set('/f', { size: 300, seed: 2 })
  const opening = opened()
  // On a busy machine the release comes after the next open, though it was sent before.
  setImmediate(() => handlers.release(none, '/f', first))
  const second = await opening
  const view = Buffer.alloc(400)
  const count = await new Promise<number>((resolve) => handlers.read(resolve, '/f', second, view, 400, 0, 0))
  assert.deepEqual(view.subarray(0, Math.max(0, count)), bytesOf(2, 0, 300))
  handlers.release(none, '/f', second)
  // One that is open goes on showing what it has.
  const third = await opened()
  volume.set('/f', { size: 20, seed: 3 })
  const beside = await opened()
  const again = await new Promise<number>((resolve) => handlers.read(resolve, '/f', beside, view, 400, 0, 0))
  assert.equal(again, 300)
  for (const number of [third, beside]) handlers.release(none, '/f', number)
})
