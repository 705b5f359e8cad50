import type { Dirent } from 'node:fs'
import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { spaceFolder, SPACES, TRANSFERS } from './folder.js'

/** So many files are looked at at once. */
const TOGETHER = 16

/** The names of all spaces in the cache folder (those that look like names of ours). */
export async function* spaceNames(root: string): AsyncGenerator<string> {
  for (const prefix of await names(join(root, SPACES))) {
    if (!/^[0-9a-f]{2}$/.test(prefix)) continue
    for (const name of await names(join(root, SPACES, prefix))) {
      if (/^[0-9a-f]{64}$/.test(name) && name.startsWith(prefix)) yield name
    }
  }
}

async function names(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

/** True for errors that just say that somebody removed it meanwhile, or that it is no folder of ours. */
export function isGone(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** Bytes on disk that the spaces' files and those of transfers take now. */
export async function allocatedBytes(root: string): Promise<Bytes> {
  let total = await bytesBelow(join(root, TRANSFERS))
  // Paths, not promises: one that failed while the next folder is listed would have nobody who waits for it.
  let batch: string[] = []
  for await (const name of spaceNames(root)) {
    const folder = spaceFolder(root, name)
    batch.push(join(folder, 'index'), join(folder, 'data'))
    if (batch.length < TOGETHER) continue
    total += await sumOf(batch)
    batch = []
  }
  return total + (await sumOf(batch))
}

/** Bytes on disk of all files below `folder`; follows no link. */
async function bytesBelow(folder: string): Promise<Bytes> {
  let total = 0
  let paths: string[] = []
  const folders = [folder]
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await entries(next)) {
      if (entry.isDirectory()) folders.push(join(next, entry.name))
      else if (entry.isFile()) paths.push(join(next, entry.name))
      if (paths.length < TOGETHER) continue
      total += await sumOf(paths)
      paths = []
    }
  }
  return total + (await sumOf(paths))
}

async function entries(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true })
  } catch (error) {
    if (isGone(error)) return []
    throw error
  }
}

async function sumOf(paths: readonly string[]): Promise<Bytes> {
  let total = 0
  for (const bytes of await Promise.all(paths.map((path) => blocksOf(path)))) total += bytes
  return total
}

async function blocksOf(path: string): Promise<Bytes> {
  try {
    return (await lstat(path)).blocks * 512
  } catch (error) {
    if (isGone(error)) return 0
    throw error
  }
}
