import { pieceCount, type PieceSpace } from '../space/space.js'

/** So many origins are told apart in one space; a byte a piece. */
const MOST_NAMES = 255
/** Beyond this many pieces nobody looks at where each came from. */
const MOST_PIECES = 4_194_304

/** Where each piece of a space came from while it was in use. */
export class PieceOrigins {
  readonly #space: PieceSpace
  readonly #names: string[] = []
  /** A place in the names and one, or 0. */
  #of: Uint8Array | undefined

  constructor(space: PieceSpace) {
    this.#space = space
  }

  set(index: number, name: string): void {
    const count = pieceCount(this.#space)
    if (count > MOST_PIECES) return
    let at = this.#names.indexOf(name)
    if (at < 0) {
      if (this.#names.length >= MOST_NAMES) return
      at = this.#names.push(name) - 1
    }
    this.#of ??= new Uint8Array(count)
    this.#of[index] = at + 1
  }

  get(index: number): string | undefined {
    return this.#names[(this.#of?.[index] ?? 0) - 1]
  }
}
