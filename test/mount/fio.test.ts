import assert from 'node:assert/strict'
import { test } from 'node:test'
import { mountSession } from '../support/session.js'
import { ENGINES, fioSet, fioVerify, verifyByAllEngines } from './fio.js'

const LIMIT = { timeout: 180_000 }

test('goal 2: preflight: fio finds one flipped bit of a source, by every engine', LIMIT, async (t) => {
  const set = await fioSet(t, { files: 2, sizeMiB: 4, damage: 1 })
  const mount = await mountSession(t, [set.repository])
  for (const engine of ENGINES) {
    const { code, stderr, stdout } = await fioVerify(set, mount.path, engine, 'read')
    assert.notEqual(code, 0, `${engine[0]} did not look: ${stdout.toString()}`)
    assert.match(stderr, /verify|crc32c/, engine[0])
  }
})

test(
  'goal 2: fio verifies four files by psync, mmap, libaio and splice, with a large and a small cache',
  LIMIT,
  async (t) => {
    await verifyByAllEngines(t, await fioSet(t, { files: 4, sizeMiB: 10 }))
  },
)
