import { statfs } from 'node:fs/promises'
import { AnnexfsError, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { isAnnexfsMount } from './mount-table.js'
import { detach, findMount } from './unmount.js'

/** A live mount answers for its root at once, from memory. */
const ANSWER_TIMEOUT: Milliseconds = 3000
/** Mounts that died one upon another. */
const MOST_LAYERS = 16

/**
 * Clears what a killed annexfs left at `mountpoint`. Only ever touches mounts of annexfs whose process is gone (the
 * kernel answers ENOTCONN or ECONNABORTED for them). Resolves to whether there was one.
 * @throws AnnexfsError SYSTEM when it cannot be unmounted.
 */
export async function recoverStaleMount(mountpoint: string, log: Log): Promise<boolean> {
  for (let layer = 0; layer < MOST_LAYERS; layer++) {
    const entry = await findMount(mountpoint)
    if (entry === undefined || !isAnnexfsMount(entry) || !(await isDead(entry.mountpoint))) return layer > 0
    await detach(entry)
    log.info('cleared a mount whose process had died', { mountpoint: entry.mountpoint })
  }
  throw new AnnexfsError('SYSTEM', `more than ${MOST_LAYERS} dead mounts lie upon one another at ${mountpoint}`)
}

async function isDead(path: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<boolean>((resolve) => {
    // One that does not answer still has its process: not ours to clear.
    timer = setTimeout(() => resolve(false), ANSWER_TIMEOUT)
  })
  // Not stat: the kernel answers that from memory for a while after the process has died.
  const asked = statfs(path).then(
    () => false,
    (error: unknown) => ['ENOTCONN', 'ECONNABORTED'].includes(systemCode(error) ?? ''),
  )
  try {
    return await Promise.race([asked, patience])
  } finally {
    clearTimeout(timer)
  }
}
