import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { spawn } from 'node:child_process'
import { createServer } from 'node:http'
import { rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseKey } from '../../lib/annex/key.js'
import { externalStore, type ExternalOptions } from '../../lib/stores/external.js'
import type { ObjectStore } from '../../lib/stores/store.js'
import { objectName, readObject, toyWorld, within, zombies, type RemoteWorld } from '../support/external/toy.js'
import { measured } from '../support/marks.js'

const MIB = 1024 * 1024
const content = randomBytes(2 * MIB + 321)

/** A repository with the file `f`, which is (only) in the toy remote `toy` too. */
async function given(t: TestContext, type = 'toy', ...settings: string[]): Promise<RemoteWorld> {
  const made = await toyWorld(t, content)
  const { world } = made
  const directory = `directory=${join(world.folder, 'toy')}`
  await world.annex(
    'repo',
    'initremote',
    'toy',
    'type=external',
    `externaltype=${type}`,
    'encryption=none',
    directory,
    ...settings,
  )
  if (settings.length === 0) await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'f')
  await rm(join(world.folder, 'toy', '.log'), { force: true })
  return made
}

async function opened(
  t: TestContext,
  made: RemoteWorld,
  mode: string,
  options: ExternalOptions = {},
): Promise<ObjectStore> {
  const store = await externalStore(await made.context('toy', { mode }), options)
  t.after(() => store.close?.())
  return store
}

for (const type of ['toy', 'toy2', 'toyasync']) {
  test(`content that git-annex stored in an external remote is read (${type})`, async (t) => {
    const made = await given(t, type)
    const store = await opened(t, made, '')
    const name = objectName(made.key)
    const reads = [0, 1000, MIB, 2 * MIB].map(async (start) => {
      const bytes = await readObject(store, name, [start, start + 300])
      assert.ok(bytes.equals(content.subarray(start, start + 300)))
    })
    await Promise.all(reads)
    assert.ok((await readObject(store, name, [0, content.length])).equals(content))
    const notes = await made.notes()
    assert.equal(notes.filter((note) => note.startsWith('retrieve')).length, 1)
    await store.close?.()
    assert.deepEqual(await made.living(), [])
    assert.ok((await made.notes()).includes('end'), 'it was let end by itself')
  })
}

test('several transfers run in one process with ASYNC, in several without', async (t) => {
  for (const type of ['toyasync', 'toy']) {
    await t.test(type, async (t) => {
      const made = await given(t, type)
      const { world } = made
      const others = { g: randomBytes(300_000), h: randomBytes(300_000), i: randomBytes(300_000) }
      await world.addAnnexed('repo', others)
      await world.annex('repo', 'copy', '--quiet', '--to', 'toy')
      await rm(join(world.folder, 'toy', '.log'))
      const store = await opened(t, made, 'slow=0.02')
      await Promise.all(
        Object.entries(others).map(async ([file, bytes]) => {
          const key = parseKey((await world.annex('repo', 'lookupkey', file)).trim())
          assert.ok(key)
          assert.ok((await readObject(store, objectName(key), [0, bytes.length])).equals(bytes))
        }),
      )
      const started = (await made.notes()).filter((note) => note === 'start').length
      assert.ok(type === 'toyasync' ? started === 1 : started >= 2 && started <= 3, `${started} processes`)
    })
  }
})

test('what is not there is undefined; what the program cannot tell, or refuses, is an error that says why', async (t) => {
  const made = await given(t)
  const absent = parseKey('SHA256-s3--00')
  assert.ok(absent)
  const store = await opened(t, made, '')
  assert.equal(await store.open(objectName(absent), AbortSignal.timeout(60_000)), undefined)
  const unsure = await opened(t, made, 'unknown')
  await assert.rejects(unsure.open(objectName(made.key), AbortSignal.timeout(60_000)), {
    code: 'UNAVAILABLE',
    message: /nobody home/,
  })
  const unready = await opened(t, made, 'unready')
  await assert.rejects(unready.open(objectName(made.key), AbortSignal.timeout(60_000)), {
    code: 'UNAVAILABLE',
    message: /the disk is not plugged in/,
  })
})

test('an ordered program gives the beginning while the rest is on its way; an interrupted one is resumed', async (t) => {
  const made = await given(t)
  const store = await opened(t, made, 'ordered,slow=0.05')
  let complete = false
  const all = readObject(store, objectName(made.key), [0, content.length]).finally(() => (complete = true))
  assert.ok((await readObject(store, objectName(made.key), [0, 1000])).equals(content.subarray(0, 1000)))
  assert.equal(complete, false, 'the first bytes came before the last')
  assert.ok((await all).equals(content))

  await rm(join(made.world.folder, 'toy', '.log'))
  const broken = await opened(t, made, 'ordered,resume,crash-once')
  const name = objectName(made.key)
  await assert.rejects(readObject(broken, name, [content.length - 1, content.length]), {
    code: 'UNAVAILABLE',
    message: /ended \(exit code 3\)/,
  })
  assert.ok((await readObject(broken, name, [0, content.length])).equals(content))
  const from = (await made.notes()).filter((note) => note.startsWith('from ')).map((note) => Number(note.slice(5)))
  assert.equal(from[0], 0)
  assert.ok((from[1] ?? 0) >= MIB, `resumed at ${from[1]}`)
})

test('every question of the program is answered, and nothing is written to the repository', async (t) => {
  const made = await given(t)
  const { world, key } = made
  await world.annex('repo', 'wanted', 'toy', 'include=*.x')
  await world.run('repo', 'git', ['annex', 'registerurl', key.raw, `toy:of/${key.raw}`])
  const uuid = await world.git('repo', 'config', 'remote.toy.annex-uuid')
  await world.write('repo', `.git/annex/creds/${uuid}-login`, 'ann\nsecret-in-file\n')
  const before = await world.git('repo', 'rev-parse', 'git-annex')
  const store = await opened(t, made, 'ask')
  assert.ok((await readObject(store, objectName(key), [0, 5])).equals(content.subarray(0, 5)))
  const notes = await made.notes()
  for (const expected of [
    `GETUUID -> '${uuid}'`,
    `GETGITDIR -> '${join(world.folder, 'repo', '.git')}'`,
    `GETGITREMOTENAME -> 'toy'`,
    `GETWANTED -> 'include=*.x'`,
    `GETCREDS login -> 'ann secret-in-file'`,
    `GETCONFIG nothing -> ''`,
    `own -> 'a value'`,
    `more -> 'ann secret-canary'`,
    `state -> ''`,
    `state -> 'a b'`,
    `url -> 'toy:${key.raw}'`,
    `url -> ''`,
  ]) {
    assert.ok(notes.includes(expected), `${expected} in ${notes.join('; ')}`)
  }
  const hashes = await world.run('repo', 'git', [
    'annex',
    'examinekey',
    '--format',
    'dirhash -> ${hashdirmixed}\ndirhash-lower -> ${hashdirlower}',
    key.raw,
  ])
  for (const line of hashes.toString().split('\n')) assert.ok(notes.includes(line.replace('-> ', "-> '") + "'"), line)
  const said = made.said.join('')
  assert.match(said, /an info message/)
  assert.match(said, /a debug message with \*\*\*/)
  assert.doesNotMatch(said, /secret-/)
  assert.equal(await world.git('repo', 'rev-parse', 'git-annex'), before)
})

test('files of an exported tree are read by their paths', async (t) => {
  const made = await given(t, 'toy', 'exporttree=yes')
  const { world, key } = made
  await world.run('repo', 'mkdir', ['-p', 'a b'])
  await world.git('repo', 'mv', 'f', 'a b/ü.bin')
  await world.git('repo', 'commit', '-q', '-m', 'move')
  await world.annex('repo', 'export', '--quiet', 'main', '--to', 'toy')
  const store = await opened(t, made, '')
  const name = { ...objectName(key), path: Buffer.from('a b/ü.bin') }
  assert.ok((await readObject(store, name, [0, content.length])).equals(content))
  assert.equal(await store.open({ ...name, path: Buffer.from('other') }, AbortSignal.timeout(60_000)), undefined)
})

test('a program that gives URLs is read by ranges', async (t) => {
  const made = await given(t, 'toyurls')
  let sent = 0
  const server = createServer((request, response) => {
    const match = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
    const [start, end] = match === null ? [0, content.length] : [Number(match[1]), Number(match[2]) + 1]
    sent += end - start
    response.writeHead(match === null ? 200 : 206, {
      'content-length': end - start,
      ...(match === null ? {} : { 'content-range': `bytes ${start}-${end - 1}/${content.length}` }),
    })
    response.end(request.method === 'HEAD' ? '' : content.subarray(start, end))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  await writeFile(join(made.world.folder, 'toy', '.url'), `http://127.0.0.1:${port}/`)
  const store = await opened(t, made, 'urls')
  assert.ok((await readObject(store, objectName(made.key), [1000, 5000])).equals(content.subarray(1000, 5000)))
  assert.ok(sent < MIB, `${sent} bytes were sent for 4000`)
  const plain = await opened(t, made, '')
  assert.ok((await readObject(plain, objectName(made.key), [0, content.length])).equals(content))
})

test('goal 27: a program that crashes, floods, lies or never answers costs an error, and is gone within 5 s', async (t) => {
  const made = await given(t)
  const name = objectName(made.key)
  const last = [content.length - 1, content.length] as const
  const cases: readonly (readonly [mode: string, code: string, message: RegExp])[] = [
    ['crash', 'UNAVAILABLE', /ended \(exit code 3\)/],
    ['flood', 'UNAVAILABLE', /a line of more than/],
    ['other-key', 'UNAVAILABLE', /an answer that does not fit/],
    ['nonsense', 'UNAVAILABLE', /an answer that does not fit/],
    ['no-file', 'CORRUPT', /there is no file/],
    ['short', 'CORRUPT', /less than/],
    ['long', 'CORRUPT', /more than/],
    ['wrong', 'CORRUPT', /another hash/],
    ['link', 'FORBIDDEN', /symbolic link/],
    ['endless', 'CORRUPT', /more than/],
    ['hang', 'TIMED_OUT', /did not move for 1500 ms/],
  ]
  for (const [mode, code, message] of cases) {
    await t.test(mode, async (t) => {
      await rm(join(made.world.folder, 'toy', '.log'), { force: true })
      const store = await opened(t, made, mode, { patience: mode === 'hang' ? 1_500 : 20_000 })
      const before = process.memoryUsage().rss
      const started = performance.now()
      await assert.rejects(readObject(store, name, last), { code, message })
      if (['crash', 'flood', 'other-key', 'nonsense', 'endless', 'hang'].includes(mode)) {
        assert.ok(await within(60_000, async () => (await made.living()).length === 0), 'the program is gone')
      }
      measured(t, 'the program is gone after', performance.now() - started, { mark: 5000, alarm: 60_000 })
      assert.ok(process.memoryUsage().rss - before < 64 * MIB, 'memory is bounded')
      await store.close?.()
      assert.deepEqual(await made.living(), [])
      assert.equal(await zombies(), '')
    })
  }
})

test('goal 27: a program that hangs is gone within 5 s of its last reader, with what it started', async (t) => {
  const made = await given(t)
  const store = await opened(t, made, 'hang', { grace: 1_000 })
  const reading = readObject(store, objectName(made.key), [0, 1], AbortSignal.timeout(2_000))
  await assert.rejects(reading, { code: 'TIMED_OUT' })
  assert.ok(await within(60_000, async () => (await made.living()).length === 0))
  const checking = await opened(t, made, 'hang-check')
  await assert.rejects(checking.open(objectName(made.key), AbortSignal.timeout(1_000)), { code: 'TIMED_OUT' })
  assert.ok(await within(60_000, async () => (await made.living()).length === 0))
})

test('a program that never says a word is given up', async (t) => {
  const made = await given(t)
  const { world } = made
  await world.git('repo', 'config', 'remote.toy.annex-externaltype', 'toymute')
  const store = await opened(t, made, '', { patience: 500 })
  await assert.rejects(store.open(objectName(made.key), AbortSignal.timeout(60_000)), {
    code: 'TIMED_OUT',
    message: /was not ready within/,
  })
})

test('no program is run that the user has not configured, or that is no name', async (t) => {
  const made = await given(t)
  const { world } = made
  const type = async (value: string | undefined): Promise<void> => {
    if (value === undefined) await world.git('repo', 'config', '--unset', 'remote.toy.annex-externaltype')
    else await world.git('repo', 'config', 'remote.toy.annex-externaltype', value)
  }
  for (const odd of ['../toy', '-x', 'a b', '', '/bin/sh', 'x\ny']) {
    await type(odd)
    await assert.rejects(externalStore(await made.context('toy')), { code: 'INVALID' }, JSON.stringify(odd))
  }
  await type('nowhere')
  await assert.rejects(externalStore(await made.context('toy')), {
    code: 'UNSUPPORTED',
    message: /git-annex-remote-nowhere is not in the PATH/,
  })
  await type('readonly')
  await assert.rejects(externalStore(await made.context('toy')), { code: 'UNSUPPORTED', message: /URLs/ })
  await type(undefined)
  // The entry in remote.log still says externaltype=toy, and may say anything else.
  await assert.rejects(externalStore(await made.context('toy', { 'annex-externaltype': 'toy' })), {
    code: 'UNSUPPORTED',
    message: /enableremote/,
  })
  await world.git('repo', 'config', '--remove-section', 'remote.toy')
  await assert.rejects(externalStore(await made.context('toy')), { code: 'UNSUPPORTED', message: /enableremote/ })
  assert.deepEqual(await made.notes(), [])
})

test('with ASYNC a transfer that nobody wants leaves the others alone, and the process ends after them', async (t) => {
  const made = await given(t, 'toyasync')
  const { world } = made
  const other = randomBytes(MIB)
  await world.addAnnexed('repo', { g: other })
  await world.annex('repo', 'copy', '--quiet', '--to', 'toy', 'g')
  await rm(join(world.folder, 'toy', '.log'))
  const key = parseKey((await world.annex('repo', 'lookupkey', 'g')).trim())
  assert.ok(key)
  const store = await opened(t, made, 'slow=0.1', { grace: 100 })
  const kept = readObject(store, objectName(key), [0, other.length])
  assert.ok(await within(60_000, async () => (await made.notes()).some((note) => note.startsWith('from'))))
  const unwanted = readObject(store, objectName(made.key), [0, 1], AbortSignal.timeout(700))
  await assert.rejects(unwanted, { code: 'TIMED_OUT' })
  assert.ok((await kept).equals(other))
  assert.ok(await within(60_000, async () => (await made.living()).length === 0))
  assert.equal((await made.notes()).filter((note) => note === 'start').length, 1)
})

test('the program does not outlive a mount that is killed, even when it hangs', async (t) => {
  const made = await given(t)
  const { folder } = made.world
  const holder = fileURLToPath(new URL('../support/external/holder.js', import.meta.url))
  const args = [holder, join(folder, 'repo'), join(folder, 'held'), 'hang,alone', made.key.raw]
  const child = spawn(process.execPath, args, { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  const hangs = async (): Promise<boolean> => (await made.notes()).some((note) => note.startsWith('retrieve'))
  assert.ok(await within(60_000, hangs))
  assert.equal((await made.living()).length, 1)
  child.kill('SIGKILL')
  assert.ok(await within(60_000, async () => (await made.living()).length === 0))
})
