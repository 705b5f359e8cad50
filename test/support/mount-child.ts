// The process behind mountInChild: mounts the volume that a module makes, and does as it is told over the channel.
import { mountVolume } from '../../lib/fuse/mount.js'
import type { Volume } from '../../lib/engine/volume.js'
import { textLog } from '../../lib/log/log.js'
import type { ChildStart, VolumeModule } from './mount.js'

const start = JSON.parse(process.argv[2] ?? '{}') as ChildStart
const module = (await import(start.module)) as VolumeModule
const made = await module.makeVolume(start.argument)
const volume: Volume = made.volume
const log = textLog('debug', (line) => process.stderr.write(line))

try {
  const mounted = await mountVolume(volume, {
    mountpoint: start.mountpoint,
    name: start.name,
    allowOther: start.allowOther,
    readTimeout: start.readTimeout,
    log,
  })
  const leave = async (): Promise<void> => {
    await mounted.unmount()
    process.exit(0)
  }
  process.on('SIGTERM', () => void leave())
  process.on('disconnect', () => void leave())
  mounted.closed.then(
    () => process.exit(0),
    () => process.exit(1),
  )
  process.on('message', (message: { id: number; command: string; argument: unknown }) => {
    const answer = async (): Promise<unknown> => {
      if (message.command === 'stats') return { ...mounted.stats(), rss: process.memoryUsage.rss() }
      return made.command?.(message.command, message.argument)
    }
    answer().then(
      (value) => process.send?.({ id: message.id, value }),
      (error: unknown) => process.send?.({ id: message.id, error: String(error) }),
    )
  })
  process.send?.({ ready: true })
} catch (error) {
  process.send?.({ failed: String(error) })
  process.exitCode = 1
  process.disconnect?.()
}
