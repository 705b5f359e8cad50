import { statfs } from 'node:fs/promises'
import type { Bytes } from '../space/space.js'

/** What is free for us on the disk of `folder`. @throws system errors. */
export async function freeSpace(folder: string): Promise<Bytes> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

/** A disk with so little free space that nothing can be cached, whatever is evicted. */
export interface LowDisk {
  readonly free: Bytes
  /** What is to be left free. */
  readonly minFree: Bytes
}
