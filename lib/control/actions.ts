import type { WatchedFile } from '../engine/activity-file.js'
import type { Engine } from '../engine/engine.js'
import type { FileView } from '../engine/routed-file.js'
import type { Whereabouts } from '../engine/whereabouts.js'
import { AnnexfsError } from '../errors.js'
import type { ByteRange, Bytes, Milliseconds, Slice } from '../space/space.js'
import type { Assurance } from '../verify/piece.js'
import { filesBelow } from './files-below.js'
import { fill } from './fill.js'

/** What is known of one file after something was done to it. */
export interface FileFacts {
  readonly path: string
  readonly size: Bytes
  readonly cached: Bytes
  readonly verified: Assurance
  readonly pinned: boolean
  /** It is read where it is (the repository's own object, or git itself): the cache has no part in it. */
  readonly inPlace: boolean
}

export interface Progress {
  /** Bytes of the range that are cached. */
  readonly done: Bytes
  readonly total: Bytes
}

export interface EvictResult extends FileFacts {
  readonly evictedPieces: number
  readonly evictedBytes: Bytes
}

export interface ActionsOptions {
  readonly engine: Engine
  readonly cacheLimit: Bytes
  /** The longest that opening a file may take (a key without a size asks for it). */
  readonly timeout: Milliseconds
}

const REPORT_EVERY: Milliseconds = 200

/** What can be done to the files of an engine beside reading them. None of it writes anywhere but to the cache. */
export class Actions {
  readonly #options: ActionsOptions

  constructor(options: ActionsOptions) {
    this.#options = options
  }

  /**
   * The paths of all files below a folder, or of the file itself; without symbolic links.
   * @throws AnnexfsError NOT_FOUND, INVALID for more than can be told.
   */
  async files(path: string, signal: AbortSignal): Promise<readonly string[]> {
    return filesBelow(this.#options.engine.volume, checkedPath(path), signal)
  }

  /** @throws AnnexfsError NOT_FOUND, IS_A_DIRECTORY. */
  async whereis(path: string, signal: AbortSignal): Promise<Whereabouts> {
    const { engine, timeout } = this.#options
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
    const node = await engine.volume.lookup(checkedPath(path), within)
    if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${path}`)
    return engine.whereabouts(node, path)
  }

  /** Keeps a file's content in the cache from now on, as far as it is there or comes. */
  async pin(path: string, signal: AbortSignal): Promise<FileFacts> {
    return this.#with(path, signal, async (file, slices) => {
      const view = file.view()
      if (view !== undefined) await this.#options.engine.store.pins.add(view.slice, path)
      return this.#facts(file, slices)
    })
  }

  async unpin(path: string, signal: AbortSignal): Promise<FileFacts> {
    return this.#with(path, signal, async (file, slices) => {
      for (const slice of slices) await this.#options.engine.store.pins.remove(slice)
      return this.#facts(file, slices)
    })
  }

  /** Forgets all that is cached of a file, as whatever it lies there. @throws AnnexfsError FORBIDDEN for a pinned file. */
  async evict(path: string, signal: AbortSignal): Promise<EvictResult> {
    return this.#with(path, signal, async (file, slices) => {
      const { store } = this.#options.engine
      if (slices.some((slice) => store.pins.has(slice))) {
        throw new AnnexfsError('FORBIDDEN', 'it is pinned; annexfs unpin it first')
      }
      let evictedPieces = 0
      let evictedBytes = 0
      for (const slice of slices) {
        const { pieces, bytes } = await store.evict(slice)
        evictedPieces += pieces
        evictedBytes += bytes
      }
      return { ...this.#facts(file, slices), evictedPieces, evictedBytes }
    })
  }

  /**
   * Fetches a range of a file into the cache. When all of it is there afterwards it is checked as far as that can be.
   * @throws AnnexfsError as a read would; FORBIDDEN for more than the cache holds; CORRUPT when it was wrong.
   */
  async prefetch(
    path: string,
    range: ByteRange,
    { signal, progress }: { readonly signal: AbortSignal; readonly progress: (value: Progress) => void },
  ): Promise<FileFacts> {
    if (range.start > range.end) throw new AnnexfsError('INVALID', 'the range ends before it starts')
    return this.#with(path, signal, async (file, slices) => {
      const wanted = { start: Math.min(range.start, file.size), end: Math.min(range.end, file.size) }
      const total = wanted.end - wanted.start
      this.#refuseTooLarge(file, total)
      let told = -Infinity
      const report = (): void => {
        if (performance.now() - told < REPORT_EVERY) return
        told = performance.now()
        progress({ done: cachedOf(file, wanted), total })
      }
      report()
      await fill(file, wanted, signal, report)
      if (total === file.size) await file.settled()
      progress({ done: cachedOf(file, wanted), total })
      return this.#facts(file, slices)
    })
  }

  #refuseTooLarge(file: WatchedFile, total: Bytes): void {
    const { cacheLimit } = this.#options
    if (file.view() === undefined || total <= cacheLimit) return
    throw new AnnexfsError(
      'FORBIDDEN',
      `${total} bytes of ${file.path} are more than the cache holds (${cacheLimit}): give a larger --cache-size, or a part`,
    )
  }

  /** @param slices as which it may be in the cache, too: what is there without being read now is at hand, too. */
  #facts(file: WatchedFile, slices: readonly Slice[]): FileFacts {
    const { spaces, store } = this.#options.engine
    const { path, size } = file
    const view = file.view()
    if (view === undefined) return { path, size, cached: size, verified: 'none', pinned: false, inPlace: true }
    let cached = cachedOf(file, { start: 0, end: size })
    let verified = assuranceOf(view, cached)
    for (const slice of slices) {
      const other = spaces.cached(slice)
      if (other.bytes > cached) [cached, verified] = [other.bytes, other.assurance]
    }
    return { path, size, cached, verified, pinned: store.pins.has(view.slice), inPlace: false }
  }

  /** `act` is given the slices, too, as which the file may be in the cache. */
  async #with<T>(
    path: string,
    signal: AbortSignal,
    act: (file: WatchedFile, slices: readonly Slice[]) => Promise<T>,
  ): Promise<T> {
    const { engine, timeout } = this.#options
    const at = checkedPath(path)
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeout)])
    const node = await engine.volume.lookup(at, within)
    if (node === undefined) throw new AnnexfsError('NOT_FOUND', `there is no ${at}`)
    const file = await engine.openWatched(node, at, within)
    try {
      const read = file.view()?.slice
      const others = (await engine.cachedAs(node)).filter(({ space }) => space.id !== read?.space.id)
      return await act(file, read === undefined ? others : [read, ...others])
    } finally {
      file.close()
    }
  }
}

/** How sure the cached bytes are. */
export function assuranceOf({ wholeness, cache }: FileView, cached: Bytes): Assurance {
  if (wholeness.isWhole) return 'whole'
  return cached === 0 ? 'none' : cache.summary().assurance
}

/** Cached bytes of a range of an open file. */
export function cachedOf(file: WatchedFile, { start, end }: ByteRange): Bytes {
  const view = file.view()
  if (view === undefined) return end - start
  return view.cache.cachedIn(view.slice.offset + start, view.slice.offset + end)
}

function checkedPath(path: string): string {
  const parts = path.split('/').filter((part) => part !== '' && part !== '.')
  if (path.includes('\0') || parts.includes('..')) throw new AnnexfsError('INVALID', 'a path has no ".." in it')
  return `/${parts.join('/')}`
}
