import type { PieceMap } from '../../../status/snapshot.js'
import { cellsOf, type Cell } from './cells.mjs'
import { colour, sized, slotOf, texture } from './texture.mjs'

/*
 * The piece map: one box for each piece, or for several of a large file. The state shows in the shape alone, so that it can be read
 * without colour: a dot is not here, an empty frame is wanted, a frame that is half full is on its way, a full box with a
 * corner cut off is here but not checked, a full box is checked. The texture tells who gave it.
 */

/** In CSS pixels. */
const WIDTH = 9
const HEIGHT = 14
const GAP = 2
/** Room under a row for the marks of readers. */
const UNDER = 6
/** Taller maps are no easier to read; their boxes stand for several pieces. Narrow ones get more rows for that. */
const ROWS = 6
const BOXES = 240

export interface MapView {
  /** What is at a point of the canvas. */
  at(x: number, y: number): Cell | undefined
}

/** Draws `map` on a canvas that is `width` CSS pixels wide; `positions` are pieces that readers are at. */
export function drawMap(
  canvas: HTMLCanvasElement,
  map: PieceMap,
  width: number,
  positions: readonly number[],
): MapView {
  const columns = Math.max(1, Math.floor((width + GAP) / (WIDTH + GAP)))
  const cells = cellsOf(map, Math.max(columns * ROWS, BOXES))
  const rows = Math.max(1, Math.ceil(cells.length / columns))
  const context = sized(canvas, width, rows * (HEIGHT + UNDER))
  if (context !== undefined) {
    const colours = { line: colour('box'), ink: colour('text'), surface: colour('surface') }
    const readers = cells.map((cell) => positions.some((piece) => piece >= cell.from && piece < cell.to))
    cells.forEach((cell, index) => {
      const x = (index % columns) * (WIDTH + GAP)
      const y = Math.floor(index / columns) * (HEIGHT + UNDER)
      drawCell(context, cell, x, y, slotOf(map.origins[cell.origin]), colours)
      if (readers[index] === true) mark(context, x + WIDTH / 2, y + HEIGHT + 1, colours.ink)
    })
  }
  return {
    at(x, y) {
      const column = Math.floor(x / (WIDTH + GAP))
      return column < columns ? cells[Math.floor(y / (HEIGHT + UNDER)) * columns + column] : undefined
    },
  }
}

interface Colours {
  readonly line: string
  readonly ink: string
  readonly surface: string
}

export function drawCell(
  context: CanvasRenderingContext2D,
  cell: Pick<Cell, 'state' | 'fill'>,
  x: number,
  y: number,
  slot: number,
  { line, ink, surface }: Colours,
): void {
  const underWay = cell.state === 'fetching' || cell.state === 'wanted'
  const fill =
    cell.state === 'fetching' ? Math.max(0.5, Math.min(0.8, cell.fill)) : Math.min(cell.fill, underWay ? 0.8 : 1)
  if (fill === 0) {
    context.fillStyle = line
    context.fillRect(x + 3, y + HEIGHT - 2, 3, 2)
  } else {
    const height = Math.max(3, Math.round(fill * HEIGHT))
    context.fillStyle = texture(context, slot)
    context.fillRect(x, y + HEIGHT - height, WIDTH, height)
  }
  if (underWay) {
    context.strokeStyle = ink
    context.lineWidth = 1.5
    context.strokeRect(x + 0.75, y + 0.75, WIDTH - 1.5, HEIGHT - 1.5)
  } else if (cell.state === 'have') {
    context.fillStyle = surface
    context.beginPath()
    context.moveTo(x + WIDTH - 6, y - 0.5)
    context.lineTo(x + WIDTH + 0.5, y - 0.5)
    context.lineTo(x + WIDTH + 0.5, y + 6)
    context.fill()
  }
}

/** A small arrow head that points at a box from below. */
export function mark(context: CanvasRenderingContext2D, x: number, y: number, ink: string): void {
  context.fillStyle = ink
  context.beginPath()
  context.moveTo(x, y)
  context.lineTo(x + 4, y + 4)
  context.lineTo(x - 4, y + 4)
  context.fill()
}

/** One box, for the legend. */
export function drawSample(canvas: HTMLCanvasElement, state: Cell['state'] | 'reader'): void {
  const context = sized(canvas, WIDTH, HEIGHT + UNDER)
  if (context === undefined) return
  const colours = { line: colour('box'), ink: colour('text'), surface: colour('surface') }
  const fill = state === 'have' || state === 'verified' ? 1 : 0
  drawCell(context, { state: state === 'reader' ? 'absent' : state, fill }, 0, 0, -1, colours)
  if (state === 'reader') mark(context, WIDTH / 2, HEIGHT + 1, colours.ink)
}
