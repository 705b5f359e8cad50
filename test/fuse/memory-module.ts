import type { MadeVolume } from '../support/mount.js'
import { MemoryVolume, type MemoryFile, type MemorySpec } from './memory-volume.js'

/** For mountInChild: a {@link MemoryVolume} that tests change from outside. */
export function makeVolume(argument: unknown): MadeVolume {
  const volume = new MemoryVolume(argument as MemorySpec)
  let changer: NodeJS.Timeout | undefined
  return {
    volume,
    command: (command, value) => {
      if (command === 'set') for (const [path, file] of Object.entries(value as MemorySpec)) volume.set(path, file)
      if (command === 'delete') volume.delete(String(value))
      if (command === 'capacity') volume.capacityValue = value as typeof volume.capacityValue
      if (command === 'many') {
        for (let index = 0; index < Number(value); index++) volume.set(`/many/file-${index}`, { size: index })
      }
      if (command === 'change') {
        clearInterval(changer)
        const { path, every, ...file } = value as MemoryFile & { path: string; every: number }
        let seed = 0
        if (every > 0)
          changer = setInterval(() => volume.set(path, { ...file, seed: (seed = (seed + 1) % 200) }), every)
      }
      const { opens, closes, reads, aborted, lookups } = volume
      return { opens, closes, reads, aborted, lookups }
    },
  }
}
