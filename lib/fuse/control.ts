import { readFile, writeFile } from 'node:fs/promises'
import { reasonOf } from '../errors.js'
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

/** Ends the connection: every request that waits fails with ECONNABORTED. False where that is not allowed. */
export async function abortConnection(device: string, log: Log): Promise<boolean> {
  return writeControl(device, 'abort', '1', log)
}

/**
 * How many requests that nobody waits for directly (buffered reads above all) may be under way at once. The congestion
 * threshold goes with it: above it the kernel stops reading ahead and asks for single pages.
 */
export async function setMaxBackground(device: string, count: number, log: Log): Promise<boolean> {
  const congested = await writeControl(device, 'congestion_threshold', String(count), log)
  return congested && (await writeControl(device, 'max_background', String(count), log))
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

async function writeControl(device: string, name: string, value: string, log: Log): Promise<boolean> {
  const minor = device.split(':')[1]
  const file = `${CONNECTIONS}/${minor}/${name}`
  try {
    await writeFile(file, value)
    return true
  } catch (error) {
    log.debug('a FUSE control file cannot be written', { file, reason: reasonOf(error) })
    return false
  }
}
