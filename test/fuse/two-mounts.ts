// Mounts two volumes in one process, at the folders it is given: paths are the same in both, what they show is not.
import { mountVolume } from '../../lib/fuse/mount.js'
import { silentLog } from '../../lib/log/log.js'
import { MemoryVolume, type MemorySpec } from './memory-volume.js'

const volumes = process.argv.slice(2).map((mountpoint, nth) => {
  const spec: MemorySpec = Object.fromEntries(
    Array.from({ length: 50 }, (_, file) => [`/folder/file${file}`, { size: 1000 * (nth + 1) + file, seed: nth }]),
  )
  return { mountpoint, volume: new MemoryVolume(spec) }
})
const mounts = await Promise.all(
  volumes.map(({ mountpoint, volume }) =>
    mountVolume(volume, { mountpoint, name: 'annexfs-test', allowOther: false, readTimeout: 20_000, log: silentLog }),
  ),
)
process.on('disconnect', () => {
  void Promise.all(mounts.map((mount) => mount.unmount())).then(() => process.exit(0))
})
process.send?.('ready')
