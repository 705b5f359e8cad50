import { readdir, stat } from 'node:fs/promises'
import { AnnexfsError, reasonOf, throwIfAborted } from '../errors.js'
import { printable } from '../log/log.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import { statsAt } from '../stats-at.js'
import { MOST_FILES } from './metainfo-files.js'

/** A file on this machine that becomes a file of a torrent. */
export interface LocalFile {
  /** Names may be any bytes. */
  readonly path: Buffer
  /** Below the folder, folders first; empty when the torrent is this file alone. */
  readonly names: readonly Buffer[]
  readonly length: Bytes
  readonly mtime: Milliseconds
}

/** A torrent's own bound on depth (lib/torrent/safe-paths.ts). */
const DEEPEST = 100
const STATS_AT_ONCE = 32
const SLASH = Buffer.from('/')
/** Its content changes under way, holds credentials, and no client should be led to write one. */
const LEFT_OUT = Buffer.from('.git')

/**
 * The files of a torrent of `root`: itself, or all regular files below it, ordered by the bytes of their paths, so that
 * the same folder gives the same torrent everywhere. Symbolic links are followed, as mktorrent and transmission do; what
 * is called `.git` is left out, and so is the file `except`, the torrent itself perhaps.
 * @throws AnnexfsError NOT_FOUND; INVALID for what cannot be in a torrent: links that lead nowhere or to a folder they lie
 * in, pipes, sockets, devices; nothing at all; too much.
 */
export async function listLocalFiles(
  root: string,
  options: { readonly except?: string; readonly signal: AbortSignal },
): Promise<{ readonly folder: boolean; readonly files: readonly LocalFile[] }> {
  const path = Buffer.from(root)
  const top = await stat(path).catch((error: unknown) => {
    throw new AnnexfsError('NOT_FOUND', `cannot read ${root}: ${reasonOf(error)}`, { cause: error })
  })
  if (top.isFile()) return { folder: false, files: [{ path, names: [], length: top.size, mtime: top.mtimeMs }] }
  if (!top.isDirectory()) throw refused(path, 'it is neither a file nor a folder')
  const skip = options.except === undefined ? undefined : await statsAt(options.except, 'follow')
  const files: LocalFile[] = []
  const walk = async (folder: Buffer, names: readonly Buffer[], above: ReadonlySet<string>): Promise<void> => {
    throwIfAborted(options.signal)
    if (names.length >= DEEPEST) throw refused(folder, `it is more than ${DEEPEST} folders deep`)
    const found = (await readdir(folder, { encoding: 'buffer' }).catch(unreadable(folder))).filter(
      (name) => !name.equals(LEFT_OUT),
    )
    for (let at = 0; at < found.length; at += STATS_AT_ONCE) {
      const batch = found
        .slice(at, at + STATS_AT_ONCE)
        .map((name) => ({ name, path: Buffer.concat([folder, SLASH, name]) }))
      const stats = await Promise.all(batch.map((one) => stat(one.path).catch(unreadable(one.path))))
      for (const [index, one] of batch.entries()) {
        const its = stats[index]
        if (its === undefined) continue
        if (its.isDirectory()) {
          const id = `${its.dev}:${its.ino}`
          if (above.has(id)) throw refused(one.path, 'it is a link to a folder that it lies in')
          await walk(one.path, [...names, one.name], new Set([...above, id]))
        } else if (its.isFile()) {
          if (its.dev === skip?.dev && its.ino === skip.ino) continue
          files.push({ path: one.path, names: [...names, one.name], length: its.size, mtime: its.mtimeMs })
          if (files.length > MOST_FILES) throw refused(path, `it has more than ${MOST_FILES} files`)
        } else throw refused(one.path, 'it is neither a file nor a folder')
      }
    }
  }
  await walk(path, [], new Set([`${top.dev}:${top.ino}`]))
  const keyed = files.map((file) => ({ file, key: Buffer.concat(file.names.flatMap((name) => [name, SLASH])) }))
  keyed.sort((a, b) => Buffer.compare(a.key.subarray(0, -1), b.key.subarray(0, -1)))
  return { folder: true, files: keyed.map(({ file }) => file) }
}

function unreadable(path: Buffer): (error: unknown) => never {
  return (error) => {
    throw refused(path, reasonOf(error).replace(/,.*$/s, ''), error)
  }
}

function refused(path: Buffer, why: string, cause?: unknown): AnnexfsError {
  const shown = printable(path.toString('utf8'))
  return new AnnexfsError('INVALID', `${shown} cannot be in a torrent: ${why}`, cause === undefined ? {} : { cause })
}
