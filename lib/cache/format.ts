import { createHash, randomInt } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Bytes, Milliseconds, PieceSpace } from '../space/space.js'

/**
 * The format of a space's two files.
 *
 * `data` holds piece `i` at `i * stride`, where the stride is the piece length rounded up to whole disk pages, so that
 * a hole can be punched for every piece. `index` holds a header of one page, then three sections, each starting at a
 * page: a record a piece (16 bytes), a last-used time a piece (8 bytes), and a CRC-32 for each 16 KiB block of each
 * piece. Everything is little endian.
 *
 * Nothing here is ever synced to disk. It need not be: a record carries a check word bound to its space and place, and a
 * random stamp; the CRC of a block is seeded from space, piece, block and stamp. So whatever mixture of old, new, torn,
 * zeroed or moved bytes a crash leaves, a block passes only with the sums and the record that were written with it.
 */

/** The unit of checksums: a small read costs one of these. */
export const BLOCK = 16_384
export const PAGE = 4096
export const RECORD = 16
export const TIME = 8
/** Beyond this many pieces an index would be absurd; such a space is not cached. */
export const MOST_PIECES = 16_777_216

const MAGIC = 'annexfs index\n'
const VERSION = 1
const ID_AT = 64
const MOST_ID = 512
const HEADER = 1024

export type StoredAssurance = 'pending' | 'piece' | 'whole'
/** The state byte of a record; 0 is absent. A higher one is more sure. */
export const STATES: readonly (StoredAssurance | undefined)[] = [undefined, 'pending', 'piece', 'whole']

export function stateOf(assurance: StoredAssurance): number {
  return STATES.indexOf(assurance)
}

/** Where everything of a space lies in its files. */
export interface Geometry {
  readonly id: string
  /** The lower-case hex SHA-256 of the id: the folder's name. */
  readonly name: string
  readonly length: Bytes
  readonly pieceLength: Bytes
  readonly pieces: number
  readonly blocks: number
  readonly stride: Bytes
  readonly seed: number
  readonly recordsAt: Bytes
  readonly timesAt: Bytes
  readonly sumsAt: Bytes
  readonly end: Bytes
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit
}

/** The geometry of a space, or undefined when it is not one that can be cached (empty, or absurdly many pieces). */
export function geometryOf(space: Pick<PieceSpace, 'length' | 'pieceLength'> & { id: string }): Geometry | undefined {
  const { id, length, pieceLength } = space
  if (id.length === 0 || id.length > MOST_ID || !/^[\x20-\x7e]+$/.test(id)) return undefined
  if (!Number.isSafeInteger(length) || !Number.isSafeInteger(pieceLength) || length <= 0 || pieceLength <= 0)
    return undefined
  const pieces = Math.ceil(length / pieceLength)
  const stride = roundUp(pieceLength, PAGE)
  if (pieces > MOST_PIECES || !Number.isSafeInteger(pieces * stride)) return undefined
  const blocks = Math.ceil(pieceLength / BLOCK)
  const recordsAt = PAGE
  const timesAt = roundUp(recordsAt + pieces * RECORD, PAGE)
  const sumsAt = roundUp(timesAt + pieces * TIME, PAGE)
  const end = sumsAt + pieces * blocks * 4
  const name = createHash('sha256').update(id).digest('hex')
  const seed = createHash('sha256').update(`${id}\n${length}\n${pieceLength}`).digest().readUInt32LE(0)
  return { id, name, length, pieceLength, pieces, blocks, stride, seed, recordsAt, timesAt, sumsAt, end }
}

/** Length in bytes of piece `index`. */
export function sizeOf(geometry: Geometry, index: number): Bytes {
  return Math.min(geometry.pieceLength, geometry.length - index * geometry.pieceLength)
}

/** Bytes on disk that piece `index` takes. */
export function roomOf(geometry: Geometry, index: number): Bytes {
  return roundUp(sizeOf(geometry, index), PAGE)
}

export function encodeHeader(geometry: Geometry): Buffer {
  const header = Buffer.alloc(HEADER)
  header.write(MAGIC, 0, 'latin1')
  header.writeUInt32LE(VERSION, 16)
  header.writeUInt32LE(geometry.id.length, 20)
  header.writeDoubleLE(geometry.length, 24)
  header.writeDoubleLE(geometry.pieceLength, 32)
  header.write(geometry.id, ID_AT, 'latin1')
  header.writeUInt32LE(crc32(header.subarray(0, HEADER - 4)), HEADER - 4)
  return header
}

/** The geometry that a header tells, or undefined when it is damaged or of another format. */
export function decodeHeader(header: Buffer): Geometry | undefined {
  if (header.length < HEADER || header.toString('latin1', 0, MAGIC.length) !== MAGIC) return undefined
  if (header.readUInt32LE(16) !== VERSION) return undefined
  if (crc32(header.subarray(0, HEADER - 4)) !== header.readUInt32LE(HEADER - 4)) return undefined
  const idLength = header.readUInt32LE(20)
  if (idLength > MOST_ID) return undefined
  const id = header.toString('latin1', ID_AT, ID_AT + idLength)
  return geometryOf({ id, length: header.readDoubleLE(24), pieceLength: header.readDoubleLE(32) })
}

/** True when `header` is that of just this space. */
export function headerIs(header: Buffer, geometry: Geometry): boolean {
  return header.length >= HEADER && header.subarray(0, HEADER).equals(encodeHeader(geometry))
}

export interface PieceRecord {
  readonly assurance: StoredAssurance
  /** Random, new with each write of the piece; ties record and sums together. */
  readonly stamp: number
  readonly storedAt: Milliseconds
}

/** A bijection of 32-bit words that spreads every bit (the finalizer of MurmurHash3). */
function mix(word: number): number {
  let mixed = word ^ (word >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed ^= mixed >>> 13
  mixed = Math.imul(mixed, 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

function checkWord(geometry: Geometry, index: number, buffer: Buffer, at: number): number {
  let word = mix(geometry.seed ^ mix(index))
  word = mix(word ^ buffer.readInt32LE(at))
  word = mix(word ^ buffer.readInt32LE(at + 4))
  return mix(word ^ buffer.readInt32LE(at + 8)) >>> 0
}

export function newStamp(): number {
  return randomInt(1, 0x1_0000_0000)
}

/** Writes the record of piece `index` at `at` of `buffer`. */
export function encodeRecord(geometry: Geometry, index: number, record: PieceRecord, buffer: Buffer, at = 0): void {
  buffer.writeUInt32LE(record.stamp, at)
  buffer.writeUIntLE(Math.min(Math.max(record.storedAt, 0), 2 ** 48 - 1), at + 4, 6)
  buffer.writeUInt8(0, at + 10)
  buffer.writeUInt8(stateOf(record.assurance), at + 11)
  buffer.writeUInt32LE(checkWord(geometry, index, buffer, at), at + 12)
}

/** The record of piece `index` at `at` of `buffer`, or undefined when absent, damaged or of another place. */
export function decodeRecord(geometry: Geometry, index: number, buffer: Buffer, at = 0): PieceRecord | undefined {
  const assurance = STATES[buffer[at + 11] ?? 0]
  if (assurance === undefined) return undefined
  if (buffer.readUInt32LE(at + 12) !== checkWord(geometry, index, buffer, at)) return undefined
  return { assurance, stamp: buffer.readUInt32LE(at), storedAt: buffer.readUIntLE(at + 4, 6) }
}

/** The seed of block `block` of a piece; within a piece no two blocks share one. */
export function blockSeed(pieceSeed: number, block: number): number {
  return mix((pieceSeed + block) | 0) >>> 0
}

export function pieceSeed(geometry: Geometry, index: number, stamp: number): number {
  return mix(mix(geometry.seed ^ mix(index)) ^ stamp)
}

/** The CRC of each block of a whole piece. */
export function sumsOf(geometry: Geometry, index: number, stamp: number, bytes: Uint8Array): Buffer {
  const seed = pieceSeed(geometry, index, stamp)
  const count = Math.ceil(bytes.byteLength / BLOCK)
  const sums = Buffer.alloc(count * 4)
  for (let block = 0; block < count; block++) {
    const sum = crc32(bytes.subarray(block * BLOCK, (block + 1) * BLOCK), blockSeed(seed, block))
    sums.writeUInt32LE(sum, block * 4)
  }
  return sums
}

/** True when `bytes`, whole blocks of a piece from block `first`, have the sums that lie in `sums` from `at`. */
export function sumsMatch(seed: number, first: number, bytes: Uint8Array, sums: Buffer, at = 0): boolean {
  const count = Math.ceil(bytes.byteLength / BLOCK)
  for (let nth = 0; nth < count; nth++) {
    const block = bytes.byteLength <= BLOCK ? bytes : bytes.subarray(nth * BLOCK, (nth + 1) * BLOCK)
    if (crc32(block, blockSeed(seed, first + nth)) !== sums.readUInt32LE(at + nth * 4)) return false
  }
  return true
}
