import { readdir, readlink } from 'node:fs/promises'
import { systemCode } from '../errors.js'

/** The descriptor by which this process serves a mount. libfuse closes it when the kernel has let go of the mount. */
export type Device = number

const FOLDER = '/proc/self/fd'
const NAME = '/dev/fuse'

/** Those that are open. */
export async function openDevices(): Promise<readonly Device[]> {
  const descriptors = (await readdir(FOLDER)).map(Number)
  const open = await Promise.all(descriptors.map(isOpen))
  return descriptors.filter((_, index) => open[index] === true)
}

/** False when it was closed: then the mount is gone, whatever lies at its place now. */
export async function isOpen(device: Device): Promise<boolean> {
  try {
    return (await readlink(`${FOLDER}/${device}`)) === NAME
  } catch (error) {
    if (systemCode(error) === undefined) throw error
    return false
  }
}
