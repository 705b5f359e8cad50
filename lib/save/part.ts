import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { link, open, rename, rm, unlink, type FileHandle } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { native } from '../cache/native.js'
import { AnnexfsError, reasonOf, systemCode } from '../errors.js'

/*
 * What is not finished lies beside its target under a name of our own, which is short however long the target's is, and
 * tells which content it is of: so that a later run goes on with it, and never with that of something else.
 */

export interface Part {
  readonly path: string
  readonly handle: FileHandle
  close(): Promise<void>
  remove(): Promise<void>
  /** Gives it its name. @throws AnnexfsError FORBIDDEN when there is something of that name meanwhile. */
  finish(target: string): Promise<void>
}

/**
 * Opens what was left of an earlier try, or begins.
 * @throws AnnexfsError SYSTEM when the disk refuses or another process is at it, FORBIDDEN for what is not ours.
 */
export async function openPart(target: string, contentId: string, executable: boolean): Promise<Part> {
  const id = createHash('sha256').update(`${target}\0${contentId}`).digest('hex').slice(0, 24)
  const path = join(dirname(target), `.annexfs-${id}.part`)
  const handle = await openOwn(path, executable)
  if (!native.tryLock(handle.fd)) {
    await handle.close()
    throw new AnnexfsError('SYSTEM', `another process is writing ${target}`)
  }
  return {
    path,
    handle,
    close: () => handle.close(),
    remove: () => rm(path, { force: true }),
    finish: (name) => nameFinished(path, name),
  }
}

async function openOwn(path: string, executable: boolean): Promise<FileHandle> {
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK
    const handle = await open(path, flags, executable ? 0o777 : 0o666)
    const stats = await handle.stat()
    if (stats.isFile() && stats.nlink === 1 && stats.uid === process.geteuid?.()) return handle
    await handle.close()
  } catch (error) {
    const code = systemCode(error)
    if (code !== 'ELOOP') throw new AnnexfsError('SYSTEM', `cannot write ${path}: ${reasonOf(error)}`, { cause: error })
  }
  throw new AnnexfsError('FORBIDDEN', `${path} is not a file of ours; remove it`)
}

/**
 * Gives what is at `path` its name. A link replaces nothing; rename would.
 * @throws AnnexfsError FORBIDDEN when there is something of that name, SYSTEM.
 */
export async function nameFinished(path: string, target: string): Promise<void> {
  try {
    await link(path, target)
    await unlink(path)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EEXIST') throw new AnnexfsError('FORBIDDEN', `${target} has appeared meanwhile; it was left alone`)
    if (NO_LINKS.has(code ?? '')) await renameToNew(path, target)
    else throw new AnnexfsError('SYSTEM', `cannot name ${target}: ${reasonOf(error)}`, { cause: error })
  }
}

/** As file systems without hard links say it. */
const NO_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK'])

/** An empty file, which nobody else can have made, takes the name first. */
async function renameToNew(path: string, target: string): Promise<void> {
  try {
    await (await open(target, 'wx')).close()
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      throw new AnnexfsError('SYSTEM', `cannot name ${target}: ${reasonOf(error)}`, { cause: error })
    }
    throw new AnnexfsError('FORBIDDEN', `${target} has appeared meanwhile; it was left alone`)
  }
  try {
    await rename(path, target)
  } catch (error) {
    await rm(target, { force: true })
    throw new AnnexfsError('SYSTEM', `cannot name ${target}: ${reasonOf(error)}`, { cause: error })
  }
}
