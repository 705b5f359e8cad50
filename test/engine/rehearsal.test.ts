import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { rehearseReading } from '../../lib/engine/rehearsal.js'

test('a rehearsal reads through all layers without a network, and ends', async () => {
  const sockets = (): number => process.getActiveResourcesInfo().filter((name) => /TCP|Pipe/.test(name)).length
  const [before, files] = [sockets(), (await readdir('/proc/self/fd')).length]
  // Its timers keep no process alive.
  const alive = setInterval(() => undefined, 1_000)
  try {
    assert.equal(await rehearseReading(), undefined)
  } finally {
    clearInterval(alive)
  }
  assert.equal(sockets(), before)
  assert.equal((await readdir('/proc/self/fd')).length, files)
})
