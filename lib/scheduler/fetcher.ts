import type { CachedSpace } from '../cache/store.js'
import type { Log } from '../log/log.js'
import type { Demand, Source } from '../sources/source.js'
import { pieceSize, type PieceSpace } from '../space/space.js'
import { checkPiece, type Piece } from '../verify/piece.js'
import { abortError, AnnexfsError, isAnnexfsError, reasonOf, type Attempt } from '../errors.js'
import type { FetchBudget } from './budget.js'
import { findSuppliers, type Supplier, type Suppliers } from './candidates.js'
import { bestCandidate, mostUrgent, runBytes, runFrom } from './choose.js'
import { Flight, isForGood } from './flight.js'
import { afterFailure, afterFirstByte, afterSuccess } from './health.js'
import { transfer } from './transfer.js'
import { Trust } from './trust.js'

/*
 * Who owns what: a fetcher owns its flights (one per piece that is wanted and not there) and its suppliers. A flight is
 * queued, then in one or more transfers, then settled; `pump` is the only place that starts transfers, and every
 * change of state ends in a call of it.
 */

interface Carrier {
  readonly supplier: Supplier
  readonly run: readonly number[]
  readonly abort: AbortController
  readonly started: number
  lastProgress: number
}

export interface FetcherOptions {
  readonly space: PieceSpace
  /** Called when the first piece is needed, and again after all sources have failed. */
  readonly sources: () => Promise<SourceList>
  readonly cache: CachedSpace
  readonly budget: FetchBudget
  readonly log: Log
  /** What was learned of the sources earlier. */
  readonly trust?: Trust
  /** Called after each piece that was fetched and put into the cache. */
  readonly onFetched?: () => void
  /** Told of bytes as they arrive, for the statistics. */
  readonly onBytes?: (source: string, bytes: number) => void
}

export interface SourceList {
  readonly sources: readonly Source[]
  /** Said in the error when nothing can be had: places that have it but cannot be used, and why. */
  readonly unusable: readonly Attempt[]
}

/** A transfer that a reader waits for and that brings nothing for this long gets company from another source. */
const STALLED_AFTER = 1_000
const STALL_CHECK = 250
/** Pieces of one transfer being written to the cache at once. */
const PUTS_AT_ONCE = 4
/** After all sources have failed, they are looked up afresh, but not more often than this. */
const LOOK_AGAIN_AFTER = 2_000

/** Brings pieces of one space from its sources: joins neighbours, most urgent first, fails over. */
export class Fetcher {
  readonly #options: FetcherOptions
  readonly #flights = new Map<number, Flight<Carrier>>()
  readonly #carriers = new Set<Carrier>()
  readonly #running = new Set<Promise<void>>()
  #suppliers: Suppliers | undefined
  #unusable: readonly Attempt[] = []
  #lookedUp = 0
  #looking = false
  #closed = false
  readonly #trust: Trust
  /** Unchecked pieces that were brought since the content was last checked. */
  readonly #brought = new Set<number>()
  #stallTimer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #pumpQueued = false

  constructor(options: FetcherOptions) {
    this.#options = options
    this.#trust = options.trust ?? new Trust()
  }

  /** Names of the sources that are known to have the content now. */
  get sourceNames(): readonly string[] {
    return this.#trusted().map((one) => one.source.name)
  }

  /** Names of the sources that brought unchecked pieces since this was last cleared. */
  readonly contributors = new Set<string>()

  /** What is in the cache was shown to be right: whoever brought it is not to blame for what comes next. */
  vindicate(): void {
    this.contributors.clear()
    this.#brought.clear()
  }

  /**
   * What is in the cache was shown to be wrong: ends all transfers, and all waiting with `error`. A single source that
   * brought all of it is not asked again.
   * @param pieces how many there are in the cache.
   * @returns when nothing of it can reach the cache any more.
   */
  async distrust(pieces: number, error: AnnexfsError): Promise<void> {
    for (const flight of Array.from(this.#flights.values())) {
      this.#flights.delete(flight.index)
      flight.fail(error)
    }
    for (const carrier of this.#carriers) carrier.abort.abort()
    await this.idle()
    this.#trust.blame(this.contributors, this.#brought.size < pieces)
    this.vindicate()
  }

  /** True while piece `index` is on its way. */
  isFetching(index: number): boolean {
    return this.#flights.has(index)
  }

  /**
   * Brings piece `index`, checked and (if possible) put into the cache. Equal wishes share one fetch; a wish ends when
   * `demand.signal` fires, and what nobody wants any more is no longer fetched.
   * @throws AnnexfsError UNAVAILABLE with all attempts, or the signal's reason.
   */
  fetch(index: number, demand: Demand): Promise<Piece> {
    if (this.#closed) return Promise.reject(new AnnexfsError('ABORTED', 'the file was closed'))
    if (demand.signal.aborted) return Promise.reject(abortError(demand.signal))
    const flight = this.#flights.get(index) ?? new Flight<Carrier>(index)
    this.#flights.set(index, flight)
    const promise = flight.join(demand, (error) => {
      this.#abandon(flight)
      return this.#withAttempts(error, flight)
    })
    this.#schedulePump()
    return promise
  }

  /** Resolves when nothing is being fetched and what was is in the cache. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  close(): void {
    this.#closed = true
    clearInterval(this.#stallTimer)
    clearTimeout(this.#retryTimer)
    for (const flight of this.#flights.values()) {
      flight.fail(new AnnexfsError('ABORTED', 'the file was closed'))
    }
    for (const carrier of this.#carriers) carrier.abort.abort()
    this.#suppliers?.close()
  }

  /** A deadline's error says what was being tried. */
  #withAttempts(error: AnnexfsError, flight: Flight<Carrier>): AnnexfsError {
    if (error.code !== 'TIMED_OUT') return error
    const running = [...flight.carriers].map((carrier) => ({
      source: carrier.supplier.source.name,
      reason: `no answer for ${Math.round((Date.now() - carrier.lastProgress) / 100) / 10} s`,
    }))
    const attempts = [...flight.attempts, ...(this.#suppliers?.refused ?? []), ...this.#unusable, ...running]
    const tried = attempts.length > 0 ? attempts : this.#queued()
    const listed = tried.map((one) => `${one.source}: ${one.reason}`).join('; ')
    return new AnnexfsError('TIMED_OUT', listed === '' ? error.message : `${error.message} (${listed})`, {
      attempts: tried,
      cause: error.cause,
    })
  }

  #queued(): Attempt[] {
    if (this.#suppliers === undefined) return [{ source: 'looking for sources', reason: 'no answer yet' }]
    return this.sourceNames.map((source) => ({ source, reason: 'busy with earlier reads that have no answer yet' }))
  }

  #abandon(flight: Flight<Carrier>): void {
    if (flight.isWanted) return
    if (flight.carriers.size === 0) this.#flights.delete(flight.index)
    for (const carrier of flight.carriers) {
      if (!carrier.run.some((index) => this.#isCarrying(index, carrier))) carrier.abort.abort()
    }
    this.#schedulePump()
  }

  /** True when somebody still waits for `index` from this carrier. */
  #isCarrying(index: number, carrier: Carrier): boolean {
    const flight = this.#flights.get(index)
    return flight !== undefined && flight.carriers.has(carrier) && flight.isWanted
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
    if (this.#suppliers === undefined) {
      void this.#lookUp()
      return
    }
    const queued = new Map<number, Flight<Carrier>>()
    for (const flight of this.#flights.values()) {
      if (flight.carriers.size === 0 && flight.isWanted) queued.set(flight.index, flight)
    }
    while (queued.size > 0) {
      const flight = mostUrgent(queued.values())
      if (flight === undefined) return
      queued.delete(flight.index)
      const { space, budget } = this.#options
      if (flight.urgency !== 'read' && !budget.allows(pieceSize(space, flight.index))) {
        budget.whenFreed(this.#onFreed)
        return
      }
      const able = this.#able(flight)
      if (able.length === 0) {
        if (!this.#suppliers.looking && !this.#retriesLater(flight)) this.#giveUp(flight)
        continue
      }
      const supplier = bestCandidate(able, flight.urgency, Date.now())
      if (supplier === undefined) continue
      const run = runFrom(
        space,
        flight.index,
        (index) => queued.get(index)?.hasFailed(supplier.source) === false,
        supplier.holding,
        runBytes(supplier.holding, supplier.health),
      )
      for (const index of run) queued.delete(index)
      this.#start(supplier, run)
    }
  }

  readonly #onFreed = (): void => this.#schedulePump()

  #trusted(): Supplier[] {
    return (this.#suppliers?.ready ?? []).filter((one) => !one.setAside && this.#trust.has(one.source.name))
  }

  #able(flight: Flight<Carrier>): Supplier[] {
    const { space } = this.#options
    const start = flight.index * space.pieceLength
    const range = { start, end: start + pieceSize(space, flight.index) }
    const trusted = this.#trusted()
    const asked = this.#trust.oneAtATime ? trusted.slice(0, 1) : trusted
    const now = Date.now()
    return asked.filter((one) => flight.mayAsk(one.source, now) && one.holding.has(range))
  }

  /** True when a source that failed will be asked again for this piece; sees to it that this happens. */
  #retriesLater(flight: Flight<Carrier>): boolean {
    const usable = new Set(this.#trusted().map((one) => one.source))
    const next = flight.retryAt(usable)
    if (next === Infinity) return false
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(() => this.#schedulePump(), Math.max(1, next - Date.now()))
    return true
  }

  #start(supplier: Supplier, run: readonly number[]): void {
    const now = Date.now()
    const carrier: Carrier = { supplier, run, abort: new AbortController(), started: now, lastProgress: now }
    this.#carriers.add(carrier)
    supplier.active += 1
    let bytes = 0
    for (const index of run) {
      bytes += pieceSize(this.#options.space, index)
      this.#flights.get(index)?.carriers.add(carrier)
    }
    this.#options.budget.take(bytes)
    this.#watchForStalls()
    const running: Promise<void> = this.#carry(carrier)
      .catch((error: unknown) => this.#carrierFailed(carrier, error))
      .finally(() => {
        this.#carriers.delete(carrier)
        this.#running.delete(running)
        supplier.active -= 1
        for (const index of run) {
          const flight = this.#flights.get(index)
          if (flight === undefined) continue
          flight.carriers.delete(carrier)
          if (!flight.isWanted && flight.carriers.size === 0) this.#flights.delete(index)
        }
        this.#options.budget.give(bytes)
        if (this.#carriers.size === 0) {
          clearInterval(this.#stallTimer)
          this.#stallTimer = undefined
        }
        this.#schedulePump()
      })
    this.#running.add(running)
  }

  async #carry(carrier: Carrier): Promise<void> {
    const { space } = this.#options
    const { holding } = carrier.supplier
    const signal = carrier.abort.signal
    const urgency = this.#flights.get(carrier.run[0] ?? 0)?.urgency ?? 'fill'
    const puts = new Set<Promise<boolean>>()
    let received = 0
    const progress = (bytes: number): void => {
      const now = performance.now()
      if (received === 0) carrier.supplier.health = afterFirstByte(carrier.supplier.health, now - started)
      received += bytes
      carrier.lastProgress = Date.now()
      this.#options.onBytes?.(carrier.supplier.source.name, bytes)
    }
    const started = performance.now()
    if (holding.piece !== undefined) {
      for (const index of carrier.run) {
        const piece = await holding.piece(index, { urgency, signal })
        progress(piece.bytes.byteLength)
        this.#arrived(piece, carrier)
        this.#options.onFetched?.()
      }
    } else {
      for await (const raw of transfer(space, carrier.run, holding, { urgency, signal })) {
        progress(raw.bytes.byteLength)
        const piece = await checkPiece(space, raw.index, raw.bytes)
        this.#arrived(piece, carrier)
        await this.#keep(piece, puts)
        if (!carrier.run.some((index) => this.#isCarrying(index, carrier))) break
      }
    }
    const took = performance.now() - started
    carrier.supplier.health = afterSuccess(carrier.supplier.health, received, took)
    await Promise.all(puts)
  }

  /** Writing to disk overlaps with receiving, up to a few pieces: the disk holds the source back, not memory. */
  async #keep(piece: Piece, puts: Set<Promise<boolean>>): Promise<void> {
    const put: Promise<boolean> = this.#options.cache.put(piece).finally(() => {
      puts.delete(put)
      this.#options.onFetched?.()
    })
    puts.add(put)
    if (puts.size >= PUTS_AT_ONCE) await Promise.race(puts)
  }

  #arrived(piece: Piece, carrier: Carrier): void {
    const flight = this.#flights.get(piece.index)
    if (flight !== undefined) {
      this.#flights.delete(piece.index)
      for (const other of flight.carriers) {
        if (other !== carrier && !other.run.some((index) => this.#isCarrying(index, other))) other.abort.abort()
      }
      flight.settle(piece)
    }
    if (piece.assurance !== 'pending') return
    this.contributors.add(carrier.supplier.source.name)
    this.#brought.add(piece.index)
  }

  #carrierFailed(carrier: Carrier, error: unknown): void {
    if (this.#closed) return
    const { supplier } = carrier
    // We stopped it ourselves: nobody wants its pieces any more, or another was faster.
    if (carrier.abort.signal.aborted) return
    const reason = reasonOf(error)
    if (isAnnexfsError(error, 'CORRUPT')) {
      supplier.setAside = true
      this.#options.log.warn('a source gave wrong bytes and is set aside for this content', {
        source: supplier.source.name,
        content: this.#options.space.id,
        reason,
      })
    } else {
      supplier.health = afterFailure(supplier.health, Date.now())
      this.#options.log.debug('a source failed', { source: supplier.source.name, reason })
    }
    let blamed = false
    for (const index of carrier.run) {
      const flight = this.#flights.get(index)
      if (flight === undefined || !flight.carriers.has(carrier)) continue
      flight.carriers.delete(carrier)
      // Those behind the piece that failed were never asked for properly: they go on without blame.
      if (blamed && !isForGood(error)) continue
      blamed = true
      flight.blame(supplier.source, error, Date.now())
    }
  }

  #giveUp(flight: Flight<Carrier>): void {
    this.#flights.delete(flight.index)
    const liars = (this.#suppliers?.ready ?? [])
      .filter((one) => !this.#trust.has(one.source.name))
      .map((one) => ({ source: one.source.name, reason: 'gave wrong bytes of it before' }))
    const attempts = [...flight.attempts, ...(this.#suppliers?.refused ?? []), ...this.#unusable, ...liars]
    const error = new AnnexfsError('UNAVAILABLE', unavailable(attempts), { attempts })
    flight.fail(error)
    if (this.#flights.size === 0 && Date.now() - this.#lookedUp > LOOK_AGAIN_AFTER) {
      // Remotes come and go: the next read asks all of them afresh.
      this.#suppliers?.close()
      this.#suppliers = undefined
    }
  }

  async #lookUp(): Promise<void> {
    if (this.#looking) return
    this.#looking = true
    this.#lookedUp = Date.now()
    const { space, log, sources } = this.#options
    try {
      const list = await sources()
      if (this.#closed) {
        for (const source of list.sources) source.close?.()
        return
      }
      this.#unusable = list.unusable
      this.#suppliers = findSuppliers(space, list.sources, log, () => this.#schedulePump())
    } catch (error) {
      for (const flight of Array.from(this.#flights.values())) {
        this.#flights.delete(flight.index)
        flight.fail(error)
      }
    } finally {
      this.#looking = false
      this.#schedulePump()
    }
  }

  #watchForStalls(): void {
    if (this.#stallTimer !== undefined) return
    this.#stallTimer = setInterval(() => this.#helpStalled(), STALL_CHECK)
  }

  /** Asks another source for what a reader waits for and a stalled transfer does not bring. */
  #helpStalled(): void {
    const now = Date.now()
    for (const flight of this.#flights.values()) {
      if (flight.urgency !== 'read' || flight.carriers.size !== 1) continue
      const [carrier] = flight.carriers
      if (carrier === undefined || now - carrier.lastProgress < STALLED_AFTER) continue
      const others = this.#able(flight).filter((one) => one !== carrier.supplier)
      const helper = bestCandidate(others, 'read', now)
      if (helper !== undefined) this.#start(helper, [flight.index])
    }
  }
}

function unavailable(attempts: readonly Attempt[]): string {
  if (attempts.length === 0) return 'no source is known to have this content'
  const said = new Set(attempts.map((one) => `${one.source}: ${one.reason}`))
  return `no source could give this content: ${[...said].join('; ')}`
}
