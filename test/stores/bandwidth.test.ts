import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Bandwidth } from '../../lib/stores/bandwidth.js'

async function* bytes(length: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < length; at += 100_000) yield new Uint8Array(Math.min(100_000, length - at))
}

async function count(source: AsyncIterable<Uint8Array>): Promise<number> {
  let length = 0
  for await (const chunk of source) length += chunk.byteLength
  return length
}

test('all who share a limit together stay below it, and lose nothing', { timeout: 180_000 }, async () => {
  const bandwidth = new Bandwidth(1_000_000)
  const signal = new AbortController().signal
  const started = performance.now()
  const counts = await Promise.all(
    [500_000, 500_000, 500_001].map((length) => count(bandwidth.flow(bytes(length), signal))),
  )
  const took = performance.now() - started
  assert.deepEqual(counts, [500_000, 500_000, 500_001])
  assert.ok(took > 1_100, `1.5 MB at 1 MB/s took ${took} ms`)
})

test('who gives up does not wait for its turn', { timeout: 180_000 }, async () => {
  const bandwidth = new Bandwidth(10)
  const controller = new AbortController()
  const work = count(bandwidth.flow(bytes(100_000), controller.signal))
  controller.abort()
  await assert.rejects(work, { code: 'ABORTED' })
})
