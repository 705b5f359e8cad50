import type { WatchedFile } from '../engine/activity-file.js'
import { originName } from '../engine/activity-origins.js'
import type { Spaces } from '../engine/spaces.js'
import type { PieceMap, PieceState } from './snapshot.js'

/** More cells than this nobody could tell apart on a screen. */
const MOST_CELLS = 4_096
/** As `CachedSpace.states` tells it: checked by a hash of its own or of the whole. */
const CHECKED = 2

interface Cell {
  readonly state: PieceState
  readonly origin: number
}

/** The state of each piece of an open file. What is read in place is one piece that is there. */
export function pieceMapOf(file: WatchedFile, spaces: Spaces): PieceMap {
  const view = file.view()
  if (view === undefined) {
    const count = file.size === 0 ? 0 : 1
    const runs: PieceMap['runs'] = count === 0 ? [] : [['have', 1, 0]]
    return { id: file.id, pieceLength: file.size, count, runs, cell: 1, origins: [file.place] }
  }
  const { slice, cache, fetcher, wholeness } = view
  const { pieceLength, id } = slice.space
  const first = Math.floor(slice.offset / pieceLength)
  const end = slice.length === 0 ? first : Math.ceil((slice.offset + slice.length) / pieceLength)
  const count = end - first
  const states = cache.states(first, end)
  const underway = new Map<number, string | undefined>()
  for (const { index, source } of fetcher.underway()) {
    if (index >= first && index < end) underway.set(index, source && originName(source))
  }
  const names: string[] = []
  const numberOf = (name: string | undefined): number => {
    if (name === undefined) return -1
    const known = names.indexOf(name)
    return known >= 0 ? known : names.push(name) - 1
  }
  const brought = spaces.peek(id)?.pieces
  const isWhole = wholeness.isWhole
  const pieceAt = (index: number): Cell => {
    const state = states[index - first] ?? 0
    if (state > 0) {
      const checked = isWhole || state >= CHECKED
      return { state: checked ? 'verified' : 'have', origin: numberOf(brought?.get(index)) }
    }
    if (!underway.has(index)) return { state: 'absent', origin: -1 }
    const source = underway.get(index)
    return { state: source === undefined ? 'wanted' : 'fetching', origin: numberOf(source) }
  }
  const cell = Math.max(1, Math.ceil(count / MOST_CELLS))
  const runs: [PieceState, number, number][] = []
  for (let from = first; from < end; from += cell) {
    const pieces = Array.from({ length: Math.min(cell, end - from) }, (_, n) => pieceAt(from + n))
    const { state, origin } = cellOf(pieces)
    const last = runs.at(-1)
    if (last !== undefined && last[0] === state && last[2] === origin) last[1] += 1
    else runs.push([state, 1, origin])
  }
  return { id: file.id, pieceLength, count, runs, cell, origins: names }
}

/** What moves shows in a cell of several pieces; one that lacks a piece is not shown as if it were there. */
const ORDER: readonly PieceState[] = ['fetching', 'wanted', 'absent', 'have', 'verified']

function cellOf(pieces: readonly Cell[]): Cell {
  for (const state of ORDER) {
    const found = pieces.find((piece) => piece.state === state)
    if (found !== undefined) return found
  }
  return { state: 'absent', origin: -1 }
}
