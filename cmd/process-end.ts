import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemCode } from '../lib/errors.js'
import type { Milliseconds } from '../lib/space/space.js'

const LOOK_EVERY: Milliseconds = 50

/** Waits until no process has this number any more; false when one still has after `patience`. */
export async function processEnded(pid: number, patience: Milliseconds): Promise<boolean> {
  const end = performance.now() + patience
  while (isRunning(pid)) {
    if (performance.now() > end) return false
    await sleep(LOOK_EVERY)
  }
  return true
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
  // Of one that has ended the number stays until its parent has asked for it; not every container has one that asks soon.
  return !/^\d+ \(.*\) Z/s.test(statusOf(pid))
}

/** As in proc(5). */
function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return ''
  }
}
