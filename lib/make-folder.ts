import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { AnnexfsError, reasonOf, systemCode } from './errors.js'
import { statsAt } from './stats-at.js'

/**
 * Makes the folder at `path`, and those around it, unless it is there. Unlike the recursive mkdir of Node.js it ends
 * where a file system (/proc is one) says of every new folder that there is no such file.
 * @throws AnnexfsError SYSTEM.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await made(path)
  } catch (error) {
    const why = systemCode(error) === 'EEXIST' ? 'something else is there' : reasonOf(error)
    throw new AnnexfsError('SYSTEM', `cannot make the folder ${path}: ${why}`, { cause: error })
  }
}

async function made(path: string): Promise<void> {
  if (await isFolder(path)) return
  try {
    await makeOne(path)
  } catch (error) {
    if (systemCode(error) !== 'ENOENT' || dirname(path) === path) throw error
    await made(dirname(path))
    await makeOne(path)
  }
}

/** Others may make it at the same time. */
async function makeOne(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    if (systemCode(error) !== 'EEXIST' || !(await isFolder(path))) throw error
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await statsAt(path, 'follow'))?.isDirectory() === true
}
