import assert from 'node:assert/strict'
import { test } from 'node:test'
import { powerLossRound } from '../cache/power.js'
import { seeded, seedFor } from '../cache/support.js'
import { Disk, whyNoDisk } from '../cache/volume.js'

const noDisk = whyNoDisk()
if (noDisk !== undefined) process.stderr.write(`SKIPPED: power loss: ${noDisk}\n`)

test('goal 16: power loss 200 times, without any flush: no wrong byte', { skip: noDisk }, async (t) => {
  const random = seeded(seedFor(t))
  const disk = new Disk(t, 64)
  const total = { right: 0, wrong: 0 }
  for (let round = 0; round < 200; round++) {
    const { right, wrong } = await powerLossRound(disk, random)
    total.right += right
    total.wrong += wrong
  }
  t.diagnostic(`pieces found again: ${JSON.stringify(total)}`)
  assert.equal(total.wrong, 0)
})
