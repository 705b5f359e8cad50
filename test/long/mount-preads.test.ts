import assert from 'node:assert/strict'
import { randomInt } from 'node:crypto'
import { test } from 'node:test'
import { preadSet } from '../mount/pread-set.js'
import { randomPreads } from '../mount/preads.js'

for (const options of [
  ['--cache-size', '10GiB'],
  ['--cache-size', '24MiB'],
  ['--cache-size', '256MiB', '--readahead', '0'],
]) {
  test(
    `goal 1: 100,000 random preads, ${options.join(' ')}, give the bytes of the source`,
    { timeout: 1_200_000 },
    async (t) => {
      const { mount, pairs } = await preadSet(t, options)
      const seed = randomInt(2 ** 31)
      t.diagnostic(`seed ${seed}`)
      try {
        assert.equal(await randomPreads(pairs, { seed, count: 100_000 }), 100_000)
      } catch (error) {
        t.diagnostic(mount.log())
        throw error
      }
      assert.equal(await mount.stop(), 0, mount.log())
    },
  )
}
