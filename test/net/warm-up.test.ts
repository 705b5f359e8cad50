import assert from 'node:assert/strict'
import { test } from 'node:test'
import { warmUp } from '../../lib/net/warm-up.js'

test('warming up reads whole answers without a network, and ends', async () => {
  const before = process.getActiveResourcesInfo().filter((name) => /TCP/.test(name)).length
  const alive = setInterval(() => undefined, 1_000)
  try {
    assert.equal(await warmUp(), undefined)
  } finally {
    clearInterval(alive)
  }
  assert.equal(process.getActiveResourcesInfo().filter((name) => /TCP/.test(name)).length, before)
})
