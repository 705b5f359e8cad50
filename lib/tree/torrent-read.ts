import { constants, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { AnnexfsError, reasonOf } from '../errors.js'
import type { Bytes } from '../space/space.js'
import { parseMagnet, type Magnet } from '../torrent/magnet.js'

/** A list of magnet links longer than this is no list that someone keeps. */
export const LARGEST_MAGNET_LIST: Bytes = 4 * 1024 * 1024
const MOST_MAGNETS = 10_000

/**
 * All bytes of a regular file. Opened without blocking, so that a FIFO in its place cannot hang the mount.
 * @throws AnnexfsError INVALID when it is no regular file or longer than `longest`; the system's error otherwise.
 */
export async function readRegularFile(path: Buffer | string, longest: Bytes): Promise<{ bytes: Buffer; stats: Stats }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new AnnexfsError('INVALID', 'it is not a regular file')
    if (stats.size > longest) {
      throw new AnnexfsError('INVALID', `its ${stats.size} bytes are more than the ${longest} that are read`)
    }
    const bytes = Buffer.alloc(stats.size)
    let filled = 0
    while (filled < bytes.length) {
      const { bytesRead } = await file.read(bytes, filled, bytes.length - filled, filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return { bytes: bytes.subarray(0, filled), stats }
  } finally {
    await file.close()
  }
}

/**
 * The magnet links of a `.magnet` file: one a line, `#` begins a comment line. Lines that are no usable magnet links are
 * told in `problems` and do not keep the others from being used.
 */
export function parseMagnetList(bytes: Buffer): { magnets: Magnet[]; problems: string[] } {
  const magnets = new Map<string, Magnet>()
  const problems: string[] = []
  const lines = bytes.toString('utf8').split('\n')
  for (const [index, line] of lines.entries()) {
    const text = line.trim()
    if (text === '' || text.startsWith('#')) continue
    if (magnets.size >= MOST_MAGNETS) {
      problems.push(`only its first ${MOST_MAGNETS} magnet links are used`)
      break
    }
    try {
      const magnet = parseMagnet(text)
      if (!magnets.has(magnet.infohash)) magnets.set(magnet.infohash, magnet)
    } catch (error) {
      if (problems.length < 5) problems.push(`line ${index + 1}: ${reasonOf(error)}`)
    }
  }
  return { magnets: [...magnets.values()], problems }
}

/**
 * The magnet links of the `.magnet` file at `path`.
 * @throws AnnexfsError INVALID when a line of it is not usable; the system's error when it cannot be read.
 */
export async function readMagnetFile(path: string): Promise<readonly Magnet[]> {
  const { bytes } = await readRegularFile(path, LARGEST_MAGNET_LIST)
  const { magnets, problems } = parseMagnetList(bytes)
  const [problem] = problems
  if (problem !== undefined) throw new AnnexfsError('INVALID', `${path}: ${problem}`)
  return magnets
}
