import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { bytesOf, gitBehindSsh, named, type GitSshSetup } from './ssh-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(60_000)
const NO_SHELL = { 'git-annex-shell': '#!/bin/sh\nexit 127\n' }

async function everyRange({ store, keys, files }: GitSshSetup, t: TestContext): Promise<void> {
  const seed = randomInt(2 ** 31)
  t.diagnostic(`seed ${seed}`)
  let state = seed
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff
    return state % below
  }
  for (const [name, content] of Object.entries(files)) {
    const key = keys.get(name)
    assert.ok(key)
    const object = await store.open(named(key), soon())
    assert.ok(object, name)
    assert.equal(object.size, content.length)
    const ranges = [{ start: 0, end: content.length }]
    for (let count = 0; count < 12; count++) {
      const start = random(content.length + 1)
      ranges.push({ start, end: start + random(Math.min(content.length - start, 300_000) + 1) })
    }
    for (const range of ranges) {
      const got = await bytesOf(object, range)
      assert.ok(got.equals(content.subarray(range.start, range.end)), `${name}: ${range.start} to ${range.end}`)
    }
    const several = await Promise.all(ranges.map((range) => bytesOf(object, range)))
    several.forEach((got, index) => {
      const range = ranges[index] ?? { start: 0, end: 0 }
      assert.ok(got.equals(content.subarray(range.start, range.end)), `${name} at once`)
    })
    object.close?.()
  }
  const first = keys.get('one.bin')
  assert.ok(first)
  const absent = { ...first, raw: 'SHA256E-s1--absent', backend: 'SHA256E', name: 'absent' }
  assert.equal(await store.open(named(absent), soon()), undefined)
}

for (const bare of [false, true]) {
  const kind = bare ? 'bare' : 'with a work tree'
  test(`a repository ${kind} over git-annex-shell: every range is the source's`, { timeout: 180_000 }, async (t) => {
    await everyRange(await gitBehindSsh(t, { bare }), t)
  })
  test(`a repository ${kind} over git-annex-shell and sftp`, { timeout: 180_000 }, async (t) => {
    await everyRange(await gitBehindSsh(t, { bare, sftp: true }), t)
  })
  test(`a repository ${kind} without git-annex-shell: over sftp`, { timeout: 180_000 }, async (t) => {
    await everyRange(await gitBehindSsh(t, { bare, programs: NO_SHELL, sftp: true }), t)
  })
  test(`a repository ${kind} without git-annex-shell and sftp: through a shell`, { timeout: 180_000 }, async (t) => {
    await everyRange(await gitBehindSsh(t, { bare, programs: NO_SHELL, sftp: false }), t)
  })
}

test(
  'objects are read over sftp where the host offers it, unless they may be edited',
  { timeout: 180_000 },
  async (t) => {
    const { world, store, keys, files } = await gitBehindSsh(t, { sftp: true })
    const [key, content] = [keys.get('large.bin'), files['large.bin']]
    assert.ok(key && content)
    const first = await store.open(named(key), soon())
    assert.ok(first)
    assert.ok((await bytesOf(first, { start: 0, end: 1 })).equals(content.subarray(0, 1)))
    // Looked for beside the first reads.
    const object = async (): Promise<number> => (await store.open(named(key), soon()))?.parallel ?? 0
    for (let tries = 0; (await object()) !== 4; tries++) {
      assert.ok(tries < 3_000)
      await sleep(20)
    }
    const before = store.received
    for (let start = 4_000_000; start > 0; start -= 400_000) {
      assert.ok((await bytesOf(first, { start, end: start + 1000 })).equals(content.subarray(start, start + 1000)))
    }
    assert.ok(store.received - before < 100_000)
    await world.annex('source', 'unlock', '--quiet', 'large.bin')
    const path = await world.annex('source', 'contentlocation', key.raw)
    await chmod(join(world.folder, 'source', path), 0o644)
    assert.equal(await object(), 2)
  },
)
