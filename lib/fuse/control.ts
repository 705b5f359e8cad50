import { writeSync } from 'node:fs'
import { open, readFile, stat, writeFile, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { reasonOf, systemCode } from '../errors.js'
import type { Log } from '../log/log.js'
import { mountTable } from './mount-table.js'
import { runCommand } from './run-command.js'

const CONNECTIONS = '/sys/fs/fuse/connections'

/**
 * True when the kernel's control files of FUSE connections are there (fusectl, Documentation/filesystems/fuse.rst).
 * systemd mounts them; elsewhere root does it here, at their usual place, where they stay.
 */
export async function ensureControl(log: Log): Promise<boolean> {
  if (await isControlMounted()) return true
  if (process.getuid?.() !== 0) return false
  const result = await runCommand('mount', ['-i', '-t', 'fusectl', 'fusectl', CONNECTIONS], 3000)
  if (!result.ok) log.debug('the FUSE control files are not available', { reason: result.said })
  return isControlMounted()
}

async function isControlMounted(): Promise<boolean> {
  return (await mountTable()).some((entry) => entry.type === 'fusectl' && entry.mountpoint === CONNECTIONS)
}

/**
 * Whether the kernel still has the connection of `device`; undefined where it does not say. One that is gone sends nothing
 * any more, not even that its files were closed.
 */
export async function isConnected(device: string): Promise<boolean | undefined> {
  try {
    await stat(dirname(controlFile(device, 'waiting')))
    return true
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') return undefined
    return (await isControlMounted()) ? false : undefined
  }
}

/** The means to end one connection: every request that waits then fails with ECONNABORTED. */
export interface Abort {
  /** Does nothing when the connection has gone. */
  now(): Promise<void>
  close(): Promise<void>
}

/**
 * Opens the control file that ends the connection of `device`, while that is mounted. The kernel gives the numbers of
 * devices to the next mount at once: a file that were opened only after unmounting might be another mount's.
 * @returns undefined where that is not allowed.
 */
export async function openAbort(device: string, log: Log): Promise<Abort | undefined> {
  const file = controlFile(device, 'abort')
  try {
    const handle = await open(file, 'w')
    return {
      now: async () => {
        try {
          await handle.write('1')
        } catch (error) {
          log.debug('the FUSE connection could not be ended', { file, reason: reasonOf(error) })
        }
      },
      close: () => handle.close(),
    }
  } catch (error) {
    log.debug('a FUSE control file cannot be opened', { file, reason: reasonOf(error) })
    return undefined
  }
}

/** How many requests that nobody waits for directly (buffered reads above all) may be under way at once in one mount. */
export interface MaxBackground {
  /**
   * The congestion threshold goes with it: above it the kernel stops reading ahead and asks for single pages.
   * @returns false when the kernel did not take it.
   */
  set(count: number): Promise<boolean>
  /**
   * Lets up to so many requests go on that waited for the limit to rise. The kernel wakes one of them when the limit is set,
   * or when a request has ended: reads that hang would keep the others waiting, however high the limit is by then.
   */
  wake(requests: number): void
  close(): Promise<void>
}

/**
 * Opens the two control files of `device`, while that is mounted. They stay open until then: the kernel gives the numbers of
 * devices to the next mount at once, and what is written to their names late would be that mount's.
 * @returns undefined where that is not allowed.
 */
export async function openMaxBackground(device: string, log: Log): Promise<MaxBackground | undefined> {
  const files: FileHandle[] = []
  let now: string | undefined
  const close = async (): Promise<void> => {
    for (const file of files) await file.close()
  }
  try {
    for (const name of ['congestion_threshold', 'max_background'])
      files.push(await open(controlFile(device, name), 'w'))
  } catch (error) {
    log.debug('the FUSE control files cannot be opened', { device, reason: reasonOf(error) })
    await close()
    return undefined
  }
  return {
    set: async (count) => {
      try {
        for (const file of files) await file.write(String(count))
        now = String(count)
        return true
      } catch (error) {
        log.debug('the FUSE control files cannot be written', { device, reason: reasonOf(error) })
        return false
      }
    },
    wake: (requests) => {
      const limit = files.at(-1)
      if (limit === undefined || now === undefined) return
      try {
        // Memory of the kernel, which takes it at once.
        for (let nth = 0; nth < requests; nth++) writeSync(limit.fd, now)
      } catch (error) {
        log.debug('the FUSE control files cannot be written', { device, reason: reasonOf(error) })
      }
    },
    close: async () => {
      now = undefined
      await close()
    },
  }
}

/**
 * Lets the kernel read ahead by `kib` in this mount; only root may. Lifts sequential reads by 2 to 4 times over the
 * kernel's 128.
 */
export async function raiseReadAhead(device: string, kib: number, log: Log): Promise<void> {
  const file = `/sys/class/bdi/${device}/read_ahead_kb`
  try {
    const now = Number(await readFile(file, 'utf8'))
    if (now < kib) await writeFile(file, String(kib))
  } catch (error) {
    log.debug('the read-ahead of the mount stays as it is', { file, reason: reasonOf(error) })
  }
}

function controlFile(device: string, name: string): string {
  return `${CONNECTIONS}/${device.split(':')[1] ?? ''}/${name}`
}
