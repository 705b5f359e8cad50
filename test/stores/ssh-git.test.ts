import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import type { Key } from '../../lib/annex/key.js'
import type { StoreContext } from '../../lib/stores/context.js'
import { gitSshStore, type GitSshStore } from '../../lib/stores/git-ssh.js'
import { annexWorld, type AnnexWorld } from '../support/annex.js'
import { startSshd, type SshdOptions, type TestSshd } from '../support/sshd.js'
import { addOddKey, bytesOf, contents, contextOf, keysOf, named } from './ssh-world.js'

const soon = (): AbortSignal => AbortSignal.timeout(30_000)
const NO_SHELL = { 'git-annex-shell': '#!/bin/sh\nexit 127\n' }

interface Setup {
  readonly world: AnnexWorld
  readonly sshd: TestSshd
  readonly context: StoreContext
  readonly store: GitSshStore
  readonly keys: ReadonlyMap<string, Key>
  readonly files: Readonly<Record<string, Buffer>>
}

/** A repository `there` behind ssh, and one `here` that has it as remote `origin`. */
async function setUp(t: TestContext, options: SshdOptions & { bare?: boolean } = {}): Promise<Setup> {
  const sshd = await startSshd(t, options)
  const before = process.env['GIT_SSH_COMMAND']
  process.env['GIT_SSH_COMMAND'] = sshd.command
  t.after(() => {
    if (before === undefined) delete process.env['GIT_SSH_COMMAND']
    else process.env['GIT_SSH_COMMAND'] = before
  })
  const world = await annexWorld(t)
  await world.repository('source')
  const files = contents()
  await world.addAnnexed('source', files)
  const keys = new Map(await keysOf(world, 'source', Object.keys(files)))
  if (options.bare === true) {
    await world.repository('there', { bare: true })
    await world.git('source', 'remote', 'add', 'there', join(world.folder, 'there'))
    await world.annex('source', 'copy', '--quiet', '--to', 'there', '--all')
  } else {
    for (const raw of ['WORM-s9-m5--a b&c%d:e/f', "WORM-s9-m6--x'y$(z)é.txt", 'URL--http://h/-x?a=%20b']) {
      keys.set(raw, await addOddKey(world, 'source', raw, Buffer.from('odd bytes')))
      files[raw] = Buffer.from('odd bytes')
    }
  }
  const there = options.bare === true ? 'there' : 'source'
  await world.repository('here')
  const uuid = (await world.git(there, 'config', 'annex.uuid')).trim()
  const url = `ssh://${sshd.user}@${sshd.host}:${sshd.port}${join(world.folder, there)}`
  await world.git('here', 'config', 'remote.origin.url', url)
  await world.git('here', 'config', 'remote.origin.annex-uuid', uuid)
  const context = await contextOf(t, world, 'here', 'origin')
  const store = await gitSshStore(context)
  t.after(() => store.close())
  return { world, sshd, context, store, keys, files }
}

async function everyRange({ store, keys, files }: Setup, t: TestContext): Promise<void> {
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
  test(`a repository ${kind} over git-annex-shell: every range is the source's`, { timeout: 120_000 }, async (t) => {
    await everyRange(await setUp(t, { bare }), t)
  })
  test(`a repository ${kind} without git-annex-shell: over sftp`, { timeout: 120_000 }, async (t) => {
    await everyRange(await setUp(t, { bare, programs: NO_SHELL }), t)
  })
  test(`a repository ${kind} without git-annex-shell and sftp: through a shell`, { timeout: 120_000 }, async (t) => {
    await everyRange(await setUp(t, { bare, programs: NO_SHELL, sftp: false }), t)
  })
}
