import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'

/**
 * Packets of SFTP version 3 (draft-ietf-secsh-filexfer-02), as far as reading files needs them: a length, a type, from
 * the second packet on a request id, and a body.
 */
export const SFTP = {
  INIT: 1,
  VERSION: 2,
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  FSTAT: 8,
  STATUS: 101,
  HANDLE: 102,
  DATA: 103,
  ATTRS: 105,
} as const

/** Status codes. */
export const SFTP_STATUS = { OK: 0, EOF: 1, NO_SUCH_FILE: 2, PERMISSION_DENIED: 3, FAILURE: 4 } as const

/** An answer longer than this is none to what is asked here: data in pieces of 32 KiB. */
export const LONGEST_PACKET: Bytes = 64 * 1024
const LONGEST_HANDLE: Bytes = 256
const ATTR_SIZE = 1
const ATTR_OWNER = 2
const ATTR_PERMISSIONS = 4
const ATTR_TIMES = 8
const FOR_READING = 1

export interface SftpAttributes {
  readonly size: Bytes | undefined
  /** Type and permissions, as st_mode. */
  readonly mode: number | undefined
  /** Seconds since the epoch. */
  readonly modified: number | undefined
}

export function initPacket(): Buffer {
  return packet(SFTP.INIT, uint32(3))
}

export function openPacket(id: number, path: Buffer): Buffer {
  return packet(SFTP.OPEN, uint32(id), text(path), uint32(FOR_READING), uint32(0))
}

export function handlePacket(type: typeof SFTP.CLOSE | typeof SFTP.FSTAT, id: number, handle: Buffer): Buffer {
  return packet(type, uint32(id), text(handle))
}

export function readPacket(id: number, handle: Buffer, offset: Bytes, length: Bytes): Buffer {
  const place = Buffer.alloc(12)
  place.writeBigUInt64BE(BigInt(offset), 0)
  place.writeUInt32BE(length, 8)
  return packet(SFTP.READ, uint32(id), text(handle), place)
}

/** The code and text of a STATUS; the body begins after the request id. @throws AnnexfsError INVALID. */
export function parseStatus(body: Buffer): { readonly code: number; readonly message: string } {
  checkLength(body, 4)
  const message =
    body.length > 8 ? body.toString('latin1', 8, Math.min(body.length, 8 + body.readUInt32BE(4), 308)) : ''
  return { code: body.readUInt32BE(0), message }
}

/** What a HANDLE or DATA holds. @throws AnnexfsError INVALID. */
export function parseText(body: Buffer, longest: Bytes = LONGEST_HANDLE): Buffer {
  checkLength(body, 4)
  const length = body.readUInt32BE(0)
  if (length > longest) throw malformed(`a text of ${length} bytes`)
  checkLength(body, 4 + length)
  return body.subarray(4, 4 + length)
}

/** @throws AnnexfsError INVALID. */
export function parseAttributes(body: Buffer): SftpAttributes {
  checkLength(body, 4)
  const flags = body.readUInt32BE(0)
  let at = 4
  const next = (length: Bytes): number => {
    checkLength(body, at + length)
    at += length
    return at - length
  }
  const size = (flags & ATTR_SIZE) === 0 ? undefined : Number(body.readBigUInt64BE(next(8)))
  if (size !== undefined && !Number.isSafeInteger(size)) throw malformed('a size that is none')
  if ((flags & ATTR_OWNER) !== 0) next(8)
  const mode = (flags & ATTR_PERMISSIONS) === 0 ? undefined : body.readUInt32BE(next(4))
  const modified = (flags & ATTR_TIMES) === 0 ? undefined : body.readUInt32BE(next(8) + 4)
  return { size, mode, modified }
}

function packet(type: number, ...parts: readonly Buffer[]): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(1 + parts.reduce((sum, part) => sum + part.length, 0), 0)
  head.writeUInt8(type, 4)
  return Buffer.concat([head, ...parts])
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value, 0)
  return bytes
}

function text(bytes: Buffer): Buffer {
  return Buffer.concat([uint32(bytes.length), bytes])
}

function checkLength(body: Buffer, least: Bytes): void {
  if (body.length < least) throw malformed('a packet that is too short')
}

export function malformed(what: string): AnnexfsError {
  return new AnnexfsError('INVALID', `the sftp server sent ${what}`)
}
