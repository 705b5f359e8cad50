import { AnnexfsError } from '../lib/errors.js'
import { unmountPath } from '../lib/fuse/unmount.js'
import { EXIT } from './exit-codes.js'
import type { Command } from './help.js'

/** `annexfs unmount MOUNTPOINT` */
export const unmountCommand: Command = {
  name: 'unmount',
  summary: 'unmount an annexfs mount, a dead one too',
  usage: ['MOUNTPOINT'],
  description:
    'Unmounts MOUNTPOINT, also while files in it are open, and also when the process that served it has died. ' +
    'Refuses what is not an annexfs mount.',
  options: [],
  async run(given) {
    const [mountpoint, ...rest] = given.positional
    if (mountpoint === undefined || rest.length > 0) throw new AnnexfsError('USAGE', 'unmount wants one MOUNTPOINT')
    await unmountPath(mountpoint)
    return EXIT.ok
  },
}
