import assert from 'node:assert/strict'
import { test, type TestContext } from 'node:test'
import type { Engine } from '../../lib/engine/engine.js'
import type { OpenFile } from '../../lib/engine/volume.js'
import { textLog } from '../../lib/log/log.js'
import { annexWorld } from '../support/annex.js'
import { engineFor } from '../support/engine.js'
import { askedRange, httpServer } from '../support/http.js'
import { pseudoRandom, until } from '../support/peers.js'

const LIMIT = { timeout: 180_000 }
const KIB = 1024
const PIECE = 128 * KIB
const content = pseudoRandom(8 * PIECE, 'film')

interface World {
  readonly engine: Engine
  readonly lines: string[]
  /** Answers that are held back are given now. */
  readonly release: () => void
}

/** An annexed file at two URLs: one whose server refuses, and one whose server answers when it is released. */
async function slowWorld(t: TestContext, explain: boolean): Promise<World> {
  const world = await annexWorld(t)
  const held: (() => void)[] = []
  let free = false
  const slow = await httpServer(t, (request, response) => {
    const head = { ETag: '"1"', 'Accept-Ranges': 'bytes' }
    const range = askedRange(request, content.length)
    if (request.method === 'HEAD' || range === undefined) {
      response.writeHead(200, { ...head, 'Content-Length': content.length }).end()
      return
    }
    const answer = (): void => {
      const part = content.subarray(range.start, range.end)
      const contentRange = `bytes ${range.start}-${range.end - 1}/${content.length}`
      response.writeHead(206, { ...head, 'Content-Range': contentRange, 'Content-Length': part.length }).end(part)
    }
    if (free) answer()
    else held.push(answer)
  })
  const refusing = await httpServer(t, (request, response) => {
    if (request.method === 'HEAD') response.writeHead(200, { 'Content-Length': content.length }).end()
    else response.writeHead(503).end()
  })
  const repository = await world.repository('a')
  await world.addAnnexed('a', { 'films/a.mkv': content, 'films/again.mkv': content })
  for (const { url } of [slow, refusing]) {
    await world.annex(
      'a',
      'registerurl',
      (await world.annex('a', 'lookupkey', 'films/a.mkv')).trim(),
      `${url}/x?token=secret`,
    )
  }
  await world.annex('a', 'drop', '--quiet', '--force', '--all')
  const lines: string[] = []
  const log = textLog('info', (line) => lines.push(line))
  const engine = await engineFor(t, repository, { readahead: 0, allowAddresses: ['127.0.0.0/8'], explain, log })
  return {
    engine,
    lines,
    release: () => {
      free = true
      for (const answer of held.splice(0)) answer()
    },
  }
}

async function openAt({ volume }: Engine, path: string): Promise<OpenFile> {
  const signal = AbortSignal.timeout(60_000)
  const node = await volume.lookup(path, signal)
  assert.ok(node !== undefined, path)
  return volume.open(node, path, signal)
}

async function read(file: OpenFile, offset: number, length: number): Promise<void> {
  const own = Buffer.alloc(length)
  const result = await file.read(offset, length, own, AbortSignal.timeout(60_000))
  const bytes = typeof result === 'number' ? own.subarray(0, result) : Buffer.from(result)
  assert.ok(bytes.equals(content.subarray(offset, offset + length)))
}

const KEY = String.raw`SHA256E-s1048576--[0-9a-f]{64}\.mkv`
const WEB = String.raw`web \(http://127\.0\.0\.1:\d+/x\?… \w+\)`

test(
  'reads of a file that wait long are one line, with path, key, bytes, pieces and what each source said',
  LIMIT,
  async (t) => {
    const { engine, lines, release } = await slowWorld(t, false)
    const one = await openAt(engine, '/films/a.mkv')
    const two = await openAt(engine, '/films/again.mkv')
    // As the kernel does it: a large read in parts, and another program that reads the same content.
    const reads = [read(one, 3 * PIECE, PIECE), read(one, 4 * PIECE, PIECE), read(two, 4 * PIECE, 64 * KIB)]
    await until('it says that it waits', () => lines.length > 0)
    release()
    await Promise.all(reads)
    assert.equal(lines.length, 1, lines.join(''))
    const line = new RegExp(
      `^annexfs: reading /films/a\\.mkv and /films/again\\.mkv \\(${KEY}\\) bytes 384KiB-640KiB waits for pieces 3 to 4: ` +
        `.*${WEB}: asked \\d\\.\\d s ago, 0 of 131072 bytes, nothing for .*; ${WEB}: .*\\(waited=\\d\\.\\d s\\)\n$`,
    )
    assert.match(lines[0] ?? '', line)
    assert.ok(!lines.join('').includes('secret'))
    one.close()
    two.close()
  },
)

test('--explain tells of a read that had to wait once it has its bytes, and of none that had not', LIMIT, async (t) => {
  const { engine, lines, release } = await slowWorld(t, true)
  const file = await openAt(engine, '/films/a.mkv')
  const reads = [read(file, 0, PIECE), read(file, PIECE, PIECE)]
  const over = Promise.all(reads)
  // More than what is noticed, less than what is slow.
  setTimeout(release, 400)
  await over
  await read(file, 0, 1000)
  // On a machine that stalls it may have been slow, too, and then that was said before.
  const told = (): readonly string[] => lines.filter((line) => line.includes(' waited for '))
  await until('it is told', () => told().length > 0)
  assert.equal(told().length, 1, lines.join(''))
  const line = new RegExp(
    `^annexfs: reading /films/a\\.mkv \\(${KEY}\\) bytes 0-256KiB waited for pieces 0 to 1: ` +
      `.*${WEB}: brought it \\d\\.\\d s after it was asked.*; ${WEB}: .*\\(waited=\\d\\.\\d s\\)\n$`,
  )
  assert.match(told()[0] ?? '', line)
  file.close()
})
