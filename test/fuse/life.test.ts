import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open, readdir, readFile, stat } from 'node:fs/promises'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openMaxBackground } from '../../lib/fuse/control.js'
import { mountAt, mountTable } from '../../lib/fuse/mount-table.js'
import { silentLog } from '../../lib/log/log.js'
import { measured } from '../support/marks.js'
import { isMountedAt, mountInChild } from '../support/mount.js'
import { until } from '../support/peers.js'
import { bytesOf } from './memory-volume.js'

const MEMORY = new URL('./memory-module.js', import.meta.url)

/** Starts `count` processes that each read one of the files, in one process group; prints when all have begun. */
const HERD = `
import os, sys, time
count, paths = int(sys.argv[1]), sys.argv[2:]
os.setpgid(0, 0)
for number in range(count):
    if os.fork() == 0:
        try:
            fd = os.open(paths[number % len(paths)], os.O_RDONLY)
            while os.read(fd, 65536): pass
        except OSError: pass
        os._exit(0)
print('begun', flush=True)
while True:
    try: os.wait()
    except ChildProcessError: break
`

async function herd(t: TestContext, count: number, paths: readonly string[]): Promise<ChildProcess> {
  const child = spawn('/usr/bin/python3', ['-c', HERD, String(count), ...paths], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  t.after(() => killGroup(child))
  await once(child.stdout, 'data')
  return child
}

function killGroup(leader: ChildProcess): void {
  try {
    process.kill(-(leader.pid ?? 0), 'SIGKILL')
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ESRCH')
  }
}

/** The state letters of all processes in the group. */
async function groupStates(group: number): Promise<readonly string[]> {
  const states: string[] = []
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue
    // It may have ended meanwhile.
    const text = await readFile(`/proc/${name}/stat`, 'latin1').catch(() => '')
    const [state, , pgrp] = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (Number(pgrp) === group && state !== undefined && state !== 'Z') states.push(state)
  }
  return states
}

test(
  'goal 7: 1,000 readers of slow files that are killed are gone within 1 s, and their reads are aborted',
  { timeout: 180_000 },
  async (t) => {
    const spec = Object.fromEntries(
      Array.from({ length: 20 }, (_, n) => [`/slow${n}`, { size: 100_000_000, delay: 'abortable' }]),
    )
    const mount = await mountInChild(t, MEMORY, spec, { readTimeout: 60_000 })
    const paths = Object.keys(spec).map((name) => mount.path + name)
    const readers = await herd(t, 1000, paths)
    const group = readers.pid ?? 0
    const openFiles = async (): Promise<number> => (await mount.command<{ openFiles: number }>('stats')).openFiles
    await until('all files are open', async () => (await openFiles()) === 1000)
    const killed = performance.now()
    killGroup(readers)
    await until('they are gone', async () => (await groupStates(group)).length === 0)
    // Far less than the 60 s that their reads may take.
    measured(t, 'gone after', performance.now() - killed, { mark: 1000, alarm: 20_000 })
    await sleep(500)
    // What the kernel read ahead is answered, and all files are released, by the deadline at the latest.
    assert.ok(await isMountedAt(mount.path))
    assert.equal(await mount.stop(), 0)
  },
)

test(
  'goal 8: a hung source is ETIMEDOUT at the deadline, and 24 hung readers leave other files alone',
  { timeout: 180_000 },
  async (t) => {
    const hung = Object.fromEntries(
      Array.from({ length: 24 }, (_, n) => [`/hung${n}`, { size: 10_000_000, delay: 'never' }]),
    )
    const quick = Object.fromEntries(
      Array.from({ length: 100 }, (_, n) => [`/quick${n}`, { size: 300_000, delay: 1, seed: n }]),
    )
    let ended = 0
    const read = async (path: string): Promise<{ said: string; took: number }> => {
      const began = performance.now()
      const child = spawn('/bin/cat', [path], { stdio: ['ignore', 'ignore', 'pipe'] })
      let said = ''
      child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
      await once(child, 'close')
      ended++
      return { said, took: performance.now() - began }
    }
    const patient = await mountInChild(t, MEMORY, { ...hung, ...quick }, { readTimeout: 120_000 })
    const blocked = Object.keys(hung).map(async (name) => read(patient.path + name))
    const waits = async (): Promise<number> => (await patient.command<{ waitingReads: number }>('stats')).waitingReads
    await until('all of them wait', async () => (await waits()) >= blocked.length)
    let worst = 0
    for (let n = 0; n < 100; n++) {
      const start = performance.now()
      assert.deepEqual(await readFile(`${patient.path}/quick${n}`), bytesOf(n, 0, 300_000))
      worst = Math.max(worst, performance.now() - start)
    }
    assert.equal(ended, 0, 'the readers still hang')
    measured(t, 'slowest of 100 other files:', worst, { mark: 1000, alarm: 30_000 })
    assert.equal(await patient.stop(), 0)
    await Promise.all(blocked)

    const mount = await mountInChild(
      t,
      MEMORY,
      { ...hung, '/one': { size: 10, delay: 'never' } },
      { readTimeout: 3000 },
    )
    const all = await Promise.all([...Object.keys(hung), '/one'].map(async (name) => read(mount.path + name)))
    for (const { said, took } of all) {
      assert.match(said, /Connection timed out/)
      assert.ok(took > 2900, `${took} ms`)
    }
    measured(t, 'ETIMEDOUT after', Math.max(...all.map(({ took }) => took)), { mark: 4000, alarm: 60_000 })
  },
)

test('goal 9: 1,000 late completions are dropped without an exception', { timeout: 180_000 }, async (t) => {
  const spec = Object.fromEntries(
    Array.from({ length: 1000 }, (_, n) => [`/f${n}`, { size: 1000, delay: 2500, seed: n }]),
  )
  const mount = await mountInChild(t, MEMORY, { ...spec, '/good': { size: 1000, seed: 5 } }, { readTimeout: 300 })
  const readers = await herd(
    t,
    1000,
    Object.keys(spec).map((name) => mount.path + name),
  )
  await once(readers, 'exit')
  const late = async (): Promise<number> => (await mount.command<{ lateReads: number }>('stats')).lateReads
  await until('all have come late', async () => (await late()) >= 1000)
  assert.deepEqual(await readFile(`${mount.path}/good`), bytesOf(5, 0, 1000))
  assert.equal(await mount.stop(), 0)
  assert.doesNotMatch(mount.log(), /Error:|detached|ERR_/)
})

test(
  'goal 11: unmounting with 64 blocked readers is done within 10 s and leaves neither mount nor blocked process',
  { timeout: 180_000 },
  async (t) => {
    const spec = Object.fromEntries(
      Array.from({ length: 64 }, (_, n) => [`/f${n}`, { size: 5_000_000, delay: 'never' }]),
    )
    const mount = await mountInChild(t, MEMORY, spec, { readTimeout: 120_000 })
    const readers = await herd(
      t,
      64,
      Object.keys(spec).map((name) => mount.path + name),
    )
    const kept = await open(`${mount.path}/f0`)
    const waits = async (): Promise<number> => (await mount.command<{ waitingReads: number }>('stats')).waitingReads
    await until('all of them wait', async () => (await waits()) >= 64)
    const begun = performance.now()
    assert.equal(await mount.stop(), 0)
    // Half of what their reads may take.
    measured(t, 'unmounted after', performance.now() - begun, { mark: 10_000, alarm: 60_000 })
    assert.equal(await isMountedAt(mount.path), false)
    await until('no reader is left', async () => (await groupStates(readers.pid ?? 0)).length === 0)
    await assert.rejects(kept.read(Buffer.alloc(10), 0, 10, 0))
    // The kernel tells a file system of each close; this one has gone.
    await assert.rejects(kept.close(), { code: 'ENOTCONN' })
  },
)

test(
  'what is told to the kernel of a mount that has ended does not reach the one that got its number',
  { skip: process.getuid?.() === 0 ? false : 'needs root' },
  async (t) => {
    const control = async (path: string): Promise<{ device: string; limit: () => Promise<string> }> => {
      const { device = '' } = mountAt(await mountTable(), path) ?? {}
      const file = `/sys/fs/fuse/connections/${device.split(':')[1]}/max_background`
      return { device, limit: async () => (await readFile(file, 'utf8')).trim() }
    }
    const numbers = new Set<string>()
    // Other mounts of this machine may come in between.
    for (let tries = 0; tries < 20; tries++) {
      const first = await mountInChild(t, MEMORY, {})
      const { device } = await control(first.path)
      numbers.add(device)
      const background = await openMaxBackground(device, silentLog)
      assert.equal(await background?.set(77), true)
      assert.equal(await (await control(first.path)).limit(), '77')
      assert.equal(await first.stop(), 0)
      const second = await mountInChild(t, MEMORY, {})
      const next = await control(second.path)
      await background?.set(99)
      assert.notEqual(await next.limit(), '99')
      await background?.close()
      assert.equal(await second.stop(), 0)
      if (next.device === device) return
    }
    assert.fail(`no number was given twice: ${Array.from(numbers).join(' ')}`)
  },
)

test('a mount that somebody else unmounts ends its process', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 10 } })
  const ended = once(mount.process, 'exit')
  const umount = spawn('umount', [mount.path], { stdio: 'inherit' })
  assert.deepEqual(await once(umount, 'exit'), [0, null])
  assert.deepEqual(await ended, [0, null])
})

test(
  'a mount that is unmounted right after its reader was killed ends its process',
  { timeout: 180_000 },
  async (t) => {
    const mount = await mountInChild(t, MEMORY, { '/f': { size: 100_000_000, delay: 300 } })
    const ended = once(mount.process, 'exit')
    const reader = spawn('/bin/cat', [`${mount.path}/f`], { stdio: 'ignore' })
    while ((await mount.command<{ waitingReads: number }>('stats')).waitingReads === 0) await sleep(20)
    reader.kill('SIGKILL')
    for (let code = 1; code !== 0;) {
      const umount = spawn('umount', [mount.path], { stdio: 'ignore' })
      ;[code] = (await once(umount, 'exit')) as [number]
    }
    assert.deepEqual(await ended, [0, null])
  },
)

test('reads that wait are ended when their file is closed', { timeout: 180_000 }, async (t) => {
  const mount = await mountInChild(t, MEMORY, { '/f': { size: 10_000_000, delay: 'abortable' } })
  const reader = spawn('/bin/cat', [`${mount.path}/f`], { stdio: 'ignore' })
  while ((await mount.command<{ waitingReads: number }>('stats')).waitingReads === 0) await sleep(20)
  reader.kill('SIGKILL')
  await once(reader, 'exit')
  assert.equal((await stat(mount.path)).isDirectory(), true)
})
