import type { CachedSpace } from '../cache/store.js'
import { AnnexfsError, isAnnexfsError } from '../errors.js'
import type { Demand, Source } from '../sources/source.js'
import type { Asking } from '../space/awaited.js'
import { pieceBuffers } from '../space/piece-buffers.js'
import type { Bytes, PieceSpace, Urgency } from '../space/space.js'
import { checkPiece, type Piece } from '../verify/piece.js'
import { Assembly } from './assembly.js'
import type { FetchBudget } from './budget.js'
import type { Supplier } from './candidates.js'
import { Carrier } from './carrier.js'
import type { Flight } from './flight.js'
import { NO_FAILURES } from './health.js'
import type { Quota } from './quota.js'
import type { Place } from './places.js'
import type { WasteBudget } from './waste.js'
import type { Part } from './split.js'
import { transfer } from './transfer.js'

/** Pieces of one transfer being written to the cache at once: at least two, and so many bytes of small ones. */
const PUTS_AT_ONCE = 2
const PUT_AT_ONCE: Bytes = 4 * 1024 * 1024
/** What a server may have sent on a connection when we hang up: what the buffers on the way hold. */
const SENT_IN_VAIN: Bytes = 256 * 1024

export interface CarriersOptions {
  readonly space: PieceSpace
  readonly cache: CachedSpace
  readonly budget: FetchBudget
  readonly waste: WasteBudget
  /** Is told of all that arrives, or has been sent to us in vain. */
  readonly quota?: Quota | undefined
  /** Of all pieces that are wanted; theirs to note who carries what, the fetcher's to add and remove. */
  readonly flights: ReadonlyMap<number, Flight>
  /** A piece has come, checked. */
  readonly onPiece: (piece: Piece, carrier: Carrier) => void
  /** A transfer has failed that was not stopped by us. */
  readonly onFailure: (carrier: Carrier, error: unknown) => void
  /** A transfer has ended, in whatever way, and is no longer among the running. */
  readonly onEnd: () => void
  readonly onFetched?: (() => void) | undefined
  readonly onBytes?: ((source: string, bytes: Bytes, from: Source, place: Place) => void) | undefined
}

/** Part of a piece to be brought in parts. */
export interface SupplierPart extends Part<{
  readonly supplier: Supplier
  latency: number
  rate: number
  unit: Bytes
}> {}

/** The transfers of one space that are under way: starts them, keeps what they bring, counts what they take. */
export class Carriers {
  readonly #options: CarriersOptions
  readonly #all = new Set<Carrier>()
  /** Those that transfer the whole content before they give any of it, and were asked. */
  readonly #wholes = new WeakSet<Supplier>()
  readonly #running = new Set<Promise<void>>()
  /** Pieces that the cache is being given. */
  readonly #storing = new Set<number>()

  constructor(options: CarriersOptions) {
    this.#options = options
  }

  [Symbol.iterator](): IterableIterator<Carrier> {
    return this.#all.values()
  }

  get size(): number {
    return this.#all.size
  }

  /** Resolves when none is under way and what they brought is in the cache. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running)
  }

  abortAll(): void {
    for (const carrier of this.#all) carrier.abort.abort()
  }

  /** True when somebody still waits for a piece from this carrier. */
  isWanted(carrier: Carrier): boolean {
    return carrier.left.some((index) => {
      const flight = this.#options.flights.get(index)
      return flight !== undefined && flight.carriers.has(carrier) && flight.isWanted
    })
  }

  /** Brings neighbouring pieces from one source. */
  start(supplier: Supplier, run: readonly number[], urgency: Urgency): Carrier {
    const carrier = new Carrier(this.#options.space, supplier, run)
    this.#launch(carrier, (asking) => this.#carry(carrier, { urgency, ...asking }))
    return carrier
  }

  /** Brings one piece in parts from several. */
  startParts(index: number, parts: readonly SupplierPart[]): void {
    const [first, last] = [parts[0], parts.at(-1)]
    if (first === undefined || last === undefined) return
    const assembly = new Assembly({ start: first.range.start, end: last.range.end })
    for (const { helper, range } of parts) {
      const carrier = new Carrier(this.#options.space, helper.supplier, [index], { range, assembly })
      this.#launch(carrier, (asking) => this.#carryPart(carrier, index, { urgency: 'read', ...asking }))
    }
  }

  /** Takes the pieces behind the first `count` from a carrier: somebody else brings them sooner. */
  cut(carrier: Carrier, count: number): readonly number[] {
    const { pieces, bytes } = carrier.cut(count)
    carrier.supplier.place.outstanding -= bytes
    carrier.reserved -= bytes
    this.#options.budget.give(bytes)
    for (const index of pieces) this.#options.flights.get(index)?.carriers.delete(carrier)
    return pieces
  }

  #launch(carrier: Carrier, carry: (asking: Asking) => Promise<void>): void {
    const { budget, flights } = this.#options
    const { place } = carrier.supplier
    this.#all.add(carrier)
    this.#chargeWhole(carrier.supplier)
    place.begin(carrier.expected)
    budget.take(carrier.reserved)
    for (const index of carrier.run) flights.get(index)?.carriers.add(carrier)
    const running: Promise<void> = carry({ signal: carrier.abort.signal, awaits: carrier.awaited.tell })
      .catch((error: unknown) => {
        // Stopped by us: nobody wants its pieces any more, or another was faster.
        if (!carrier.abort.signal.aborted) this.#options.onFailure(carrier, error)
      })
      .finally(() => {
        this.#running.delete(running)
        this.#end(carrier)
      })
    this.#running.add(running)
  }

  #end(carrier: Carrier): void {
    const { budget, flights, onEnd } = this.#options
    const { place } = carrier.supplier
    const now = performance.now()
    this.#all.delete(carrier)
    if (carrier.abort.signal.aborted && carrier.supplier.holding.whole !== true) {
      this.#options.quota?.spend(Math.min(SENT_IN_VAIN, carrier.expected))
    }
    if (carrier.answered === undefined && carrier.abort.signal.aborted) place.silent(now - carrier.started)
    if (carrier.answered !== undefined && carrier.supplier.holding.piece === undefined) place.stopStream(now)
    for (const index of carrier.run) flights.get(index)?.carriers.delete(carrier)
    budget.give(carrier.reserved)
    onEnd()
    place.end(carrier.expected)
  }

  #chargeWhole(supplier: Supplier): void {
    if (supplier.holding.whole !== true || this.#wholes.has(supplier)) return
    this.#wholes.add(supplier)
    this.#options.quota?.spend(this.#options.space.length)
  }

  #progress(carrier: Carrier, bytes: Bytes): void {
    const { place } = carrier.supplier
    const now = performance.now()
    if (carrier.answered === undefined) {
      carrier.answered = now
      if (carrier.supplier.holding.piece === undefined) {
        place.answered(now - carrier.started)
        place.startStream(now)
      } else place.answered(Math.max(1, now - carrier.started - carrier.queued))
    }
    carrier.received += bytes
    carrier.lastProgress = now
    const counted = Math.min(bytes, carrier.expected)
    carrier.expected -= counted
    if (carrier.supplier.holding.piece === undefined) place.arrived(bytes, counted, now)
    else place.pieceArrived(bytes, counted, now)
    this.#options.waste.fetched(bytes)
    if (carrier.supplier.holding.whole !== true) this.#options.quota?.spend(bytes)
    this.#options.onBytes?.(carrier.supplier.source.name, bytes, carrier.supplier.source, place)
  }

  async #carry(carrier: Carrier, demand: Demand): Promise<void> {
    const { space, onPiece } = this.#options
    const { holding } = carrier.supplier
    if (holding.piece !== undefined) {
      await this.#carryPieces(carrier, demand)
      return
    }
    const puts = new Set<Promise<boolean>>()
    const onBytes = (bytes: Bytes): void => this.#progress(carrier, bytes)
    for await (const raw of transfer(space, carrier.run, holding, demand, onBytes)) {
      const piece = await checkPiece(space, raw.index, raw.bytes)
      carrier.pieceArrived(raw.index)
      if (this.#isLate(piece)) pieceBuffers.release(piece.bytes)
      else {
        onPiece(piece, carrier)
        await this.#keep(piece, puts)
      }
      if (!this.isWanted(carrier)) break
    }
    this.#succeeded(carrier)
    await Promise.all(puts)
  }

  /** From a source that checks pieces itself and has them put into the cache. */
  async #carryPieces(carrier: Carrier, demand: Demand): Promise<void> {
    for (let at = 0; at < carrier.run.length; at++) {
      const index = carrier.run[at]
      if (index === undefined) return
      const piece = await carrier.supplier.holding.piece?.(index, demand)
      if (piece === undefined) return
      this.#progress(carrier, piece.bytes.byteLength)
      carrier.pieceArrived(index)
      this.#options.onPiece(piece, carrier)
      this.#options.onFetched?.()
    }
    this.#succeeded(carrier)
  }

  async #carryPart(carrier: Carrier, index: number, demand: Demand): Promise<void> {
    const { space, onPiece } = this.#options
    if (carrier.part === undefined) return
    const { range, assembly } = carrier.part
    const length = range.end - range.start
    const part = Buffer.allocUnsafeSlow(length)
    let at = 0
    for await (const chunk of carrier.supplier.holding.read(range, demand)) {
      this.#progress(carrier, chunk.byteLength)
      if (at + chunk.byteLength > length) {
        throw new AnnexfsError('CORRUPT', `the source gave more than the ${length} bytes asked of ${space.id}`)
      }
      part.set(chunk, at)
      at += chunk.byteLength
    }
    if (at < length) {
      throw new AnnexfsError('UNAVAILABLE', `the source gave ${at} of ${length} bytes asked of ${space.id}`)
    }
    this.#succeeded(carrier)
    if (!assembly.fill(range, part, carrier.supplier)) return
    const piece = await this.#checked(index, assembly)
    if (piece === undefined || this.#isLate(piece)) return
    onPiece(piece, carrier)
    const puts = new Set<Promise<boolean>>()
    await this.#keep(piece, puts)
    await Promise.all(puts)
  }

  /** Nobody is blamed yet when the parts do not make the piece: one source alone will show who lied. */
  async #checked(index: number, assembly: Assembly): Promise<Piece | undefined> {
    const { space, flights } = this.#options
    try {
      return await checkPiece(space, index, assembly.bytes)
    } catch (error) {
      if (!isAnnexfsError(error, 'CORRUPT')) throw error
      const flight = flights.get(index)
      if (flight !== undefined) {
        flight.alone = true
        flight.suspects = assembly
      }
      return undefined
    }
  }

  #succeeded(carrier: Carrier): void {
    carrier.supplier.rest = NO_FAILURES
    carrier.supplier.place.succeeded()
  }

  /**
   * True when another source has brought the piece already and nothing tells which of them is right: then the cache must keep
   * what readers were given, or the check of all of it would be of other bytes than theirs.
   */
  #isLate({ index, assurance }: Piece): boolean {
    const { flights, cache } = this.#options
    return assurance === 'pending' && !flights.has(index) && (this.#storing.has(index) || cache.has(index))
  }

  /** Writing to disk overlaps with receiving, up to a few pieces: the disk holds the source back, not memory. */
  async #keep(piece: Piece, puts: Set<Promise<boolean>>): Promise<void> {
    const { cache, onFetched } = this.#options
    this.#storing.add(piece.index)
    const put: Promise<boolean> = cache.put(piece).finally(() => {
      puts.delete(put)
      this.#storing.delete(piece.index)
      // Whoever waited for it has used it by then, however soon the cache was done.
      setImmediate(() => pieceBuffers.release(piece.bytes))
      onFetched?.()
    })
    puts.add(put)
    if (puts.size >= Math.max(PUTS_AT_ONCE, PUT_AT_ONCE / this.#options.space.pieceLength)) await Promise.race(puts)
  }
}
