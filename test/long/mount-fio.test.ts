import { test } from 'node:test'
import { fioSet, verifyByAllEngines } from '../mount/fio.js'

test('goal 2: fio verifies 1 GiB in four jobs by every engine', { timeout: 1_800_000 }, async (t) => {
  await verifyByAllEngines(t, await fioSet(t, { files: 4, sizeMiB: 256 }))
})
