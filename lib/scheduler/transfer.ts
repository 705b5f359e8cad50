import type { Demand, Holding } from '../sources/source.js'
import { pieceBuffers } from '../space/piece-buffers.js'
import { pieceRange, pieceSize, type Bytes, type PieceSpace } from '../space/space.js'
import { AnnexfsError, throwIfAborted } from '../errors.js'

/** The bytes of one piece, complete but not yet checked. */
export interface RawPiece {
  readonly index: number
  readonly bytes: Uint8Array
}

/**
 * Reads neighbouring pieces `run` of `space` with one range read and gives each as soon as it is complete. Bytes of a
 * chunk that are a whole piece are passed on without copying; other pieces lie in {@link pieceBuffers}, with one user. `onBytes` is told of bytes as they come.
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
  const buffers = new Buffers(space, run)
  let at = 0
  let filled = 0
  for await (const chunk of holding.read(range, demand, (offset) => buffers.room(offset))) {
    throwIfAborted(demand.signal)
    onBytes(chunk.byteLength)
    let used = 0
    while (used < chunk.byteLength) {
      const index = run[at]
      if (index === undefined) throw surplus(space, range.end - range.start)
      const size = pieceSize(space, index)
      if (filled === 0 && used === 0 && chunk.byteLength === size && chunk.buffer.byteLength === size) {
        yield { index, bytes: buffers.instead(index, chunk) }
        at += 1
        break
      }
      const piece = buffers.of(index)
      const part = chunk.subarray(used, used + size - filled)
      const isThere = part.buffer === piece.buffer && part.byteOffset === piece.byteOffset + filled
      if (!isThere) piece.set(part, filled)
      filled += part.byteLength
      used += part.byteLength
      if (filled === size) {
        buffers.done(index)
        yield { index, bytes: piece }
        at += 1
        filled = 0
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

/** The bytes of the pieces of a run that are not complete yet. */
class Buffers {
  readonly #first: number
  readonly #end: number
  readonly #space: PieceSpace
  readonly #pieces = new Map<number, Uint8Array>()
  /** Pieces before this one were given away: nobody may write to them any more. */
  #next: number

  constructor(space: PieceSpace, run: readonly number[]) {
    this.#space = space
    this.#first = run[0] ?? 0
    this.#next = this.#first
    this.#end = this.#first + run.length
  }

  of(index: number): Uint8Array {
    const known = this.#pieces.get(index)
    if (known !== undefined) return known
    const made = pieceBuffers.take(pieceSize(this.#space, index))
    this.#pieces.set(index, made)
    return made
  }

  /** Where the bytes from `offset` of the space go, to the end of a piece. */
  room(offset: Bytes): Uint8Array | undefined {
    const index = Math.floor(offset / this.#space.pieceLength)
    if (index < this.#next || index >= this.#end) return undefined
    return this.of(index).subarray(offset - index * this.#space.pieceLength)
  }

  /** A chunk that is a whole piece, or the buffer that it lies in. */
  instead(index: number, chunk: Uint8Array): Uint8Array {
    const own = this.#pieces.get(index)
    this.done(index)
    if (own?.buffer === chunk.buffer) return own
    if (own !== undefined) pieceBuffers.release(own)
    return chunk
  }

  done(index: number): void {
    this.#pieces.delete(index)
    this.#next = index + 1
  }
}

function surplus(space: PieceSpace, asked: number): AnnexfsError {
  return new AnnexfsError('CORRUPT', `the source gave more than the ${asked} bytes asked of ${space.id}`)
}
