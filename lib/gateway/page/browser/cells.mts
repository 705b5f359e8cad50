import type { FileStatus, PieceMap, PieceState } from '../../../status/snapshot.js'
import { count, percent, size } from './words.mjs'

/** What is drawn as one box: the pieces `[from, to)`. */
export interface Cell {
  readonly from: number
  readonly to: number
  /** The most telling one: what is under way, else what most of it is. */
  readonly state: PieceState
  /** How much of it is in the cache, 0 to 1. */
  readonly fill: number
  /** Who gave, or gives, most of it: an index into the map's `origins`, or -1. */
  readonly origin: number
}

interface Tally {
  states: Record<PieceState, number>
  origins: Map<number, number>
}

/** Puts the cells of a map together, in order, so that there are `most` boxes at the most. */
export function cellsOf(map: PieceMap, most: number): Cell[] {
  const total = map.runs.reduce((sum, [, cells]) => sum + cells, 0)
  const group = Math.max(1, Math.ceil(total / Math.max(1, most)))
  const made: Cell[] = []
  let tally = empty()
  let inside = 0
  let start = 0
  const close = (): void => {
    made.push(cellOf(tally, start * map.cell, Math.min(map.count, (start + inside) * map.cell), inside))
    start += inside
    inside = 0
    tally = empty()
  }
  for (const [state, cells, origin] of map.runs) {
    for (let left = cells; left > 0;) {
      const part = Math.min(left, group - inside)
      tally.states[state] += part
      if (origin >= 0) tally.origins.set(origin, (tally.origins.get(origin) ?? 0) + part)
      inside += part
      left -= part
      if (inside === group) close()
    }
  }
  if (inside > 0) close()
  return made
}

function empty(): Tally {
  return { states: { absent: 0, wanted: 0, fetching: 0, have: 0, verified: 0 }, origins: new Map() }
}

function cellOf({ states, origins }: Tally, from: number, to: number, cells: number): Cell {
  const state: PieceState =
    states.fetching > 0
      ? 'fetching'
      : states.wanted > 0
        ? 'wanted'
        : states.have > 0
          ? 'have'
          : states.verified > 0
            ? 'verified'
            : 'absent'
  const [origin] = [...origins].sort((a, b) => b[1] - a[1])[0] ?? [-1]
  return { from, to, state, fill: (states.have + states.verified) / cells, origin }
}

/** How many pieces are in each state; counts whole cells, of which the last may be shorter. */
export function piecesIn(map: PieceMap, state: PieceState): number {
  const cells = map.runs.reduce((sum, run) => sum + (run[0] === state ? run[1] : 0), 0)
  return Math.min(map.count, cells * map.cell)
}

/**
 * How much of a file is here from whom: origins by name with their share of all pieces. The empty name stands
 * for what was here before anybody looked.
 */
export function sharesOf(map: PieceMap): ReadonlyMap<string, number> {
  const shares = new Map<string, number>()
  const total = map.runs.reduce((sum, [, cells]) => sum + cells, 0)
  for (const [state, cells, origin] of map.runs) {
    if (state !== 'have' && state !== 'verified') continue
    const name = map.origins[origin] ?? ''
    shares.set(name, (shares.get(name) ?? 0) + cells / total)
  }
  return shares
}

/** The map in a sentence, for all: who cannot see it hears this instead. */
export function sentence(file: FileStatus, map: PieceMap | undefined): string {
  const parts = [`${percent(file.cached, file.size)} cached`]
  if (map !== undefined) {
    const fetching = piecesIn(map, 'fetching')
    const wanted = piecesIn(map, 'wanted')
    if (fetching > 0) parts.push(`${count(fetching, 'piece')} on ${fetching === 1 ? 'its' : 'their'} way`)
    if (wanted > 0) parts.push(`${wanted.toLocaleString('en')} wanted`)
    parts.push(`${count(map.count, 'piece')} of ${size(map.pieceLength)}`)
  }
  return parts.join(' · ')
}

/** How sure the content is; `verified` of a file. */
export const CERTAINTY: Readonly<Record<FileStatus['verified'], string>> = {
  piece: 'every piece is checked as it comes',
  whole: 'checked as a whole',
  pending: 'will be checked when it is complete',
  none: 'has no hash to check',
}

export const STATES: Readonly<Record<PieceState, string>> = {
  absent: 'not here',
  wanted: 'wanted',
  fetching: 'on its way',
  have: 'here, not checked',
  verified: 'here, checked',
}

/** What one box stands for, in words. */
export function cellWords(cell: Cell, map: PieceMap): string {
  const pieces =
    cell.to - cell.from === 1
      ? `Piece ${(cell.from + 1).toLocaleString('en')}`
      : `Pieces ${(cell.from + 1).toLocaleString('en')} to ${cell.to.toLocaleString('en')}`
  const share = cell.to - cell.from > 1 && cell.fill > 0 && cell.fill < 1 ? `, ${percent(cell.fill, 1)} here` : ''
  const origin = map.origins[cell.origin]
  return `${pieces} (from ${size(cell.from * map.pieceLength)}): ${STATES[cell.state]}${share}${origin === undefined ? '' : `, ${origin}`}`
}
