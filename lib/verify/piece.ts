import { createHash, webcrypto } from 'node:crypto'
import { AnnexfsError } from '../errors.js'
import { pieceSize, type PieceSpace } from '../space/space.js'

/**
 * How sure we are of bytes. `piece`: their piece hash was checked. `whole`: the key's own hash was checked over all of
 * it. `pending`: no check was possible yet. `none`: no check will ever be possible (or content read in place).
 */
export type Assurance = 'none' | 'pending' | 'piece' | 'whole'

declare const checked: unique symbol

/** Bytes whose piece hash was checked. Made only here. */
export interface VerifiedPiece {
  readonly [checked]: 'verified'
  readonly assurance: 'piece'
  readonly space: PieceSpace
  readonly index: number
  readonly bytes: Uint8Array
}

/** Bytes of a space without piece hashes: of the right length, and otherwise as the source gave them. */
export interface PendingPiece {
  readonly [checked]: 'pending'
  readonly assurance: 'pending'
  readonly space: PieceSpace
  readonly index: number
  readonly bytes: Uint8Array
}

/** What may enter the cache and leave it. */
export type Piece = VerifiedPiece | PendingPiece

/** Below this, hashing here costs less than a round trip to another thread. */
const HASH_INLINE_BELOW = 32 * 1024

/**
 * Checks `bytes` against the hash that `space` has for piece `index`; without hashes, against the length alone.
 * Larger pieces are hashed off the main thread.
 * @throws AnnexfsError CORRUPT when the length or the hash differs.
 */
export async function checkPiece(space: PieceSpace, index: number, bytes: Uint8Array): Promise<Piece> {
  const size = pieceSize(space, index)
  if (bytes.byteLength !== size) {
    throw new AnnexfsError('CORRUPT', `piece ${index} of ${space.id} has ${bytes.byteLength} bytes instead of ${size}`)
  }
  if (space.hashes === undefined) return { assurance: 'pending', space, index, bytes } as PendingPiece
  const expected = space.hashes.at(index)
  const actual =
    bytes.byteLength < HASH_INLINE_BELOW
      ? createHash('sha1').update(bytes).digest()
      : Buffer.from(await webcrypto.subtle.digest('SHA-1', bytes as Uint8Array<ArrayBuffer>))
  if (!actual.equals(expected)) {
    throw new AnnexfsError('CORRUPT', `piece ${index} of ${space.id} does not have the hash that its metainfo gives`)
  }
  return { assurance: 'piece', space, index, bytes } as VerifiedPiece
}
