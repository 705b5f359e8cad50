import { readdirSync } from 'node:fs'
import { targetOf } from './holders.js'

/** The descriptor by which this process serves a mount. libfuse closes it when the kernel has let go of the mount. */
export type Device = number

const FOLDER = '/proc/self/fd'

/** Those that are open. */
export function openDevices(): readonly Device[] {
  return readdirSync(FOLDER).map(Number).filter(isOpen)
}

/** False when it was closed: then the mount is gone, whatever lies at its place now. */
export function isOpen(device: Device): boolean {
  return targetOf(`${FOLDER}/${device}`) === '/dev/fuse'
}
