import type { Bytes, Milliseconds } from '../space/space.js'
import type { Node } from '../tree/tree.js'

const TYPE_AND_MODE = {
  dir: 0o040555,
  file: 0o100444,
  executable: 0o100555,
  link: 0o120777,
} as const

/** What tools read and write at a time; a multiple of the kernel's pages. */
const BLOCK_SIZE: Bytes = 128 * 1024
/** About the year 36,812: fuse-native splits milliseconds into two 32-bit words, and time_t of tools ends somewhere. */
const LATEST: Milliseconds = 2 ** 40 * 1000

/** A time the native layer can carry: before 1970 it would become absurd. */
export function clampTime(time: Milliseconds): Milliseconds {
  if (!Number.isFinite(time) || time < 0) return 0
  return Math.min(Math.floor(time), LATEST)
}

export const STAT_WORDS = 18

export interface Stat {
  readonly node: Node<unknown>
  readonly size: Bytes
  readonly mtime: Milliseconds
  readonly uid: number
  readonly gid: number
}

/**
 * `struct stat` as fuse-native takes it: 18 words of 32 bits. `st_blocks` follows the size, never what is cached: some
 * archivers take a file without blocks for a hole. The kernel never sees the device; the native part takes a stat that has
 * one for complete (names.c).
 */
export function packStat(stat: Stat, words = new Uint32Array(STAT_WORDS), device = 0): Uint32Array {
  const ctime = clampTime(stat.node.mtime)
  words[0] = modeOf(stat.node)
  words[1] = stat.uid
  words[2] = stat.gid
  setDouble(words, 3, stat.size)
  words[5] = device
  words[6] = 1
  words[9] = BLOCK_SIZE
  setDouble(words, 10, Math.ceil(stat.size / 512))
  setDouble(words, 12, stat.mtime)
  setDouble(words, 14, stat.mtime)
  setDouble(words, 16, ctime)
  return words
}

/** The stat array of a folder entry: only its type reaches the kernel (d_type), so three arrays do for all entries. */
export function entryStat(node: Node<unknown>): Uint32Array {
  return ENTRY_STATS[node.kind]
}

/** The size that is shown while nothing else is known about an open file. */
export function shownSize(node: Node<unknown>): Bytes {
  if (node.kind === 'file') return node.size ?? 0
  return node.kind === 'link' ? Buffer.byteLength(node.target) : 0
}

const ENTRY_STATS = {
  dir: modeOnly(TYPE_AND_MODE.dir),
  file: modeOnly(TYPE_AND_MODE.file),
  link: modeOnly(TYPE_AND_MODE.link),
}

function modeOnly(mode: number): Uint32Array {
  const words = new Uint32Array(STAT_WORDS)
  words[0] = mode
  return words
}

function modeOf(node: Node<unknown>): number {
  if (node.kind === 'file') return node.executable ? TYPE_AND_MODE.executable : TYPE_AND_MODE.file
  return TYPE_AND_MODE[node.kind]
}

function setDouble(words: Uint32Array, at: number, value: number): void {
  words[at] = value % 2 ** 32
  words[at + 1] = Math.floor(value / 2 ** 32)
}
