import type { WatchedFile } from '../engine/activity-file.js'
import type { ByteRange } from '../space/space.js'

/** One line: the piece that a read waits for, what each source said, what is being tried and since when. */
export function whatItWaitsFor(file: WatchedFile, range: ByteRange): string {
  const view = file.view()
  if (view === undefined) return `${file.place} is being read`
  const { slice, fetcher, cache } = view
  const { pieceLength } = slice.space
  const first = Math.floor((slice.offset + range.start) / pieceLength)
  const end = Math.ceil((slice.offset + range.end) / pieceLength)
  let missing: number | undefined
  for (let index = first; index < end; index++) {
    const line = fetcher.explain(index)
    if (line !== undefined) return `piece ${index}: ${line}`
    if (missing === undefined && !cache.has(index)) missing = index
  }
  // Nobody fetches it for this read alone: strict verification fetches everything first.
  for (const { index } of fetcher.underway()) {
    const line = fetcher.explain(index)
    if (line !== undefined) return `all of its content is fetched first; piece ${index}: ${line}`
  }
  return missing === undefined ? 'the cache is being read' : `piece ${missing}: its content is being opened or checked`
}
