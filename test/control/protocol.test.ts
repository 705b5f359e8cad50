import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { ControlClient } from '../../lib/control/client.js'
import { ensureControlFolder } from '../../lib/control/folder.js'
import { Lines } from '../../lib/control/lines.js'
import { LONGEST_REQUEST, type Method } from '../../lib/control/protocol.js'
import { startControl } from '../../lib/control/server.js'
import { AnnexfsError, isAnnexfsError } from '../../lib/errors.js'
import { silentLog } from '../../lib/log/log.js'
import { until } from '../support/peers.js'
import { temporaryFolder } from '../support/temp.js'

const LIMIT = { timeout: 180_000 }

/** Until the client gives up. */
const forever: Method = (_params, { signal }) =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })

async function serving(t: TestContext, methods: Record<string, Method>): Promise<string> {
  const folder = ensureControlFolder([join(await temporaryFolder(t), 'annexfs')])
  const control = await startControl({
    folder,
    name: 'x.sock',
    methods: new Map(Object.entries(methods)),
    log: silentLog,
  })
  t.after(() => control.close())
  return control.path
}

async function client(t: TestContext, path: string): Promise<ControlClient> {
  const made = await ControlClient.connect(path)
  t.after(() => made.close())
  return made
}

/** A client that says what it likes. */
async function raw(t: TestContext, path: string): Promise<{ socket: Socket; lines: Record<string, unknown>[] }> {
  const socket = connect({ path, allowHalfOpen: true })
  const lines: Record<string, unknown>[] = []
  let held = ''
  socket.setEncoding('utf8').on('data', (text: string) => {
    const parts = (held + text).split('\n')
    held = parts.pop() ?? ''
    lines.push(...parts.filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>))
  })
  socket.on('error', () => undefined)
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return { socket, lines }
}

const codeOf = (answer: Record<string, unknown> | undefined): unknown =>
  (answer?.['error'] as { code?: unknown } | undefined)?.code

test('requests are answered by their ids, in any order', LIMIT, async (t) => {
  const path = await serving(t, {
    add: (params) => Promise.resolve(Number(params['a']) + Number(params['b'])),
    slow: async () => {
      await sleep(100)
      return 'slow'
    },
    fail: () => Promise.reject(new AnnexfsError('CORRUPT', 'wrong bytes')),
    crash: () => Promise.reject(new TypeError('a fault of ours')),
  })
  const { socket, lines } = await raw(t, path)
  socket.write('{"id":1,"method":"slow"}\n{"id":"two","method":"add","params":{"a":1,"b":2}}\n')
  socket.write('{"id":3,"method":"fail"}\n\n{"id":4,"method":"crash","params":{}}\n{"id":5,"method":"nothing"}\n')
  await until('all are answered', () => lines.length === 5)
  const byId = new Map(lines.map((line) => [line['id'], line]))
  assert.equal(byId.get('two')?.['result'], 3)
  assert.deepEqual(byId.get(3)?.['error'], { code: 'CORRUPT', message: 'wrong bytes' })
  assert.equal(codeOf(byId.get(4)), 'SYSTEM')
  assert.equal(codeOf(byId.get(5)), 'UNSUPPORTED')
  assert.equal(lines.at(-1)?.['id'], 1, 'the slow one came last')
})

test('what is no request is refused with a reason, and the client may go on', LIMIT, async (t) => {
  const path = await serving(t, { who: () => Promise.resolve('me') })
  const { socket, lines } = await raw(t, path)
  const bad = ['x', '[]', 'null', '7', '{}', '{"id":1.5,"method":"who"}', '{"id":{},"method":"who"}', '{"id":1}']
  bad.push('{"id":1,"method":7}', '{"id":1,"method":"who","params":[]}', `{"id":"${'i'.repeat(200)}","method":"who"}`)
  for (const line of bad) socket.write(`${line}\n`)
  socket.write('{"id":99,"method":"who"}\n')
  await until('all are answered', () => lines.length === bad.length + 1)
  for (const [index] of bad.entries()) assert.equal(codeOf(lines[index]), 'INVALID', bad[index])
  assert.equal(lines.at(-1)?.['result'], 'me')
  socket.write('{"id":1,"method":"__proto__"}\n{"id":2,"method":"constructor"}\n')
  await until('these too', () => lines.length === bad.length + 3)
  assert.deepEqual(lines.slice(-2).map(codeOf), ['UNSUPPORTED', 'UNSUPPORTED'])
})

test('a line without an end is refused, and takes no memory', LIMIT, async (t) => {
  const path = await serving(t, { who: () => Promise.resolve('me') })
  const { socket, lines } = await raw(t, path)
  const closed = once(socket, 'end')
  const piece = 'x'.repeat(16 * 1024)
  for (let sent = 0; sent < 4 * LONGEST_REQUEST; sent += piece.length) socket.write(piece)
  await closed
  assert.deepEqual(lines.map(codeOf), ['INVALID'])
  const other = await client(t, path)
  assert.equal(await other.request('who', {}), 'me')
})

test('one client cannot have any number of requests running', LIMIT, async (t) => {
  const path = await serving(t, { forever })
  const { socket, lines } = await raw(t, path)
  for (let id = 0; id < 40; id++) socket.write(`{"id":${id},"method":"forever"}\n`)
  await until('the last are refused', () => lines.length === 24)
  assert.ok(lines.every((line) => codeOf(line) === 'INVALID'))
  socket.write('{"id":5,"method":"forever"}\n')
  await until('an id is taken', () => lines.length === 25)
})

test('what a client asked for ends when it cancels, and when it goes', LIMIT, async (t) => {
  let running = 0
  const path = await serving(t, {
    forever: async (params, context) => {
      running++
      try {
        return await forever(params, context)
      } finally {
        running--
      }
    },
  })
  const one = await client(t, path)
  const stop = new AbortController()
  const asked = one.request('forever', {}, { signal: stop.signal })
  await until('it runs', () => running === 1)
  stop.abort()
  await assert.rejects(asked, (error) => isAnnexfsError(error, 'ABORTED'))
  await until('it has ended', () => running === 0)
  const lost = one.request('forever', {})
  await until('it runs again', () => running === 1)
  one.close()
  await assert.rejects(lost, (error) => isAnnexfsError(error, 'UNAVAILABLE'))
  await until('it has ended again', () => running === 0)
})

test('a client that has said all it will is answered still', LIMIT, async (t) => {
  const path = await serving(t, {
    slow: async () => {
      await sleep(50)
      return 'late'
    },
  })
  const { socket, lines } = await raw(t, path)
  const ended = once(socket, 'end')
  socket.end('{"id":1,"method":"slow"}\n')
  await ended
  assert.deepEqual(lines, [{ id: 1, result: 'late' }])
})

test('a client that does not read misses news, and is dropped before it takes memory', LIMIT, async (t) => {
  let events = 0
  const big = 'x'.repeat(1024 * 1024)
  const path = await serving(t, {
    news: async (_params, { signal, event }) => {
      while (!signal.aborted) {
        event(big)
        events++
        await sleep(1)
      }
      return 'over'
    },
    big: () => Promise.resolve(big),
  })
  const slow = connect(path)
  t.after(() => slow.destroy())
  slow.on('error', () => undefined)
  slow.pause()
  slow.write('{"id":1,"method":"news"}\n')
  await until('many were told', () => events > 200)
  assert.ok(process.memoryUsage().arrayBuffers < 200 * 1024 * 1024)
  const greedy = connect(path)
  t.after(() => greedy.destroy())
  greedy.on('error', () => undefined)
  greedy.pause()
  const closed = new Promise((resolve) => greedy.once('close', resolve))
  for (let id = 0; id < 60; id++) {
    greedy.write(`{"id":${id},"method":"big"}\n`)
    await sleep(1)
  }
  greedy.resume()
  await closed
  const other = await client(t, path)
  assert.equal(((await other.request('big', {})) as string).length, big.length, 'others are served')
})

test('more clients than there is room for are turned away, and those there are served', LIMIT, async (t) => {
  const path = await serving(t, { who: () => Promise.resolve('me') })
  const one = await client(t, path)
  const sockets = Array.from({ length: 200 }, () => connect(path).on('error', () => undefined))
  t.after(() => sockets.forEach((socket) => socket.destroy()))
  await until('some were turned away', () => sockets.filter((socket) => socket.destroyed || socket.closed).length >= 70)
  assert.equal(await one.request('who', {}), 'me')
})

test('lines come out whole however they were cut', () => {
  const text = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }).map((line) => line.replaceAll('\n', '')))
  fc.assert(
    fc.property(text, fc.array(fc.nat(20)), (wanted, cuts) => {
      const bytes = Buffer.from(wanted.map((line) => `${line}\n`).join(''))
      const lines = new Lines(10_000)
      const got: string[] = []
      let at = 0
      for (const cut of [...cuts, bytes.length]) {
        got.push(...(lines.add(bytes.subarray(at, at + cut)) ?? ['too long']))
        at += cut
      }
      assert.deepEqual(got, wanted)
    }),
  )
  const short = new Lines(3)
  assert.deepEqual(short.add(Buffer.from('abc\nde')), ['abc'])
  assert.equal(short.add(Buffer.from('fg')), undefined)
  assert.equal(new Lines(3).add(Buffer.from('abcd\n')), undefined)
})
