import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { isAnnexfsError, type ErrorCode } from '../../lib/errors.js'
import type { ByteRange } from '../../lib/space/space.js'
import type { StoredObject } from '../../lib/stores/store.js'
import { measured } from '../support/marks.js'
import { processesOf, type SshdOptions } from '../support/sshd.js'
import { bytesOf, gitBehindSsh, named, type GitSshSetup } from './ssh-world.js'

const MIB = 1024 * 1024
const soon = (): AbortSignal => AbortSignal.timeout(60_000)
const NO_SHELL = { 'git-annex-shell': '#!/bin/sh\nexit 127\n' }

/** The real one, after a line in a file for each start. */
const COUNTED = {
  'git-annex-shell': `#!/bin/sh
echo started >> "$ANNEXFS_TEST_SERVER/starts"
exec /usr/bin/git-annex-shell "$@"
`,
}

/** A server that greets, answers VERSION and CHECKPRESENT, and on GET runs the Python statements `onGet`. */
function fake(onGet: string, greeting = "say('AUTH-SUCCESS ' + uuid)"): Record<string, string> {
  return {
    'git-annex-shell': `#!/usr/bin/python3
import sys, time
uuid = sys.argv[5] if len(sys.argv) > 5 else 'none'
out = sys.stdout.buffer
def say(text):
    out.write(text.encode() + b'\\n'); out.flush()
${greeting}
for line in sys.stdin:
    words = line.rstrip('\\n').split(' ', 3)
    if words[0] == 'VERSION': say('VERSION 1')
    elif words[0] == 'CHECKPRESENT': say('SUCCESS')
    elif words[0] == 'GET':
        offset = int(words[1]); size = 5 * 1024 * 1024
${onGet
  .split('\n')
  .map((line) => `        ${line}`)
  .join('\n')}
`,
  }
}

async function withLarge(
  t: TestContext,
  options: SshdOptions = {},
): Promise<GitSshSetup & { object: StoredObject; large: Buffer }> {
  const setup = await gitBehindSsh(t, options)
  const key = setup.keys.get('large.bin')
  assert.ok(key)
  const object = await setup.store.open(named(key), soon())
  assert.ok(object)
  const large = setup.files['large.bin']
  assert.ok(large)
  return { ...setup, object, large }
}

const is =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean =>
    codes.some((code) => isAnnexfsError(error, code)) || assert.fail(String(error))

for (const [kind, options, slack] of [
  ['git-annex-shell', {}, 256 * 1024],
  ['sftp', { programs: NO_SHELL, sftp: true }, 16 * 1024],
  ['a shell', { programs: NO_SHELL, sftp: false }, 16 * 1024],
] as const) {
  test(`${kind}: a read of 64 KiB at 4 MiB takes about that from the line`, { timeout: 180_000 }, async (t) => {
    const { object, store, large } = await withLarge(t, options)
    const before = store.received
    const range = { start: 4 * MIB, end: 4 * MIB + 65_536 }
    assert.ok((await bytesOf(object, range)).equals(large.subarray(range.start, range.end)))
    const taken = store.received - before
    t.diagnostic(`${taken} bytes`)
    assert.ok(taken >= 65_536 && taken <= 65_536 + slack, `${taken} bytes`)
  })

  test(
    `${kind}: a connection killed in mid-transfer is an error, never wrong bytes`,
    { timeout: 180_000 },
    async (t) => {
      const { object, large, sshd } = await withLarge(t, options)
      for (let round = 0; round < 3; round++) {
        let at = 0
        const reading = (async () => {
          for await (const bytes of object.read({ start: 0, end: large.length }, { urgency: 'read', signal: soon() })) {
            assert.ok(large.subarray(at, at + bytes.length).equals(bytes), `bytes from ${at}`)
            if (at === 0) {
              for (const pid of await sshd.processes()) if (await isSsh(pid)) process.kill(pid, 'SIGKILL')
            }
            at += bytes.length
          }
        })()
        await assert.rejects(reading, is('UNAVAILABLE'))
        const range = { start: 1000, end: 3 * MIB }
        assert.ok((await retried(object, range)).equals(large.subarray(range.start, range.end)))
      }
    },
  )

  test(`${kind}: a fired signal ends a read at once, and the next read works`, { timeout: 180_000 }, async (t) => {
    const { object, large } = await withLarge(t, options)
    const gone = AbortSignal.abort()
    await assert.rejects(bytesOf(object, { start: 0, end: 10 }, gone), is('ABORTED'))
    for (const after of [0, 5, 30]) {
      const stop = new AbortController()
      setTimeout(() => stop.abort(), after)
      const started = performance.now()
      const failure = await bytesOf(object, { start: 5, end: large.length }, stop.signal).catch(
        (error: unknown) => error,
      )
      measured(t, 'ended after', performance.now() - started, { mark: 2000, alarm: 45_000 })
      if (!Buffer.isBuffer(failure)) assert.ok(isAnnexfsError(failure, 'ABORTED'), String(failure))
      const range = { start: 2 * MIB, end: 2 * MIB + 100 }
      assert.ok((await bytesOf(object, range)).equals(large.subarray(range.start, range.end)))
    }
  })

  test(`${kind}: after close no process is left`, { timeout: 180_000 }, async (t) => {
    const { object, store, large, sshd, context } = await withLarge(t, options)
    const reading = object.read({ start: 0, end: large.length }, { urgency: 'read', signal: soon() })
    const iterator = reading[Symbol.asyncIterator]()
    await iterator.next()
    // Through a shell, one read has to end before the next.
    const other = bytesOf(object, { start: 4 * MIB, end: 4 * MIB + 100 }, AbortSignal.timeout(1_000))
    await other.catch((error: unknown) => assert.ok(isAnnexfsError(error, 'TIMED_OUT'), String(error)))
    await store.close()
    assert.deepEqual(await processesOf(context.folder), [])
    // The other side notices a moment later.
    for (let tries = 0; (await sshd.processes()).length > 0; tries++) {
      assert.ok(tries < 1_200, 'processes are left')
      await sleep(50)
    }
    await assert.rejects(bytesOf(object, { start: 0, end: 10 }), is('UNAVAILABLE'))
  })
}

test(
  'reads that follow each other share one session; the rest of a short one is drained',
  { timeout: 180_000 },
  async (t) => {
    const { object, store, large, sshd, keys, files } = await withLarge(t, { programs: COUNTED })
    for (let start = 0; start < large.length; start += 512 * 1024) {
      const range = { start, end: Math.min(large.length, start + 512 * 1024) }
      assert.ok((await bytesOf(object, range)).equals(large.subarray(range.start, range.end)))
    }
    const some = keys.get('some.bin')
    assert.ok(some)
    const small = await store.open(named(some), soon())
    assert.ok(small)
    for (const start of [50_000, 10, 99_000, 0]) {
      assert.ok(
        (await bytesOf(small, { start, end: start + 1 })).equals(
          files['some.bin']?.subarray(start, start + 1) ?? large,
        ),
      )
    }
    assert.equal(await starts(sshd.folder), 1)
  },
)

test('many reads at once use at most four sessions', { timeout: 180_000 }, async (t) => {
  const { object, large, sshd } = await withLarge(t, { programs: COUNTED })
  const ranges = Array.from({ length: 24 }, (_, index) => ({ start: index * 200_000, end: index * 200_000 + 150_000 }))
  const all = await Promise.all(ranges.map((range) => bytesOf(object, range)))
  ranges.forEach((range, index) => assert.ok(all[index]?.equals(large.subarray(range.start, range.end))))
  assert.ok((await starts(sshd.folder)) <= 12, 'sessions are used again')
  const sessions = (await sshd.processes()).map(async (pid) =>
    readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''),
  )
  const { length } = (await Promise.all(sessions)).filter((title) => title.startsWith('/usr/bin/git-annex-shell'))
  assert.ok(length > 0 && length <= 4, `${length} sessions`)
})

test('content that was changed while it was sent is refused before its last bytes', { timeout: 180_000 }, async (t) => {
  const { object } = await withLarge(t, {
    programs: fake(`say('DATA %d' % (size - offset)); out.write(b'x' * (size - offset)); say('INVALID')`),
  })
  let got = 0
  const reading = (async () => {
    for await (const bytes of object.read({ start: 0, end: 5 * MIB }, { urgency: 'read', signal: soon() }))
      got += bytes.length
  })()
  await assert.rejects(reading, is('CORRUPT'))
  assert.ok(got < 5 * MIB)
})

test('content that went away since it was looked for is NOT_FOUND', { timeout: 180_000 }, async (t) => {
  const { object } = await withLarge(t, { programs: fake(`say('DATA 0'); say('INVALID')`) })
  await assert.rejects(bytesOf(object, { start: 0, end: 100 }), is('NOT_FOUND'))
})

test('hostile answers are bounded errors', { timeout: 180_000 }, async (t) => {
  for (const [name, onGet, ...codes] of [
    ['2^60 bytes', "say('DATA 1152921504606846976'); out.write(b'x' * 10000000)", 'INVALID', 'CORRUPT'],
    ['another size', "say('DATA 5000'); out.write(b'x' * 5000); say('VALID')", 'CORRUPT'],
    ['no number', "say('DATA -5')", 'INVALID'],
    ['garbage', 'out.write(bytes(range(256)) * 1000); out.flush()', 'INVALID'],
    ['a line without end', "out.write(b'x' * 100000000); out.flush()", 'INVALID'],
    ['an error', "say('ERROR no way')", 'UNAVAILABLE'],
    [
      'an early end',
      "say('DATA %d' % (size - offset)); out.write(b'x' * 70000); out.flush(); sys.exit(0)",
      'UNAVAILABLE',
    ],
  ] as readonly [string, string, ...ErrorCode[]][]) {
    await t.test(name, async (t) => {
      const before = process.memoryUsage().rss
      const { object } = await withLarge(t, { programs: fake(onGet) })
      await assert.rejects(bytesOf(object, { start: 0, end: 1 * MIB }), is(...codes))
      assert.ok(process.memoryUsage().rss - before < 128 * MIB)
    })
  }
})

test('a server that hangs ends with the deadline, and holds nothing up', { timeout: 180_000 }, async (t) => {
  for (const [name, onGet, greeting] of [
    ['before the answer', 'time.sleep(1000)'],
    ['in the data', "say('DATA %d' % (size - offset)); out.write(b'x' * 70000); out.flush(); time.sleep(1000)"],
    ['before the greeting', 'pass', 'time.sleep(1000)'],
  ] as readonly [string, string, string?][]) {
    await t.test(name, async (t) => {
      const { store, keys, sshd } = await gitBehindSsh(t, { programs: fake(onGet, greeting) })
      const key = keys.get('large.bin')
      assert.ok(key)
      const started = performance.now()
      const deadline = AbortSignal.timeout(1_500)
      const reading = (async () => {
        const object = await store.open(named(key), deadline)
        assert.ok(object)
        await bytesOf(object, { start: 0, end: MIB }, deadline)
      })()
      await assert.rejects(reading, is('TIMED_OUT'))
      await store.close()
      measured(t, 'ended, with a deadline of 1500 ms, after', performance.now() - started, {
        mark: 10_000,
        alarm: 60_000,
      })
      for (const pid of await sshd.processes()) assert.ok(!(await isSsh(pid)), 'ssh is left')
    })
  }
})

async function isSsh(pid: number): Promise<boolean> {
  const title = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
  return title.startsWith('ssh\0') || /^ssh: .*\[mux\]/.test(title)
}

async function starts(folder: string): Promise<number> {
  return (await readFile(`${folder}/starts`, 'utf8')).trim().split('\n').length
}

/** After a failure the remote rests for a moment. */
async function retried(object: StoredObject, range: ByteRange): Promise<Buffer> {
  for (let tries = 0; ; tries++) {
    try {
      return await bytesOf(object, range)
    } catch (error) {
      if (tries > 100) throw error
      await sleep(200)
    }
  }
}

test(
  'a first read in the middle waits for sftp instead of breaking off what git-annex-shell sends',
  { timeout: 180_000 },
  async (t) => {
    const { object, store, large, sshd } = await withLarge(t, {
      sftp: true,
      programs: {
        'git-annex-shell': '#!/bin/sh\ntee -a "$ANNEXFS_TEST_SERVER/asked" | /usr/bin/git-annex-shell "$@"\n',
      },
    })
    const range = { start: MIB, end: MIB + 65_536 }
    const since = performance.now()
    assert.ok((await bytesOf(object, range)).equals(large.subarray(range.start, range.end)))
    const waited = performance.now() - since
    const asked = await readFile(`${sshd.folder}/asked`, 'utf8')
    t.diagnostic(`${Math.round(waited)} ms, ${store.received} bytes`)
    assert.match(asked, /^CHECKPRESENT /m)
    // Sftp that takes longer than that to be there is not waited for.
    assert.ok(!/^GET /m.test(asked) || waited > 1_000, asked)
  },
)
