import { createHash } from 'node:crypto'
import type { DirectRead } from '../space/direct.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { Activity } from './activity.js'
import type { FileView } from './routed-file.js'
import type { OpenFile } from './volume.js'
import type { Waiting } from './waits.js'

/** Streams of reads that are told apart in one open file: demuxers interleave a few. */
const MOST_STREAMS = 8
/** The kernel sends the parts of its readahead in any order: this near it is the same stream. */
const NEAR: Bytes = 4 * 1024 * 1024

interface Stream {
  at: Bytes
}

/** What the files of the engine tell about themselves. */
interface Viewable extends OpenFile {
  view?(): FileView | undefined
  way?(): string
}

/** An open file whose use is written down. */
export class WatchedFile implements OpenFile {
  readonly path: string
  readonly contentId: string
  readonly size: Bytes
  lastRead: Milliseconds = Date.now()
  readonly #file: Viewable
  readonly #activity: Activity
  /** The one that was read last comes first. */
  #streams: Stream[] = []
  #id: string | undefined

  constructor(path: string, file: Viewable, activity: Activity) {
    this.path = path
    this.contentId = file.contentId
    this.size = file.size
    this.#file = file
    this.#activity = activity
  }

  /** Equal for all who have the same content open under the same path. */
  get id(): string {
    this.#id ??= createHash('sha256').update(`${this.path}\0${this.contentId}`).digest('hex').slice(0, 16)
    return this.#id
  }

  /** Where it was read last, one offset for each stream of reads. */
  get positions(): readonly Bytes[] {
    return this.#streams.map((stream) => stream.at)
  }

  /** The way by which it is read now; undefined for what is read in place or kept in memory. */
  view(): FileView | undefined {
    return this.#file.view?.()
  }

  /** What is read where there is no piece space: the repository's own object, or git. */
  get place(): string {
    return this.#file.way?.() ?? 'git'
  }

  read(offset: Bytes, length: Bytes, into: Uint8Array, signal?: AbortSignal): number | Promise<Uint8Array> {
    let result: number | Promise<Uint8Array>
    try {
      result = this.#file.read(offset, length, into, signal)
    } catch (error) {
      this.#activity.failed(this.path, error)
      throw error
    }
    if (typeof result !== 'number') return this.#wait(result, offset, length)
    this.#given(offset, result)
    return result
  }

  direct(): DirectRead | undefined {
    return this.#file.direct?.()
  }

  noted(offset: Bytes, length: Bytes, at: Milliseconds): void {
    this.#file.noted?.(offset, length, at)
    this.#given(offset, length)
  }

  settled(): Promise<void> {
    return this.#file.settled?.() ?? Promise.resolve()
  }

  close(): void {
    this.#activity.closed(this)
    this.#file.close()
  }

  async #wait(result: Promise<Uint8Array>, offset: Bytes, length: Bytes): Promise<Uint8Array> {
    const end = Math.min(this.size, offset + length)
    const waiting: Waiting = { file: this, range: { start: offset, end }, since: Date.now() }
    this.#activity.waits.began(waiting)
    let served = false
    try {
      const bytes = await result
      served = true
      this.#given(offset, bytes.byteLength)
      return bytes
    } catch (error) {
      this.#activity.failed(this.path, error)
      throw error
    } finally {
      this.#activity.waits.ended(waiting, served)
    }
  }

  #given(offset: Bytes, count: Bytes): void {
    this.#activity.readBytes += count
    this.lastRead = Date.now()
    const [latest] = this.#streams
    if (latest !== undefined && isNear(latest, offset)) latest.at = offset + count
    else this.#otherStream(offset, offset + count)
  }

  #otherStream(offset: Bytes, end: Bytes): void {
    const known = this.#streams.find((stream) => isNear(stream, offset))
    const others = this.#streams.filter((stream) => stream !== known)
    this.#streams = [{ at: end }, ...others.slice(0, MOST_STREAMS - 1)]
  }
}

function isNear(stream: Stream, offset: Bytes): boolean {
  return offset >= stream.at - NEAR && offset <= stream.at + NEAR
}
