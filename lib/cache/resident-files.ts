import { existsSync } from 'node:fs'
import type { Log } from '../log/log.js'
import { shareOfDescriptors } from '../space/descriptors.js'
import type { Milliseconds } from '../space/space.js'
import { identityOf, prepareFolder, readMarker, writeMarker } from './folder.js'
import type { ResidentSpace } from './resident-space.js'
import { SpaceFiles } from './space-files.js'
import { isReadOnly } from './trouble.js'

/** So many spaces have their files open at once; two descriptors each, so a quarter of all there are. */
const MOST_OPEN = shareOfDescriptors(1 / 8, 16, 256)
/** The files of a space that nobody has open are closed after so long, so that it can be removed when it is empty. */
const IDLE_FOR: Milliseconds = 10_000

interface Handle {
  readonly files: SpaceFiles
  usedAt: number
}

/** The open files of the spaces in use: a bounded number, never closed under a running operation. */
export class ResidentFiles {
  readonly #handles = new Map<ResidentSpace, Handle>()
  readonly #pins = new Map<ResidentSpace, number>()
  readonly #doomed = new Map<ResidentSpace, SpaceFiles[]>()
  #identity: string
  #clock = 0

  constructor(
    readonly root: string,
    readonly log: Log,
    /** Called when the cache folder turned out to have been replaced. */
    readonly replaced: () => void,
  ) {
    this.#identity = identityOf(root)
  }

  /** The space's files, opened if need be; undefined when there are none and `mode` is not `create`. */
  of(space: ResidentSpace, mode: 'read' | 'create'): SpaceFiles | undefined {
    const handle = this.#handles.get(space)
    if (handle !== undefined && (mode === 'read' || (handle.files.writable && handle.files.isThere()))) {
      handle.usedAt = ++this.#clock
      return handle.files
    }
    if (handle !== undefined) this.drop(space)
    const files = mode === 'create' ? SpaceFiles.open(this.root, space.geometry, 'create') : this.#openToRead(space)
    if (files === undefined) return undefined
    this.#handles.set(space, { files, usedAt: ++this.#clock })
    if (this.#handles.size > MOST_OPEN) this.#dropOldest(space)
    return files
  }

  /** For reading, what may not be written to is good enough. */
  #openToRead(space: ResidentSpace): SpaceFiles | undefined {
    try {
      return SpaceFiles.open(this.root, space.geometry, 'write')
    } catch (error) {
      if (!isReadOnly(error)) throw error
      return SpaceFiles.open(this.root, space.geometry, 'read')
    }
  }

  #dropOldest(except: ResidentSpace): void {
    let oldest: ResidentSpace | undefined
    let usedAt = Infinity
    for (const [space, handle] of this.#handles) {
      if (handle.usedAt >= usedAt || space === except) continue
      oldest = space
      usedAt = handle.usedAt
    }
    if (oldest !== undefined) this.drop(oldest)
  }

  /** Keeps the space's files from being closed until the returned function is called. */
  pin(space: ResidentSpace): () => void {
    this.#pins.set(space, (this.#pins.get(space) ?? 0) + 1)
    return () => {
      const pins = (this.#pins.get(space) ?? 1) - 1
      if (pins > 0) {
        this.#pins.set(space, pins)
        return
      }
      this.#pins.delete(space)
      for (const files of this.#doomed.get(space) ?? []) files.closeSync()
      this.#doomed.delete(space)
    }
  }

  /** Lets go of the space's files: at once, or when the last operation on them has ended. */
  drop(space: ResidentSpace): void {
    const handle = this.#handles.get(space)
    if (handle === undefined) return
    this.#handles.delete(space)
    if (!this.#pins.has(space)) {
      handle.files.closeSync()
      return
    }
    const doomed = this.#doomed.get(space) ?? []
    doomed.push(handle.files)
    this.#doomed.set(space, doomed)
  }

  dropAll(): void {
    for (const space of this.#handles.keys()) this.drop(space)
  }

  /** Lets go of files that were removed under us, or that nobody has needed for a while. */
  sweep(): void {
    for (const [space, { files }] of this.#handles) {
      const idle = space.idle && performance.now() - space.usedUntil > IDLE_FOR
      if (idle || !files.isThere()) this.drop(space)
    }
  }

  /**
   * Looks whether the folder is still the one that we opened, and makes it anew when it is gone.
   * `leave`: one that is gone stays so until something is to be stored in it.
   * @throws system errors, and AnnexfsError INVALID when something else is in its place now.
   */
  checkRoot(make: 'make' | 'leave' = 'make'): void {
    if (make === 'leave' && !existsSync(this.root)) {
      if (this.#identity === '') return
      this.#identity = ''
      this.dropAll()
      this.replaced()
      return
    }
    let identity: string | undefined
    try {
      identity = identityOf(this.root)
    } finally {
      if (identity !== this.#identity) {
        this.#identity = identity ?? ''
        this.dropAll()
        this.replaced()
        prepareFolder(this.root)
        this.#identity = identityOf(this.root)
        this.log.info('the cache folder was replaced; starting with what is there now', { folder: this.root })
      }
    }
    if (readMarker(this.root) === undefined) writeMarker(this.root)
  }
}
