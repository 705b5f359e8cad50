import type { Attempt } from '../errors.js'
import type { Log } from '../log/log.js'
import type { Source } from '../sources/source.js'
import type { Milliseconds, PieceSpace } from '../space/space.js'
import { findSuppliers, type Supplier, type Suppliers } from './candidates.js'
import { hasPiece } from './offers.js'
import type { Places } from './places.js'
import type { Trust } from './trust.js'

export interface SourceList {
  readonly sources: readonly Source[]
  /** Said in the error when nothing can be had: places that have it but cannot be used, and why. */
  readonly unusable: readonly Attempt[]
  /** What is recorded of the content and its places, as an opaque text: when it changes, liars are asked again. */
  readonly state?: string
}

export interface SupplyOptions {
  readonly space: PieceSpace
  /** Called when the first piece is needed, and again after all sources have failed. */
  readonly sources: () => Promise<SourceList>
  readonly places: Places
  readonly trust: Trust
  readonly log: Log
  /** Called when what is known of the sources has changed. */
  readonly onChange: () => void
  /** Told why the sources could not be listed. */
  readonly onFailure: (error: unknown) => void
}

/** After all sources have failed, they are looked up afresh, but not more often than this. */
const LOOK_AGAIN_AFTER: Milliseconds = 2_000

/** Who can be asked for pieces of one space: looked up when first needed, and afresh after all of them have failed. */
export class Supply {
  readonly #options: SupplyOptions
  #suppliers: Suppliers | undefined
  #unusable: readonly Attempt[] = []
  #lookedUp = -Infinity
  /** A piece could not be had from those that were found. */
  #failed = false
  #looking = false
  #closed = false

  constructor(options: SupplyOptions) {
    this.#options = options
  }

  /** What the look-up has come to so far; undefined before it, and once its result is no longer worth anything. */
  get found(): Suppliers | undefined {
    return this.#suppliers
  }

  get ready(): readonly Supplier[] {
    return this.#suppliers?.ready ?? []
  }

  /** Why the others cannot be used. */
  get refused(): Attempt[] {
    return [...(this.#suppliers?.refused ?? []), ...this.#unusable]
  }

  /** Those that nothing is held against. */
  get trusted(): Supplier[] {
    return this.ready.filter((one) => one.setAside === false && this.#options.trust.has(one))
  }

  /** Those that may be asked now. */
  get askable(): readonly Supplier[] {
    return this.#options.trust.oneAtATime ? this.trusted.slice(0, 1) : this.trusted
  }

  /** The sources that may be asked for piece `index` and have it: one that has lost it (404) says so unasked. */
  holders(index: number): Set<Source> {
    return new Set(this.askable.filter((one) => hasPiece(one, this.#options.space, index)).map((one) => one.source))
  }

  /** A piece could not be had from any of them. */
  failed(): void {
    this.#failed = true
  }

  /** Remotes come and go: after a failure all of them are asked afresh, but not more often than every few seconds. */
  forgetOldRefusals(): void {
    if (!this.#failed || performance.now() - this.#lookedUp < LOOK_AGAIN_AFTER) return
    this.#failed = false
    this.#suppliers?.close()
    this.#suppliers = undefined
  }

  /** Looks them up, unless that is under way. */
  async lookUp(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    this.#lookedUp = performance.now()
    const { space, log, sources, places, trust, onChange, onFailure } = this.#options
    try {
      const list = await sources()
      if (this.#closed) {
        for (const source of list.sources) source.close?.()
        return
      }
      this.#unusable = list.unusable
      if (list.state !== undefined) trust.recorded(list.state)
      this.#suppliers = findSuppliers(space, list.sources, places, log, onChange)
    } catch (error) {
      onFailure(error)
    } finally {
      this.#looking = false
      onChange()
    }
  }

  close(): void {
    this.#closed = true
    this.#suppliers?.close()
  }
}
