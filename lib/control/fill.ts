import { setTimeout as sleep } from 'node:timers/promises'
import type { WatchedFile } from '../engine/activity-file.js'
import type { FileView } from '../engine/routed-file.js'
import { isAnnexfsError, throwIfAborted } from '../errors.js'
import type { ByteRange, Bytes, Milliseconds } from '../space/space.js'
import { pieceRange } from '../space/space.js'

/** Pieces asked for at once: sources join neighbours and work side by side, readers still go first. */
const MOST_PIECES = 256
const MOST_BYTES: Bytes = 32 * 1024 * 1024
/** Other readers may keep the transfers of the content going. */
const LONGEST_STORING: Milliseconds = 1_000
/** What is read in one go when the way to the content is to be changed. */
const PROBE: Bytes = 1

/**
 * Fetches what is missing of `range` of an open file into the cache, behind everybody who reads. When all sources of the
 * way that is in use have failed, the file's next way is tried, as for a reader.
 * @param progress is told after each piece.
 * @throws AnnexfsError as a read would.
 */
export async function fill(
  file: WatchedFile,
  range: ByteRange,
  signal: AbortSignal,
  progress: () => void,
): Promise<void> {
  for (;;) {
    const view = file.view()
    if (view === undefined) return
    try {
      await fillView(view, range, signal, progress)
      return
    } catch (error) {
      const failed = isAnnexfsError(error, 'UNAVAILABLE') || isAnnexfsError(error, 'CORRUPT')
      if (!failed || signal.aborted) throw error
      await takeNextWay(file, view, range, signal)
      if (file.view() === view) throw error
    }
  }
}

/** A reader's failure is what makes a file take another way. */
async function takeNextWay(file: WatchedFile, view: FileView, range: ByteRange, signal: AbortSignal): Promise<void> {
  const missing = missingIn(view, range).next()
  const at = missing.done === true ? range.start : Math.max(range.start, startOf(view, missing.value))
  await file.read(at, PROBE, Buffer.alloc(PROBE), signal)
}

async function fillView(view: FileView, range: ByteRange, signal: AbortSignal, progress: () => void): Promise<void> {
  const { fetcher, slice } = view
  const most = Math.max(2, Math.min(MOST_PIECES, Math.floor(MOST_BYTES / slice.space.pieceLength)))
  const failed = new AbortController()
  const both = AbortSignal.any([signal, failed.signal])
  const running = new Set<Promise<void>>()
  try {
    for (const index of missingIn(view, range)) {
      throwIfAborted(signal)
      const one: Promise<void> = fetcher.fetch(index, { urgency: 'fill', signal: both }).then(() => {
        running.delete(one)
        progress()
      })
      running.add(one)
      if (running.size >= most) await Promise.race(running)
    }
    await Promise.all(running)
    // A piece is handed over before it is in the cache.
    await Promise.race([fetcher.idle(), sleep(LONGEST_STORING, undefined, { ref: false })])
  } finally {
    failed.abort()
    await Promise.allSettled(running)
  }
}

function* missingIn({ slice, cache }: FileView, range: ByteRange): Generator<number, undefined> {
  const { pieceLength } = slice.space
  const end = Math.min(slice.length, range.end)
  if (range.start >= end) return undefined
  const last = Math.ceil((slice.offset + end) / pieceLength)
  for (let index = Math.floor((slice.offset + range.start) / pieceLength); index < last; index++) {
    if (!cache.has(index)) yield index
  }
  return undefined
}

/** Where a piece begins, from the start of the file. */
function startOf({ slice }: FileView, index: number): Bytes {
  return pieceRange(slice.space, index).start - slice.offset
}
