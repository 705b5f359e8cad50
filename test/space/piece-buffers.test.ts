import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryTier } from '../../lib/cache/memory.js'
import { PieceBuffers } from '../../lib/space/piece-buffers.js'

test('a buffer is used again when its last user has let go of it, and for its own size only', () => {
  const buffers = new PieceBuffers()
  const first = buffers.take(100)
  assert.equal(buffers.keep(first), true)
  buffers.release(first)
  assert.notEqual(buffers.take(100), first)
  buffers.release(first)
  assert.notEqual(buffers.take(99), first)
  assert.equal(buffers.take(100), first)
})

test('bytes of somebody else are neither kept nor given out, and none is given out twice', () => {
  const buffers = new PieceBuffers()
  const foreign = new Uint8Array(100)
  assert.equal(buffers.keep(foreign), false)
  buffers.release(foreign)
  assert.notEqual(buffers.take(100), foreign)
  const own = buffers.take(100)
  buffers.release(own)
  buffers.release(own)
  assert.equal(buffers.keep(own), false, 'nobody uses it')
  assert.equal(buffers.take(100), own)
  assert.notEqual(buffers.take(100), own)
})

test('no more is kept for later than the bound', () => {
  const buffers = new PieceBuffers(250)
  const taken = Array.from({ length: 5 }, () => buffers.take(100))
  for (const bytes of taken) buffers.release(bytes)
  const again = Array.from({ length: 5 }, () => buffers.take(100))
  assert.equal(again.filter((bytes) => taken.includes(bytes)).length, 2)
})

test('the memory tier holds a piece in the buffer that it came in, as long as it has it', () => {
  const buffers = new PieceBuffers()
  const tier = new MemoryTier(200, buffers)
  const came = buffers.take(100)
  came.fill(7)
  tier.set(0, 0, came)
  assert.equal(tier.get(0, 0), came)
  buffers.release(came)
  assert.notEqual(buffers.take(100), came)
  tier.set(0, 1, new Uint8Array(100).fill(8))
  tier.set(0, 2, new Uint8Array(100).fill(9))
  assert.equal(tier.get(0, 0), undefined)
  assert.equal(tier.get(0, 2), came, 'which is used for the next one')
  const own = new Uint8Array(100).fill(1)
  tier.set(0, 3, own)
  own.fill(2)
  assert.ok(
    tier.get(0, 3)?.every((byte) => byte === 1),
    'what is not of the buffers is copied',
  )
})
