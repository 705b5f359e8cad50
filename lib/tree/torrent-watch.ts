import { join } from 'node:path'
import { watch } from 'chokidar'
import type { Milliseconds } from '../space/space.js'

/** Tells of changes below a folder: of a path that was added, changed or removed, as well as it can. */
export type WatchFolder = (
  folder: string,
  watching: {
    readonly depth: number
    readonly onChange: (path: string) => void
    readonly onError: (error: unknown) => void
  },
) => { close(): Promise<void> }

/** What was written to a new folder before it was watched is looked for once more after this. */
const NEW_FOLDER_SETTLES: Milliseconds = 500

/**
 * Watches with chokidar. Files are left out of its own bookkeeping, as it would watch and stat each by itself: the events
 * of the folders name them already (and what an event means is found by looking). Events may be lost in a burst; whoever
 * uses this looks at everything now and then.
 */
export const watchWithChokidar: WatchFolder = (folder, { depth, onChange, onError }) => {
  const timers = new Set<NodeJS.Timeout>()
  const watcher = watch(folder, {
    ignoreInitial: true,
    followSymlinks: false,
    atomic: false,
    depth,
    ignored: (_path, stats) => stats !== undefined && !stats.isDirectory(),
  })
  watcher.on('raw', (_event, name, details) => {
    const watched = watchedPath(details)
    if (watched !== undefined) onChange(typeof name === 'string' ? join(watched, name) : watched)
  })
  watcher.on('addDir', (path) => {
    onChange(path)
    const timer = setTimeout(() => {
      timers.delete(timer)
      onChange(path)
    }, NEW_FOLDER_SETTLES)
    timers.add(timer)
  })
  watcher.on('error', onError)
  return {
    close: () => {
      for (const timer of timers) clearTimeout(timer)
      return watcher.close()
    },
  }
}

function watchedPath(details: unknown): string | undefined {
  if (typeof details !== 'object' || details === null || !('watchedPath' in details)) return undefined
  return typeof details.watchedPath === 'string' ? details.watchedPath : undefined
}
