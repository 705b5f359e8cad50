import { constants, type Dir } from 'node:fs'
import { copyFile, lstat, mkdir, opendir, readdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { keyFile, type Key } from '../annex/key.js'
import { systemCode } from '../errors.js'
import type { Bytes } from '../space/space.js'

const LARGEST_LOG: Bytes = 64 * 1024 * 1024
/** Most entries of a journal that are looked at for one key. */
const MOST_ENTRIES = 1_000_000
const MOST_CREDENTIALS = 1_000

/**
 * Copies what the journals of a repository hold about remotes and about `key` into those of its clone: git-annex keeps
 * there what it has not committed yet.
 */
export async function copyJournals(from: string, to: string, key: Key): Promise<void> {
  for (const journal of ['journal', 'journal-private']) {
    const source = join(from, 'annex', journal)
    const target = join(to, 'annex', journal)
    let dir: Dir
    try {
      dir = await opendir(source, { encoding: 'latin1' })
    } catch (error) {
      if (isAbsent(error)) continue
      throw error
    }
    // `_` stands for `/` there and is itself doubled.
    const ofKey = `_${keyFile(key).replaceAll('_', '__')}.log`
    let seen = 0
    for await (const { name } of dir) {
      if (++seen > MOST_ENTRIES) break
      if (!/^[a-z-]+\.log$/.test(name) && !name.includes(ofKey)) continue
      await mkdir(target, { recursive: true, mode: 0o700 })
      await copyLog(inFolder(source, name), inFolder(target, name))
    }
  }
}

async function copyLog(from: Buffer, to: Buffer): Promise<void> {
  try {
    const status = await lstat(from)
    if (status.isFile() && status.size <= LARGEST_LOG) await copyFile(from, to, constants.COPYFILE_FICLONE)
  } catch (error) {
    // Committed meanwhile.
    if (!isAbsent(error)) throw error
  }
}

/** Lets the clone read the repository's credentials where they are: no copy of them is made. */
export async function linkCredentials(from: string, to: string): Promise<void> {
  const source = join(from, 'annex', 'creds')
  const target = join(to, 'annex', 'creds')
  let names: string[]
  try {
    names = await readdir(source)
  } catch (error) {
    if (isAbsent(error)) return
    throw error
  }
  await rm(target, { recursive: true, force: true })
  await mkdir(target, { recursive: true, mode: 0o700 })
  for (const name of names.slice(0, MOST_CREDENTIALS)) await symlink(join(source, name), join(target, name))
}

/** The path of an entry whose name is bytes, one character each. */
export function inFolder(folder: string, name: string): Buffer {
  return Buffer.concat([Buffer.from(`${folder}/`, 'utf8'), Buffer.from(name, 'latin1')])
}

export function isAbsent(error: unknown): boolean {
  const code = systemCode(error)
  return code === 'ENOENT' || code === 'ENOTDIR'
}
