import { createCipheriv, randomBytes } from 'node:crypto'
import { open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { Bytes } from '../lib/space/space.js'
import type { Lab } from './lab.js'

const CHUNK: Bytes = 4 * 1024 * 1024
const SHARED_MEMORY = '/dev/shm'

/**
 * A file of `length` random bytes named `name` in a folder of its own: in memory where three times as much fits, so that
 * the server's disk is not what is measured, else in the temporary folder.
 */
export async function makeServedFile(lab: Lab, name: string, length: Bytes): Promise<{ folder: string; file: string }> {
  const parent = (await freeIn(SHARED_MEMORY)) > 3 * length ? SHARED_MEMORY : lab.folder
  const folder = await lab.folderFor('served', parent)
  const file = join(folder, name)
  const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16))
  const zeros = Buffer.alloc(CHUNK)
  const handle = await open(file, 'wx')
  try {
    for (let at = 0; at < length; at += CHUNK) {
      await handle.write(cipher.update(zeros.subarray(0, Math.min(CHUNK, length - at))))
    }
  } finally {
    await handle.close()
  }
  return { folder, file }
}

/** Bytes that may still be written in `folder`; 0 where there is no such folder. */
export async function freeIn(folder: string): Promise<Bytes> {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch {
    // Not every system has one.
    return 0
  }
}
