import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlClient } from '../lib/control/client.js'
import { controlOf } from '../lib/control/find.js'
import { AnnexfsError, isAnnexfsError } from '../lib/errors.js'
import { findMount, unmountPath } from '../lib/fuse/unmount.js'
import type { Milliseconds } from '../lib/space/space.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'
import { processEnded } from './process-end.js'

/** The process behind a mount closes what it has open within that; the mount is gone in any case. */
const PATIENCE: Milliseconds = 10_000
/** Between the end of its control socket and its own; its number may be one of another machine's. */
const LAST_STEPS: Milliseconds = 1_000

/** `annexfs unmount MOUNTPOINT` */
export const unmountCommand: Command = {
  name: 'unmount',
  summary: 'unmount an annexfs mount, a dead one too',
  usage: ['MOUNTPOINT'],
  description:
    'Unmounts MOUNTPOINT, also while files in it are open, and also when the process that served it has died. Returns ' +
    'when that process has ended, unless files are still open or another user has started it. Refuses what is not an ' +
    'annexfs mount.',
  options: [],
  async run(given) {
    const [mountpoint, ...rest] = given.positional
    if (mountpoint === undefined || rest.length > 0) throw new AnnexfsError('USAGE', 'unmount wants one MOUNTPOINT')
    const before = await findMount(mountpoint)
    const server = before === undefined ? undefined : await serverOf(before.mountpoint)
    try {
      const inUse = await unmountPath(mountpoint)
      // Of mounts on top of each other only one answers for the mount point.
      const isLast = (await findMount(mountpoint)) === undefined
      if (server !== undefined && isLast && !inUse) await serverEnded(server)
    } finally {
      server?.control.close()
    }
    return EXIT.ok
  },
}

interface Server {
  readonly control: ControlClient
  readonly pid: number
}

/** Who serves the mount, if it can be asked: another user's, or one that hangs, is unmounted all the same. */
async function serverOf(mountpoint: string): Promise<Server | undefined> {
  let control: ControlClient | undefined
  try {
    control = await controlOf(mountpoint)
    const hello = await control.request('hello', {}, { signal: AbortSignal.timeout(LAST_STEPS) })
    const pid = typeof hello === 'object' && hello !== null && 'pid' in hello ? Number(hello.pid) : NaN
    if (Number.isSafeInteger(pid) && pid > 0) return { control, pid }
  } catch (error) {
    if (!isAnnexfsError(error)) throw error
  }
  control?.close()
  return undefined
}

async function serverEnded({ control, pid }: Server): Promise<void> {
  const patience = new AbortController()
  await Promise.race([
    control.ended.then(() => processEnded(pid, LAST_STEPS)),
    sleep(PATIENCE, undefined, { signal: patience.signal }),
  ])
  patience.abort()
}
