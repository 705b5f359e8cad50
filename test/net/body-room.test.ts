import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { test, type TestContext } from 'node:test'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import { silentLog } from '../../lib/log/log.js'
import { anyAddress } from '../../lib/net/address-policy.js'
import { HttpClient } from '../../lib/net/http-client.js'
import { httpServer } from '../support/http.js'

const MIB = 1024 * 1024
const CONTENT = randomBytes(12 * MIB + 345)

function client(t: TestContext): HttpClient {
  const made = new HttpClient({ policy: anyAddress, log: silentLog })
  t.after(() => made.close())
  return made
}

const soon = (): AbortSignal => AbortSignal.timeout(60_000)

test('chunks of bodies stay as they are, also where many are read at once and the reader takes its time', async (t) => {
  const server = await httpServer(t, (_, response) => response.end(CONTENT))
  const http = client(t)
  await Promise.all(
    Array.from({ length: 6 }, async (_, nth) => {
      const chunks: Uint8Array[] = []
      for await (const chunk of await http.get(server.url, { signal: soon() })) {
        chunks.push(chunk)
        if (nth % 3 === 1 && chunks.length % 8 === 0) await sleep(5)
        if (nth % 3 === 2) await turn()
      }
      assert.ok(Buffer.concat(chunks).equals(CONTENT), `reader ${nth}`)
    }),
  )
})

test('bytes that have a place are given as views of it, the rest as it came', async (t) => {
  const server = await httpServer(t, (_, response) => {
    response.writeHead(206, { 'content-range': `bytes 1000-${CONTENT.length - 1}/${CONTENT.length}` })
    response.end(CONTENT.subarray(1000))
  })
  const placed = Buffer.alloc(5 * MIB)
  const places = [
    { start: 1000, end: 70_000 },
    { start: 70_000, end: 5 * MIB },
  ]
  const room = (at: number): Uint8Array | undefined => {
    const place = places.find(({ start, end }) => at >= start && at < end)
    return place === undefined ? undefined : placed.subarray(at, place.end)
  }
  const range = { start: 1000, end: CONTENT.length }
  const chunks: Uint8Array[] = []
  for await (const chunk of await client(t).get(server.url, { signal: soon(), range, room })) chunks.push(chunk)
  assert.ok(Buffer.concat(chunks).equals(CONTENT.subarray(1000)))
  assert.ok(placed.subarray(1000).equals(CONTENT.subarray(1000, placed.length)))
  const inPlace = chunks.filter((chunk) => chunk.buffer === placed.buffer)
  assert.equal(
    inPlace.reduce((sum, chunk) => sum + chunk.byteLength, 0),
    placed.length - 1000,
  )
})

test('a head that comes byte by byte, or with the body in one go, is understood', async (t) => {
  const body = CONTENT.subarray(0, 300_000)
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nX-Long: ${'x'.repeat(9000)}\r\nX-Last: here\r\n\r\n`
  let slowly = true
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', () => {
      if (!slowly) {
        socket.write(Buffer.concat([Buffer.from(head), body]))
        return
      }
      void (async () => {
        for (const part of [head.slice(0, 5), head.slice(5, 40), head.slice(40, 9000), head.slice(9000)]) {
          socket.write(part)
          await sleep(10)
        }
        socket.write(body)
      })()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const address = server.address()
  assert.ok(address !== null && typeof address === 'object')
  const http = client(t)
  for (slowly of [true, false, true]) {
    const answer = await http.get(`http://127.0.0.1:${address.port}/`, { signal: soon() })
    assert.equal(answer.header('x-last'), 'here')
    const chunks: Uint8Array[] = []
    for await (const chunk of answer) chunks.push(chunk)
    assert.ok(Buffer.concat(chunks).equals(body))
  }
  await http.close()
})
