import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultRun } from '../support/fault-run.js'
import { temporaryFolder } from '../support/temp.js'

const seed = Number(process.env['ANNEXFS_TEST_SEED'] ?? Date.now() % 1_000_000)

for (const hashed of [true, false]) {
  test(
    `goal 1: 50,000 reads under a random schedule of faults, ${hashed ? 'with' : 'without'} piece hashes: no wrong byte`,
    { timeout: 900_000 },
    async (t) => {
      t.diagnostic(`seed ${seed}`)
      const folder = await temporaryFolder(t)
      const { right, failed, faults, fetched } = await faultRun({ seed, reads: 50_000, hashed, folder })
      t.diagnostic(`${right} right, ${failed} failed, ${fetched.toFixed(2)} bytes fetched per byte asked`)
      t.diagnostic([...faults].map(([what, times]) => `${what} ${times}`).join(', '))
      assert.ok(right > 40 * failed, `${right} right, ${failed} failed`)
    },
  )
}
