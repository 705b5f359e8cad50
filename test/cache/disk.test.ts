import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, chownSync, existsSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, rename, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { textLog } from '../../lib/log/log.js'
import { startLoad } from './child.js'
import { powerLossRound } from './power.js'
import {
  blocksIn,
  cacheFolder,
  KIB,
  look,
  MIB,
  openStore,
  put,
  putAll,
  sampleSpace,
  seeded,
  seedFor,
  tally,
  until,
} from './support.js'
import { Disk, memoryVolume, whyNoDisk } from './volume.js'

const noDisk = whyNoDisk()
if (noDisk !== undefined) process.stderr.write(`SKIPPED: power loss and disks that turn read-only: ${noDisk}\n`)
const isRoot = process.getuid?.() === 0

test('goal 16: power loss again and again, without any flush: no wrong byte', { skip: noDisk }, async (t) => {
  const random = seeded(seedFor(t))
  const disk = new Disk(t, 64)
  const total = { right: 0, wrong: 0 }
  let rounds = 0
  for (const end = performance.now() + 8000; performance.now() < end; rounds++) {
    const { right, wrong } = await powerLossRound(disk, random)
    total.right += right
    total.wrong += wrong
  }
  t.diagnostic(`${rounds} rounds, pieces found again: ${JSON.stringify(total)}`)
  assert.equal(total.wrong, 0)
})

test(
  'goal 17: a full disk: reads are served uncached, and caching resumes when there is room',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const { folder, mountPoint } = await memoryVolume(t, 64)
    writeFileSync(join(mountPoint, 'ballast'), Buffer.alloc(32 * MIB))
    const store = await openStore(t, folder, { limitBytes: 1024 * MIB, memoryBytes: 4 * MIB })
    const space = sampleSpace('flood', 1024 * MIB, MIB)
    const cached = store.open(space)
    let stored = 0
    for (let index = 0; index < 1024; index++) {
      if (await put(cached, index)) stored++
      assert.equal(await look(cached, index), 'right', 'just put, so at least in memory')
    }
    t.diagnostic(`${stored} of 1,024 pieces were kept on disk`)
    assert.ok(stored > 500, 'older pieces make room for newer ones')
    assert.equal((await tally(cached)).wrong, 0)
    await unlink(join(mountPoint, 'ballast'))
    const later = store.open(sampleSpace('later', 20 * MIB, MIB))
    await until('caching resumes', async () => put(later, 0))
    await until('all of it is cached', async () => (await putAll(later)) === 20)
    assert.deepEqual(await tally(later), { right: 20, wrong: 0, miss: 0 })
  },
)

test(
  'goal 17: the floor of free space is kept on a small disk, by evicting',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const { folder } = await memoryVolume(t, 64)
    const store = await openStore(t, folder, { limitBytes: 1024 * MIB, minFreeBytes: 16 * MIB })
    const cached = store.open(sampleSpace('flood', 256 * MIB, MIB))
    assert.equal(await putAll(cached), 256, 'every one finds room, older ones going')
    assert.ok(blocksIn(folder) <= 48 * MIB)
    assert.ok(blocksIn(folder) >= 16 * MIB)
    assert.equal((await tally(cached)).wrong, 0)
  },
)

test('a disk with less free space than is to be left is said to be the reason why nothing is cached', async (t) => {
  const folder = await cacheFolder(t)
  const lines: string[] = []
  const log = textLog('warn', (line) => lines.push(line))
  const much = 2 ** 50
  const store = await openStore(t, folder, { minFreeBytes: much, log })
  const cached = store.open(sampleSpace('no room', 8 * 64 * KIB, 64 * KIB))
  assert.deepEqual((await store.room()).lowDisk?.minFree, much, 'known before anything is refused')
  assert.equal(lines.length, 0)
  assert.equal(await putAll(cached), 0)
  await sleep(300)
  assert.equal(await putAll(cached), 0)
  assert.equal(lines.length, 1, lines.join(''))
  assert.match(
    lines[0] ?? '',
    /nothing can be cached: .* give a smaller --min-free, or a --cache-dir on another disk \(folder=.* free=\d+\.\d .iB minFree=1024\.0 TiB\)/,
  )
  const { lowDisk } = await store.room()
  assert.ok(lowDisk !== undefined && lowDisk.free > 0 && lowDisk.free < much)
  assert.equal((await (await openStore(t, folder)).room()).lowDisk, undefined)
})

test('goal 18: the live cache is removed, replaced and emptied: no wrong byte, and it recovers', async (t) => {
  const folder = join(await cacheFolder(t), 'cache')
  const store = await openStore(t, folder)
  const space = sampleSpace('removed', 30 * 64 * KIB, 64 * KIB)
  const cached = store.open(space)
  const recovers = async (): Promise<void> => {
    for (let round = 0; round < 3; round++) assert.equal((await tally(cached, 'sync')).wrong, 0)
    await until('it caches again', async () => (await putAll(cached)) === 30 && (await store.usage()).pieces === 30)
    assert.deepEqual(await tally(cached), { right: 30, wrong: 0, miss: 0 })
  }
  await putAll(cached)
  const busy = { yes: true }
  const load = (async () => {
    while (busy.yes) {
      assert.notEqual(await look(cached, 3), 'wrong')
      await put(cached, 3)
      await sleep(1)
    }
  })()
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  await recovers()
  await rename(folder, `${folder}.old`)
  await recovers()
  await rm(join(folder, 'spaces'), { recursive: true, force: true, maxRetries: 5 })
  await recovers()
  for (const name of ['spaces', 'clients', 'facts', 'evict.lock', 'annexfs-cache']) {
    await rm(join(folder, name), { recursive: true, force: true, maxRetries: 5 })
  }
  await recovers()
  busy.yes = false
  await load
  await until('the marker is back', () => existsSync(join(folder, 'annexfs-cache')))
  await store.close()
  const again = await openStore(t, folder)
  assert.deepEqual(await tally(again.open(space)), { right: 30, wrong: 0, miss: 0 })
})

test('goal 18: another folder is put in its place: it is left alone until it is gone', async (t) => {
  const folder = join(await cacheFolder(t), 'cache')
  const store = await openStore(t, folder)
  const cached = store.open(sampleSpace('foreign', 10 * 64 * KIB, 64 * KIB))
  await putAll(cached)
  await rename(folder, `${folder}.old`)
  await mkdir(folder)
  writeFileSync(join(folder, 'thesis.txt'), 'mine')
  await until('it notices', async () => !(await put(cached, 0)))
  await sleep(1200)
  assert.equal((await tally(cached)).wrong, 0)
  await rm(folder, { recursive: true })
  await until('it caches again', async () => (await putAll(cached)) === 10)
})

test(
  'goal 18: chmod 000 of the live cache: no wrong byte, and it recovers',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const parent = await cacheFolder(t)
    const nobody = { uid: 65_534, gid: 65_534 }
    chownSync(parent, nobody.uid, nobody.gid)
    chmodSync(parent, 0o700)
    const folder = join(parent, 'cache')
    const load = startLoad(
      t,
      {
        folder,
        limitBytes: 4 * MIB,
        milliseconds: 60_000,
        seed: seedFor(t),
        spaces: 300,
        pieces: 3,
        pieceLength: 16 * KIB,
        every: 100,
      },
      nobody,
    )
    await load.ready
    await until('it caches', () => (load.figures()?.stored ?? 0) > 50)
    chmodSync(folder, 0)
    await until('it cannot cache', () => (load.figures()?.refused ?? 0) > 50).catch(async (error: unknown) => {
      throw new Error(`${JSON.stringify(load.figures())} ${String(await load.ended)}`, { cause: error })
    })
    chmodSync(folder, 0o700)
    const before = load.figures()?.stored ?? 0
    await until('it caches again', () => (load.figures()?.stored ?? 0) > before + 50)
    load.child.kill()
    assert.equal(await load.ended, '')
    t.diagnostic(JSON.stringify(load.figures()))
    assert.equal(load.figures()?.wrong, 0)
  },
)

test(
  'goal 18: the disk turns read-only under the live cache: no wrong byte, and it recovers',
  { skip: noDisk },
  async (t) => {
    const disk = new Disk(t, 64)
    disk.mount()
    const store = await openStore(t, disk.folder, { limitBytes: 16 * MIB })
    const cached = store.open(sampleSpace('read-only', 40 * 64 * KIB, 64 * KIB))
    const others = Array.from({ length: 20 }, (_, nth) => store.open(sampleSpace(`other ${nth}`, 64 * KIB, 64 * KIB)))
    assert.equal(await putAll(cached), 40)
    // What a file system does to itself after an error; an orderly remount is refused while files are open for writing.
    execFileSync('mount', ['-o', 'remount,errors=remount-ro', disk.mountPoint])
    writeFileSync(`/sys/fs/ext4/${disk.device}/trigger_fs_error`, 'test')
    await until('writing fails', async () => !(await put(others[0] as (typeof others)[0], 0)))
    const { right, wrong } = await tally(cached, 'sync')
    t.diagnostic(`read-only: ${right} of 40 pieces still served`)
    assert.equal(wrong, 0)
    assert.equal(right, 40)
    disk.unmount('lazily')
    await until('nothing of the old disk is held open any more', () => !disk.isAttached())
    disk.mount()
    await until('it caches again', async () => (await putAll(cached)) === 40 && (await store.usage()).pieces >= 40)
    assert.deepEqual(await tally(cached), { right: 40, wrong: 0, miss: 0 })
  },
)

test(
  'goal 18: an orderly read-only remount of an idle cache: still served, and it recovers',
  { skip: !isRoot && 'needs root' },
  async (t) => {
    const { folder, mountPoint } = await memoryVolume(t, 64)
    const space = sampleSpace('remount', 10 * 64 * KIB, 64 * KIB)
    const first = await openStore(t, folder)
    await putAll(first.open(space))
    await first.close()
    execFileSync('mount', ['-o', 'remount,ro', mountPoint])
    const store = await openStore(t, folder)
    const cached = store.open(space)
    assert.deepEqual(await tally(cached), { right: 10, wrong: 0, miss: 0 })
    const other = store.open(sampleSpace('remount other', 64 * KIB, 64 * KIB))
    assert.equal(await put(other, 0), false)
    assert.deepEqual(await tally(cached, 'sync'), { right: 10, wrong: 0, miss: 0 })
    execFileSync('mount', ['-o', 'remount,rw', mountPoint])
    await until('it caches again', async () => put(other, 0))
  },
)
