import { dirname } from 'node:path'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Volume } from '../engine/volume.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { BackgroundLimit, FIXED } from './background-limit.js'
import {
  ensureControl,
  isConnected,
  openAbort,
  openMaxBackground,
  raiseReadAhead,
  type MaxBackground,
} from './control.js'
import { isOpen, openDevices } from './device.js'
import { mountOptions } from './mount-options.js'
import { isAnnexfsMount, mountAt, mountTable, type MountEntry } from './mount-table.js'
import { findMountpoint, type Mountpoint } from './mountpoint.js'
import { createNative, type NativeFuse } from './native.js'
import { Operations } from './operations.js'
import { detach, folderId, presentEntry } from './unmount.js'

export { insideMount } from './inside.js'
export { mountTable } from './mount-table.js'
export { recoverStaleMount } from './stale.js'
export { unmountPath } from './unmount.js'

export interface MountOptions {
  /** An existing folder. */
  readonly mountpoint: string
  /** Shown as the source of the mount, by `mount` and `df`. */
  readonly name: string
  /** Other users may read it; not for root only if /etc/fuse.conf says user_allow_other. */
  readonly allowOther: boolean
  /** The longest that a read, or anything else, may take. */
  readonly readTimeout: Milliseconds
  readonly log: Log
  /** Kernel read-ahead for sequential readers, in KiB; takes effect as root only. Default 1024. */
  readonly readAheadKiB?: number
}

export interface MountStats {
  readonly openFiles: number
  readonly waitingReads: number
  /** Reads whose bytes came too late and were dropped. */
  readonly lateReads: number
  /** Threads of libfuse so far; each leaves some 400 bytes behind. */
  readonly threadsEver: number
}

export interface Mounted {
  /** The folder it is mounted on: absolute, without symbolic links. */
  readonly mountpoint: string
  /** Resolves when it is unmounted, by whomever. */
  readonly closed: Promise<void>
  /**
   * Fails all reads that wait, and unmounts: within 10 s, whatever readers do.
   * @throws AnnexfsError SYSTEM when the mount cannot be taken out of the mount table.
   */
  unmount(): Promise<void>
  stats(): MountStats
}

/** libfuse and the kernel shake hands in a few milliseconds. */
const START_TIMEOUT: Milliseconds = 10_000
/** How soon an unmount by somebody else is noticed. */
const WATCH_INTERVAL: Milliseconds = 500
/** Measured: sequential reads gain up to 1 MiB, and nothing after that. */
const READ_AHEAD_KIB = 1024

/**
 * Mounts `volume`, read-only. The process must never touch its own mount (see {@link insideMount}), and should have a
 * UV_THREADPOOL_SIZE of 16 or so. Does not close the volume.
 * @throws AnnexfsError NOT_FOUND, NOT_A_DIRECTORY, INVALID (mount point), SYSTEM (FUSE is missing or refuses).
 */
export async function mountVolume(volume: Volume, options: MountOptions): Promise<Mounted> {
  const { log } = options
  const mountpoint = await findMountpoint(options.mountpoint)
  if (!mountpoint.empty) log.info('the mount hides what is in its folder', { mountpoint: mountpoint.path })
  const controlled = await ensureControl(log)
  let background: MaxBackground | undefined
  const limit = new BackgroundLimit(
    async (count) => (await background?.set(count)) ?? false,
    (requests) => background?.wake(requests),
  )
  const operations = new Operations(volume, {
    readTimeout: options.readTimeout,
    allowOther: options.allowOther,
    log,
    gauge: limit,
  })
  const text = mountOptions({
    name: options.name,
    allowOther: options.allowOther,
    nonEmpty: !mountpoint.empty,
    maxBackground: FIXED,
  })
  const others = openDevices()
  const native = createNative(mountpoint.path, text, operations.handlers)
  const entry = await start(native.fuse, mountpoint, options.allowOther)
  const device = openDevices().find((one) => !others.includes(one))
  const parent = await folderId(dirname(entry.mountpoint))
  /** The kernel gives all that the mount table says of this mount to the next one that is made at its place. */
  const isHeld = (): boolean => device === undefined || isOpen(device)
  const present = async (): Promise<MountEntry | undefined> => (isHeld() ? presentEntry(entry, parent) : undefined)
  if (controlled) {
    background = await openMaxBackground(entry.device, log)
    await limit.begin()
  }
  await raiseReadAhead(entry.device, options.readAheadKiB ?? READ_AHEAD_KIB, log)
  log.debug('mounted', { mountpoint: mountpoint.path, options: text, device: entry.device })

  const isServed = async (): Promise<boolean | undefined> => (isHeld() ? isConnected(entry.device) : false)

  let finish: () => void = () => undefined
  const closed = new Promise<void>((resolve) => {
    finish = resolve
  })
  let over = false
  const end = async (): Promise<void> => {
    if (over) return
    over = true
    clearInterval(watch)
    operations.stop()
    limit.stop()
    operations.closeAll()
    await background?.close()
    await letGo(native.fuse, log)
    finish()
  }
  let looking = false
  const look = async (): Promise<void> => {
    if (over || looking) return
    looking = true
    try {
      if ((await present()) !== undefined) return
      // After `umount -l` files may still be open, and are served to their end.
      if (operations.stats().openFiles > 0 && (await isServed()) !== false) return
      await end()
    } catch (error) {
      log.debug('the mount table cannot be read', { reason: reasonOf(error) })
    } finally {
      looking = false
    }
  }
  const watch = setInterval(() => void look(), WATCH_INTERVAL)
  watch.unref()

  const takeDown = async (): Promise<void> => {
    operations.stop()
    // Opened before it is looked whether we are still mounted: so it is surely ours.
    const abort = await openAbort(entry.device, log)
    let ours: MountEntry | undefined
    try {
      ours = await present()
      if (ours !== undefined && (await detach(ours))) await abort?.now()
    } catch (error) {
      // What still waits in the kernel is failed, even where the mount cannot be taken away.
      if (ours !== undefined) await abort?.now()
      throw error
    } finally {
      await abort?.close()
      await end()
    }
  }
  let down: Promise<void> | undefined
  return {
    mountpoint: mountpoint.path,
    closed,
    unmount: () => (down ??= takeDown()),
    stats: () => ({ ...operations.stats(), threadsEver: native.threadsEver() }),
  }
}

async function start(fuse: NativeFuse, mountpoint: Mountpoint, allowOther: boolean): Promise<MountEntry> {
  let timer: NodeJS.Timeout | undefined
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`no handshake within ${START_TIMEOUT} ms`)), START_TIMEOUT)
      fuse.open((error) => (error ? reject(error) : resolve()))
    })
  } catch (error) {
    await clearLeftover(mountpoint.path)
    const other =
      allowOther && process.getuid?.() !== 0 ? ' (allow_other needs user_allow_other in /etc/fuse.conf)' : ''
    throw new AnnexfsError(
      'SYSTEM',
      `cannot mount on ${mountpoint.path}: ${reasonOf(error)}${other}. Run \`annexfs doctor\` to see what is missing.`,
      { cause: error },
    )
  } finally {
    clearTimeout(timer)
  }
  const entry = mountAt(await mountTable(), mountpoint.path)
  if (entry !== undefined && isAnnexfsMount(entry)) return entry
  throw new AnnexfsError('SYSTEM', `the mount on ${mountpoint.path} vanished at once; was it unmounted?`)
}

/** A mount that failed half-way: libfuse leaves it in the mount table. */
async function clearLeftover(path: string): Promise<void> {
  const entry = mountAt(await mountTable(), path)
  if (entry !== undefined && isAnnexfsMount(entry)) await detach(entry)
}

/** Lets the process end: fuse-native holds the event loop until it is closed. */
async function letGo(fuse: NativeFuse, log: Log): Promise<void> {
  await new Promise<void>((resolve) => {
    fuse.close((error) => {
      if (error) log.debug('fuse-native did not close', { reason: reasonOf(error) })
      resolve()
    })
  })
}
