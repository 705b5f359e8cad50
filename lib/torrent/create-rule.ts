import { AnnexfsError } from '../errors.js'
import type { Bytes } from '../space/space.js'

const KIB = 1024
export const SMALLEST_MADE_PIECE: Bytes = 16 * KIB
/** Of the rule; more may be asked for. Beyond it a reader waits long for the first checked byte. */
const LARGEST_RULED_PIECE: Bytes = 16 * KIB * KIB
/** What we read ourselves (lib/torrent/metainfo.ts). */
const LARGEST_MADE_PIECE: Bytes = 128 * KIB * KIB
/** 40 KiB of hashes. */
const MOST_RULED_PIECES = 2048

/**
 * The piece length for `size` bytes unless another is asked for: the smallest power of two from 16 KiB to 16 MiB that
 * gives at most 2,048 pieces (so at least 1,025, unless it is 16 KiB), or 16 MiB.
 */
export function madePieceLength(size: Bytes): Bytes {
  let pieceLength = SMALLEST_MADE_PIECE
  while (pieceLength < LARGEST_RULED_PIECE && size > pieceLength * MOST_RULED_PIECES) pieceLength *= 2
  return pieceLength
}

/** @throws AnnexfsError USAGE for what is no power of two from 16 KiB to 128 MiB: clients refuse others. */
export function checkPieceLength(pieceLength: Bytes): void {
  const power = Number.isInteger(Math.log2(pieceLength))
  if (!power || pieceLength < SMALLEST_MADE_PIECE || pieceLength > LARGEST_MADE_PIECE) {
    throw new AnnexfsError(
      'USAGE',
      `a piece length must be a power of two from 16 KiB to 128 MiB, not ${pieceLength} bytes`,
    )
  }
}
