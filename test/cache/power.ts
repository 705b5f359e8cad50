import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { execFileSync } from 'node:child_process'
import { openPieceStore } from '../../lib/cache/open.js'
import { silentLog } from '../../lib/log/log.js'
import { KIB, look, MIB, pick, put, sampleSpace, tally } from './support.js'
import type { Disk } from './volume.js'

const SPACES = Array.from({ length: 4 }, (_, nth) => sampleSpace(`power ${nth}`, 60 * 64 * KIB - 9, 64 * KIB))
const LIMIT = 8 * MIB

/** Writes for a while, cuts the power without any flush, mounts again, reads everything: counts of pieces. */
export async function powerLossRound(disk: Disk, random: () => number): Promise<{ right: number; wrong: number }> {
  disk.mount()
  const store = await openPieceStore({
    folder: disk.folder,
    limitBytes: LIMIT,
    minFreeBytes: 0,
    log: silentLog,
    memoryBytes: 0,
  })
  const open = SPACES.map((space) => store.open(space))
  const counts = { right: 0, wrong: 0 }
  for (const cached of open) {
    const { right, wrong } = await tally(cached, 'sync')
    counts.right += right
    counts.wrong += wrong
  }
  const on = { yes: true }
  const writer = async (): Promise<void> => {
    while (on.yes) {
      const cached = open[pick(random, open.length)]
      if (cached === undefined) return
      const index = pick(random, 60)
      await put(cached, index)
      assert.notEqual(await look(cached, index), 'wrong')
      if (random() < 0.01) await cached.drop()
    }
  }
  const writers = [writer(), writer(), writer(), writer()]
  await sleep(pick(random, 250))
  // Some of it reaches the disk, at a moment that has nothing to do with what is being written.
  if (random() < 0.7) execFileSync('sync', ['-f', disk.mountPoint], { timeout: 120_000 })
  await sleep(pick(random, 60))
  disk.cutPower()
  on.yes = false
  await Promise.all(writers)
  await store.close()
  disk.unmount()
  return counts
}
