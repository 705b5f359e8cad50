import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { test } from 'node:test'
import { promisify } from 'node:util'
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

test('the parser that a rehearsal makes is not compiled twice, which would take 35 MB', async () => {
  const module = new URL('../../lib/engine/rehearsal.js', import.meta.url).href
  // Twice, so that there would be time for it.
  const program = `import { rehearseReading } from '${module}'; await rehearseReading(); await rehearseReading()`
  const flags = ['--trace-wasm-compilation-times', '--input-type=module', '--eval', program]
  const { stdout } = await promisify(execFile)(process.execPath, flags, { maxBuffer: 1 << 24 })
  const large = stdout.split('\n').filter((line) => Number(/bodysize (\d+)/.exec(line)?.[1]) > 20_000)
  assert.equal(large.length, 1, `the parser was compiled ${large.length} times:\n${stdout}`)
  assert.match(large[0] ?? '', /Liftoff/)
})
