import { inOneLine, pieceNumbers, type PieceSaid } from '../scheduler/explain.js'
import type { ByteRange } from '../space/space.js'
import type { WatchedFile } from './activity-file.js'

/** One line: the pieces that a read waits for, what each source said, what is being tried and since when. */
export function whatItWaitsFor(file: WatchedFile, range: ByteRange): string {
  const view = file.view()
  if (view === undefined) return `${file.place}, which is being read`
  const { slice, fetcher, cache } = view
  const { pieceLength } = slice.space
  const first = Math.floor((slice.offset + range.start) / pieceLength)
  const end = Math.ceil((slice.offset + range.end) / pieceLength)
  const wanted: PieceSaid[] = []
  let missing: number | undefined
  for (let index = first; index < end; index++) {
    const piece = fetcher.explain(index)
    if (piece !== undefined) wanted.push(piece)
    else if (missing === undefined && !cache.has(index)) missing = index
  }
  if (wanted.length > 0) return `${pieceNumbers(wanted.map(({ piece }) => piece))}: ${inOneLine(wanted)}`
  // Nobody fetches it for this read alone: strict verification fetches everything first.
  for (const { index } of fetcher.underway()) {
    const piece = fetcher.explain(index)
    if (piece !== undefined) return `all of its content, which is fetched first; piece ${index}: ${inOneLine([piece])}`
  }
  return missing === undefined
    ? 'the cache, which is being read'
    : `piece ${missing}: its content is being opened or checked`
}
