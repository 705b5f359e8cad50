import assert from 'node:assert/strict'
import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { measured } from '../support/marks.js'
import { randomOf } from '../support/memory.js'
import { isMountedAt } from '../support/mount.js'
import { makeSample, REACH_NGINX } from '../support/sample.js'
import { mountSession } from '../support/session.js'
import { writeTruth } from './pread-set.js'
import { randomPreads } from './preads.js'

/**
 * Kills a mount `rounds` times while it is read, each time at another instant, and starts it again over the dead mount
 * and the same cache. Every byte that is read is compared.
 */
export async function killAgainAndAgain(t: TestContext, rounds: number, seed: number): Promise<void> {
  t.diagnostic(`seed ${seed}`)
  const random = randomOf(seed)
  const sample = await makeSample(t, { small: 1, some: 700_001, more: 3_000_000 })
  const truth = await writeTruth(sample)
  let mount = await mountSession(t, [sample.repository], { options: [...REACH_NGINX, '--cache-size', '8MiB'] })
  let worst = 0
  let good = 0
  for (let round = 0; round < rounds; round++) {
    const pairs = truth.map((pair) => ({ ...pair, mounted: join(mount.path, pair.mounted) }))
    const dead = (error: unknown): boolean => {
      return ['ENOTCONN', 'ECONNABORTED', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')
    }
    const reading = randomPreads(pairs, {
      seed: seed + round,
      count: 400,
      // Only a mount that was killed may fail.
      mayFail: (error) => dead(error) && mount.process.killed,
    })
    const [count] = await Promise.all([reading, sleep(random() * 700).then(() => mount.kill())])
    good += count
    await assert.rejects(lstat(mount.path), { code: 'ENOTCONN' }, 'a dead mount is left')
    const started = Date.now()
    mount = await mount.again()
    worst = Math.max(worst, Date.now() - started)
    await lstat(join(mount.path, 'README'))
  }
  const pairs = truth.map((pair) => ({ ...pair, mounted: join(mount.path, pair.mounted) }))
  assert.equal(await randomPreads(pairs, { seed, count: 2_000 }), 2_000)
  t.diagnostic(`${good} reads between kills`)
  measured(t, 'the slowest start took', worst, { mark: 5000, alarm: 60_000 })
  assert.equal(await mount.stop(), 0, mount.log())
  assert.equal(await isMountedAt(mount.path), false)
}
