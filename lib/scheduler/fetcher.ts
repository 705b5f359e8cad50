import type { CachedSpace } from '../cache/store.js'
import type { Log } from '../log/log.js'
import type { Demand, Source } from '../sources/source.js'
import { pieceCount, pieceSize, type Bytes, type Milliseconds, type PieceSpace } from '../space/space.js'
import type { Piece } from '../verify/piece.js'
import { abortError, AnnexfsError, isAnnexfsError, reasonOf } from '../errors.js'
import { liarsAmong } from './assembly.js'
import type { FetchBudget } from './budget.js'
import type { Supplier } from './candidates.js'
import type { Carrier } from './carrier.js'
import { Carriers } from './carriers.js'
import { Contributors } from './contributors.js'
import type { Crew } from './crew.js'
import { explain, type PieceSaid, type Wait } from './explain.js'
import { Flight, isForGood } from './flight.js'
import { afterFailure } from './health.js'
import { Places, type Place } from './places.js'
import { pump } from './pump.js'
import type { Quota } from './quota.js'
import { timedOut, unavailable } from './refusals.js'
import { rescue } from './rescue.js'
import { Supply, type SourceList } from './supply.js'
import { Trust } from './trust.js'

/*
 * Who owns what: a fetcher owns its flights (one per piece that is wanted and not there), its supply and its carriers.
 * A flight is queued, then carried by one or more carriers, then settled. `pump` and `rescue` are the only places that
 * start carriers, and every change of state ends in a call of the pump. Places are shared with the fetchers of other
 * spaces, and call back when they have room again.
 */

export interface FetcherOptions {
  readonly space: PieceSpace
  /** Called when the first piece is needed, and again after all sources have failed. */
  readonly sources: () => Promise<SourceList>
  readonly cache: CachedSpace
  readonly budget: FetchBudget
  /** What may be fetched at all; default: no bound. */
  readonly quota?: Quota | undefined
  /** What is known of the sources' places, shared by all fetchers; default: places of its own. */
  readonly places?: Places
  readonly log: Log
  /** Told of each piece that came and that somebody waited for noticeably, and what each source said of it. */
  readonly onWaited?: ((waited: PieceSaid) => void) | undefined
  /** What was learned of the sources earlier. */
  readonly trust?: Trust
  /** Called after each piece that was fetched and put into the cache. */
  readonly onFetched?: () => void
  /** Told of bytes as they arrive, for the statistics. */
  readonly onBytes?: (source: string, bytes: number, from: Source, place: Place) => void
  /** Told of each piece that came, and from where. */
  readonly onPiece?: (index: number, source: Source) => void
}

/** How often transfers are looked after: a late request should not cost much more than it must. */
const WATCH_MANY: Milliseconds = 20
/** With a single source there is nobody to ask instead. */
const WATCH_ONE: Milliseconds = 250
/** What is wrong and cost this much is not asked for again at once: a reader that tries again and again would load it. */
const COSTLY: Bytes = 1024 * 1024
/** People notice what takes longer. */
export const NOTICED_AFTER: Milliseconds = 100

/** Brings pieces of one space from its sources: most urgent first, spread over the sources, failing over. */
export class Fetcher {
  readonly #options: FetcherOptions
  readonly #flights = new Map<number, Flight>()
  readonly #carriers: Carriers
  readonly #crew: Crew
  readonly #places: Places
  readonly #supply: Supply
  #closed = false
  readonly #trust: Trust
  #watch: NodeJS.Timeout | undefined
  #watchesMany = false
  #retryTimer: NodeJS.Timeout | undefined
  #pumpQueued = false

  constructor(options: FetcherOptions) {
    this.#options = options
    this.#trust = options.trust ?? new Trust()
    this.#places = options.places ?? new Places()
    const { space, cache, budget, quota, onFetched, onBytes } = options
    const flights = this.#flights
    const { waste } = this.#places
    this.#carriers = new Carriers({
      space,
      cache,
      budget,
      quota,
      waste,
      flights,
      onPiece: (piece, carrier) => this.#arrived(piece, carrier),
      onFailure: (carrier, error) => this.#carrierFailed(carrier, error),
      onEnd: () => this.#carrierEnded(),
      onFetched,
      onBytes,
    })
    this.#supply = new Supply({
      space,
      sources: options.sources,
      places: this.#places,
      trust: this.#trust,
      log: options.log,
      onChange: () => this.#schedulePump(),
      onFailure: (error) => this.#failAll(error),
    })
    this.#crew = { space, flights, carriers: this.#carriers, waste, suppliers: () => this.#supply.askable }
  }

  /** Names of the sources that are known to have the content now. */
  get sourceNames(): readonly string[] {
    return this.#supply.trusted.map((one) => one.source.name)
  }

  /** What is known of the sources that have the content. */
  get suppliers(): readonly Supplier[] {
    return this.#supply.ready
  }

  /** Pieces that are wanted and not there, each with the source that was asked for it, if one was. */
  *underway(): IterableIterator<{ readonly index: number; readonly source: Source | undefined }> {
    for (const { index, carriers } of this.#flights.values()) {
      const [first] = carriers
      yield { index, source: first?.supplier.source }
    }
  }

  readonly contributors = new Contributors()

  /** What is in the cache was shown to be right: whoever brought it is not to blame for what comes next. */
  vindicate(): void {
    this.#trust.right(this.contributors.names)
    this.contributors.clear()
  }

  /**
   * What is in the cache was shown to be wrong: ends all transfers, and all waiting with `error`. A single source that
   * brought all of it is not asked again for some time.
   * @param pieces how many there are in the cache.
   * @returns when nothing of it can reach the cache any more.
   */
  async distrust(pieces: number, error: AnnexfsError): Promise<void> {
    this.#failAll(error)
    this.#carriers.abortAll()
    await this.idle()
    this.#trust.blame(this.contributors.all, this.contributors.pieces < pieces)
    this.contributors.clear()
    this.#supply.failed()
  }

  /** True while piece `index` is on its way. */
  isFetching(index: number): boolean {
    return this.#flights.has(index)
  }

  /**
   * Brings piece `index`, checked and (if possible) put into the cache. Equal wishes share one fetch; a wish ends when
   * `demand.signal` fires, and what nobody wants any more is no longer fetched. Its bytes are to be used before the next
   * turn of the event loop, or copied: {@link pieceBuffers}.
   * @throws AnnexfsError UNAVAILABLE with all attempts, OVER_BUDGET, or the signal's reason.
   */
  fetch(index: number, demand: Demand): Promise<Piece> {
    if (this.#closed) return Promise.reject(new AnnexfsError('ABORTED', 'the file was closed'))
    if (!(index >= 0 && index < pieceCount(this.#options.space))) {
      return Promise.reject(new AnnexfsError('INVALID', `${this.#options.space.id} has no piece ${index}`))
    }
    if (demand.signal.aborted) return Promise.reject(abortError(demand.signal))
    if (this.#flights.size === 0) this.#supply.forgetOldRefusals()
    const known = this.#flights.get(index)
    let release: (() => void) | undefined
    try {
      if (known === undefined) {
        release = this.#options.quota?.promise(pieceSize(this.#options.space, index), demand.urgency)
      }
    } catch (error) {
      return Promise.reject(error)
    }
    const flight = known ?? new Flight(index)
    this.#flights.set(index, flight)
    const promise = flight.join(demand, (error) => {
      this.#abandon(flight)
      return timedOut(error, this.#wait(flight), this.#supply.found === undefined ? undefined : this.#supply.trusted)
    })
    this.#schedulePump()
    return release === undefined ? promise : promise.finally(release)
  }

  /** What is going on for piece `index`; undefined when it is not being fetched. */
  explain(index: number): PieceSaid | undefined {
    const flight = this.#flights.get(index)
    return flight === undefined ? undefined : explain(this.#wait(flight))
  }

  /** Resolves when nothing is being fetched and what was is in the cache. */
  idle(): Promise<void> {
    return this.#carriers.idle()
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#watch)
    for (const { place } of this.#supply.ready) place.forget(this.#onFreed)
    clearTimeout(this.#retryTimer)
    for (const flight of this.#flights.values()) {
      flight.fail(new AnnexfsError('ABORTED', 'the file was closed'))
    }
    this.#carriers.abortAll()
    this.#supply.close()
  }

  #failAll(error: unknown): void {
    for (const flight of Array.from(this.#flights.values())) {
      this.#flights.delete(flight.index)
      flight.fail(error)
    }
  }

  #abandon(flight: Flight): void {
    if (flight.isWanted) return
    if (flight.carriers.size === 0) this.#flights.delete(flight.index)
    this.#crew.waste.giveBack(flight.spent)
    flight.spent = 0
    for (const carrier of flight.carriers) {
      if (!this.#carriers.isWanted(carrier)) carrier.abort.abort()
    }
    this.#schedulePump()
  }

  /** Wishes made in one turn of the event loop are looked at together, so that neighbours are joined. */
  #schedulePump(): void {
    if (this.#pumpQueued || this.#closed) return
    this.#pumpQueued = true
    queueMicrotask(() => {
      this.#pumpQueued = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#closed || this.#flights.size === 0) return
    this.#startWatching()
    const suppliers = this.#supply.found
    if (suppliers === undefined) {
      void this.#supply.lookUp()
      return
    }
    const { orphans, waiting } = pump(this.#crew, this.#options.budget, this.#onFreed)
    if (waiting) for (const { place } of suppliers.ready) place.whenFreed(this.#onFreed)
    if (suppliers.looking) return
    for (const flight of orphans) {
      if (!this.#retriesLater(flight)) this.#giveUp(flight)
    }
  }

  readonly #onFreed = (): void => this.#pump()

  /** True when a source that failed will be asked again for this piece; sees to it that this happens. */
  #retriesLater(flight: Flight): boolean {
    const next = flight.retryAt(this.#supply.holders(flight.index))
    if (next === Infinity) return false
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(() => this.#schedulePump(), Math.max(1, next - performance.now()))
    return true
  }

  #arrived(piece: Piece, carrier: Carrier): void {
    this.#options.onPiece?.(piece.index, carrier.supplier.source)
    const flight = this.#flights.get(piece.index)
    if (flight !== undefined) {
      this.#flights.delete(piece.index)
      if (flight.suspects !== undefined) {
        for (const liar of liarsAmong(flight.suspects, piece.bytes)) this.#setAside(liar, 'a part of a piece was wrong')
      }
      let wasted = 0
      for (const other of flight.carriers) {
        if (other === carrier) continue
        if (other.part === undefined || other.part !== carrier.part) wasted += other.unfinished
        if (!this.#carriers.isWanted(other)) other.abort.abort()
      }
      this.#crew.waste.giveBack(Math.max(0, flight.spent - wasted))
      const { onWaited } = this.#options
      if (onWaited !== undefined && flight.waited() > NOTICED_AFTER) onWaited(explain(this.#wait(flight), carrier))
      flight.settle(piece)
    }
    if (piece.assurance !== 'pending') return
    this.contributors.brought(piece.index, carrier.supplier, carrier.part?.assembly)
  }

  #setAside(supplier: Supplier, reason: string): void {
    if (supplier.setAside !== false) return
    supplier.setAside = reason
    this.#options.log.warn('a source gave wrong bytes and is set aside for this content', {
      source: supplier.source.name,
      content: this.#options.space.id,
      reason,
    })
  }

  #carrierFailed(carrier: Carrier, error: unknown): void {
    if (this.#closed) return
    const { supplier } = carrier
    const reason = reasonOf(error)
    const now = performance.now()
    if (isAnnexfsError(error, 'CORRUPT')) {
      this.#setAside(supplier, reason)
      if (supplier.holding.whole === true || supplier.holding.unit >= COSTLY) this.#trust.wrong(supplier, reason)
    } else {
      supplier.rest = afterFailure(supplier.rest, now)
      supplier.place.failed(now)
      this.#options.log.debug('a source failed', { source: supplier.source.name, reason })
    }
    let blamed = false
    for (const index of carrier.run) {
      const flight = this.#flights.get(index)
      if (flight === undefined || !flight.carriers.has(carrier)) continue
      flight.carriers.delete(carrier)
      if (carrier.part !== undefined) this.#dropParts(flight)
      // Those behind the piece that failed were never asked for properly: they go on without blame.
      if (blamed && !isForGood(error)) continue
      blamed = true
      flight.blame(supplier.source, error, now)
    }
  }

  /** A piece of which one part cannot be had is asked for whole. */
  #dropParts(flight: Flight): void {
    flight.alone = true
    for (const other of flight.carriers) {
      if (other.part !== undefined) other.abort.abort()
    }
  }

  #carrierEnded(): void {
    // Whoever nobody waits for any more was kept only for the carrier's sake.
    for (const flight of Array.from(this.#flights.values())) {
      if (!flight.isWanted && flight.carriers.size === 0) this.#flights.delete(flight.index)
    }
    this.#schedulePump()
  }

  #giveUp(flight: Flight): void {
    this.#flights.delete(flight.index)
    flight.fail(unavailable(this.#wait(flight), this.#trust))
    this.#supply.failed()
    if (this.#flights.size === 0) this.#supply.forgetOldRefusals()
  }

  /** While anything is wanted, transfers are looked after; often where there is a choice. */
  #startWatching(): void {
    const many = this.#supply.ready.length > 1
    if (this.#watch !== undefined && this.#watchesMany === many) return
    clearInterval(this.#watch)
    this.#watchesMany = many
    this.#watch = setInterval(() => this.#lookAfter(), many ? WATCH_MANY : WATCH_ONE)
  }

  #lookAfter(): void {
    if (this.#flights.size === 0) {
      clearInterval(this.#watch)
      this.#watch = undefined
      return
    }
    if (this.#supply.found === undefined) return
    rescue(this.#crew, (carrier, error) => this.#carrierFailed(carrier, error))
    this.#schedulePump()
  }

  #wait(flight: Flight): Wait {
    return {
      space: this.#options.space,
      flight,
      suppliers: this.#supply.ready,
      refused: this.#supply.refused,
      looking: this.#supply.found?.looking ?? true,
      asked: this.#supply.found?.asked,
      now: performance.now(),
    }
  }
}
