import type { Demand, Holding } from '../sources/source.js'
import { pieceRange, pieceSize, type Bytes, type PieceSpace } from '../space/space.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'

/** The bytes of one piece, complete but not yet checked. */
export interface RawPiece {
  readonly index: number
  readonly bytes: Uint8Array
}

/**
 * Reads neighbouring pieces `run` of `space` with one range read and gives each as soon as it is complete. Bytes of a
 * chunk that are a whole piece are passed on without copying. `onBytes` is told of bytes as they come.
 * @throws whatever the holding throws; AnnexfsError CORRUPT when it gives more or fewer bytes than were asked.
 */
export async function* transfer(
  space: PieceSpace,
  run: readonly number[],
  holding: Holding,
  demand: Demand,
  onBytes: (bytes: Bytes) => void = () => undefined,
): AsyncGenerator<RawPiece> {
  const first = run[0]
  const last = run.at(-1)
  if (first === undefined || last === undefined) return
  const range = { start: pieceRange(space, first).start, end: pieceRange(space, last).end }
  let at = 0
  let filled = 0
  let piece: Uint8Array | undefined
  for await (const chunk of holding.read(range, demand)) {
    throwIfAborted(demand.signal)
    onBytes(chunk.byteLength)
    let used = 0
    while (used < chunk.byteLength) {
      const index = run[at]
      if (index === undefined) throw surplus(space, range.end - range.start)
      const size = pieceSize(space, index)
      if (filled === 0 && chunk.byteLength - used === size && used === 0) {
        piece = chunk
        filled = size
        used = size
      } else {
        piece ??= Buffer.allocUnsafeSlow(size)
        const part = chunk.subarray(used, used + size - filled)
        piece.set(part, filled)
        filled += part.byteLength
        used += part.byteLength
      }
      if (filled === size) {
        yield { index, bytes: piece }
        at += 1
        filled = 0
        piece = undefined
      }
    }
  }
  if (at < run.length) {
    throw new AnnexfsError(
      'UNAVAILABLE',
      `the source ended after ${at} of ${run.length} pieces asked of ${space.id}: the content there is too short`,
    )
  }
}

function surplus(space: PieceSpace, asked: number): AnnexfsError {
  return new AnnexfsError('CORRUPT', `the source gave more than the ${asked} bytes asked of ${space.id}`)
}
