import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { constants, open, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { NATIVE_FILE } from '../../lib/native/part.js'
import { allBytesOf, cacheFolder, filesIn, pick, seeded, seedFor, until } from '../cache/support.js'
import { mountInChild, type ChildMount } from '../support/mount.js'
import { pseudoRandom } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'
import { SLICES } from './direct-module.js'

const MODULE = new URL('./direct-module.js', import.meta.url)
const OPTIONS = {
  timeout: 120_000,
  skip: existsSync(NATIVE_FILE) ? false : 'NO C COMPILER: the native part was not built',
}

interface Counts {
  /** Reads that came to JavaScript, and those that did not. */
  readonly asked: number
  readonly askedBytes: number
  readonly served: number
  readonly noted: number
  readonly notedBytes: number
  readonly fetched: number
}

interface World {
  readonly mount: ChildMount
  readonly cache: string
  readonly plain: string
  /** The content of each file. */
  readonly files: ReadonlyMap<string, Buffer>
  readonly counts: () => Promise<Counts>
  /** A read that goes by no page of the kernel. */
  readonly pread: (path: string, offset: number, length: number) => Promise<Buffer>
  /** Closes what was opened by it, and unmounts. */
  readonly end: () => Promise<void>
}

async function world(t: TestContext): Promise<World> {
  const cache = await cacheFolder(t)
  const plain = join(await temporaryFolder(t), 'plain')
  const content = pseudoRandom(1_000_003, 'plain')
  await writeFile(plain, content, { mode: 0o644 })
  const handles = new Map<string, Awaited<ReturnType<typeof open>>>()
  const close = async (): Promise<void> => {
    for (const handle of handles.values()) await handle.close()
    handles.clear()
  }
  // Hooks run in the order in which they were made: before the mount goes.
  t.after(close)
  const mount = await mountInChild(t, MODULE, { cache, plain })
  const files = new Map([['/plain', content]])
  for (const [path, { space, offset, length }] of Object.entries(SLICES)) {
    files.set(path, allBytesOf(space).subarray(offset, offset + length))
  }
  return {
    mount,
    cache,
    plain,
    files,
    counts: () => mount.command<Counts>('counts'),
    pread: async (path, offset, length) => {
      let handle = handles.get(path)
      if (handle === undefined) {
        handle = await open(mount.path + path, constants.O_RDONLY | constants.O_DIRECT)
        handles.set(path, handle)
      }
      const own = Buffer.alloc(length)
      const { bytesRead } = await handle.read(own, 0, length, offset)
      return own.subarray(0, bytesRead)
    },
    end: async () => {
      await close()
      assert.equal(await mount.stop(), 0)
    },
  }
}

test('what is cached is given without JavaScript, and is the same', OPTIONS, async (t) => {
  const { files, pread, counts, end } = await world(t)
  const random = seeded(seedFor(t))
  const paths = [...files.keys()]
  let asked = 0
  for (let nth = 0; nth < 1500; nth++) {
    const path = paths[nth % paths.length] ?? ''
    const content = files.get(path) ?? Buffer.alloc(0)
    const offset = pick(random, content.length + 10)
    const length = 1 + pick(random, nth % 5 === 0 ? 300_000 : 5_000)
    const expected = content.subarray(offset, offset + length)
    const got = await pread(path, offset, length)
    assert.ok(got.equals(expected), `${path} at ${offset}, ${length} bytes: ${got.length} came`)
    asked += expected.length
  }
  await until('all reads are collected', async () => {
    const { askedBytes, notedBytes } = await counts()
    return askedBytes + notedBytes === asked
  })
  const { served, noted, fetched } = await counts()
  t.diagnostic(`${served} reads without JavaScript`)
  assert.ok(served > 1000, `${served}`)
  assert.equal(noted, served)
  assert.equal(fetched, 0)
  await end()
})

test(
  'goal 14: a bit that flips while files are read without JavaScript is not given, and fetched again',
  OPTIONS,
  async (t) => {
    const { files, pread, counts, cache, end } = await world(t)
    const random = seeded(seedFor(t))
    const paths = ['/whole', '/part', '/odd']
    const stored = filesIn(cache).filter((path) => path.endsWith('/data') || path.endsWith('/index'))
    assert.equal(stored.length, 4)
    for (let nth = 0; nth < 1500; nth++) {
      const path = paths[nth % 3] ?? ''
      const content = files.get(path) ?? Buffer.alloc(0)
      const offset = pick(random, content.length)
      const got = await pread(path, offset, 4096)
      assert.ok(got.equals(content.subarray(offset, offset + 4096)), `${path} at ${offset} after ${nth} flips`)
      await flip(stored[pick(random, stored.length)] ?? '', random)
    }
    const { served, fetched } = await counts()
    t.diagnostic(`${served} reads without JavaScript, ${fetched} pieces fetched again`)
    assert.ok(served > 50 && fetched > 50)
    await end()
  },
)

/** Not in the header, without which the space is another one. */
async function flip(path: string, random: () => number): Promise<void> {
  const handle = await open(path, 'r+')
  try {
    const { size } = await handle.stat()
    const at = path.endsWith('/index') ? 4096 + pick(random, size - 4096) : pick(random, size)
    const one = Buffer.alloc(1)
    await handle.read(one, 0, 1, at)
    one.writeUInt8(one.readUInt8() ^ (1 << pick(random, 8)))
    await handle.write(one, 0, 1, at)
  } finally {
    await handle.close()
  }
}

test('content that is found wrong is not given any more, from that moment on', OPTIONS, async (t) => {
  const { pread, counts, mount, end } = await world(t)
  await until('reads pass JavaScript by', async () => {
    await pread('/whole', 0, 4096)
    return (await counts()).served > 0
  })
  await mount.command('wrong')
  const { served } = await counts()
  for (let nth = 0; nth < 20; nth++) await assert.rejects(pread('/whole', 4096 * nth, 4096), { code: 'EIO' })
  assert.equal((await counts()).served, served)
  await end()
})

test('a file that is read in place is not mixed with what it becomes', OPTIONS, async (t) => {
  const { pread, counts, plain, files, end } = await world(t)
  const before = files.get('/plain') ?? Buffer.alloc(0)
  await until('reads pass JavaScript by', async () => {
    assert.ok((await pread('/plain', 1000, 4096)).equals(before.subarray(1000, 5096)))
    return (await counts()).served > 0
  })
  await writeFile(plain, pseudoRandom(before.length, 'other'))
  // Also where the clock is too coarse to tell both writes apart.
  await utimes(plain, 1_800_000_000, 1_800_000_000)
  for (let nth = 0; nth < 20; nth++) await assert.rejects(pread('/plain', 4096 * nth, 4096), { code: 'EIO' })
  await end()
})

test('a cache that is removed under reads which pass JavaScript by is as good as none', OPTIONS, async (t) => {
  const { pread, counts, cache, files, end } = await world(t)
  const content = files.get('/whole') ?? Buffer.alloc(0)
  await until('reads pass JavaScript by', async () => {
    await pread('/whole', 0, 4096)
    return (await counts()).served > 0
  })
  for (const path of filesIn(cache)) await writeFile(path, '')
  for (let nth = 0; nth < 40; nth++) {
    const offset = nth * 100_000
    assert.ok((await pread('/whole', offset, 4096)).equals(content.subarray(offset, offset + 4096)))
  }
  assert.ok((await counts()).fetched > 0)
  await end()
})

test('reads that pass JavaScript by are as many as there are readers, and end with the mount', OPTIONS, async (t) => {
  const { mount, files, counts, end } = await world(t)
  const content = files.get('/whole') ?? Buffer.alloc(0)
  const reader = async (): Promise<void> => {
    const handle = await open(join(mount.path, 'whole'), constants.O_RDONLY | constants.O_DIRECT)
    try {
      const own = Buffer.alloc(300_000)
      for (let nth = 0; nth < 60; nth++) {
        const offset = (nth * 77_777) % (content.length - own.length)
        const { bytesRead } = await handle.read(own, 0, own.length, offset)
        assert.ok(own.subarray(0, bytesRead).equals(content.subarray(offset, offset + own.length)))
      }
    } finally {
      await handle.close()
    }
  }
  const before = (await counts()).served
  await until('reads pass JavaScript by', async () => {
    await Promise.all(Array.from({ length: 16 }, reader))
    return (await counts()).served > before
  })
  await end()
})
