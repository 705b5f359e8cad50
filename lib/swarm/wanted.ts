import type { CachedSpace } from '../cache/store.js'
import { abortError, AnnexfsError, isAnnexfsError } from '../errors.js'
import type { Demand } from '../sources/source.js'
import { pieceSize, type PieceSpace, type Urgency } from '../space/space.js'
import { checkPiece, type VerifiedPiece } from '../verify/piece.js'
import type { ToChild } from './messages.js'
import { moreUrgent } from './order.js'

interface Waiter {
  readonly resolve: (piece: VerifiedPiece) => void
  readonly reject: (error: AnnexfsError) => void
}

interface Pending {
  urgency: Urgency
  readonly waiters: Set<Waiter>
  /** How often the piece was announced and then not found. */
  missed: number
}

/** The cache may lose a piece between the other process and us, but not again and again. */
const MOST_MISSED = 3

/**
 * The pieces of one torrent that somebody here waits for. Everybody who wants the same piece shares one request; the
 * last who gives up calls it back. Every wait ends: with the piece, an error of the swarm, or its own signal.
 */
export class Wanted {
  readonly #pending = new Map<number, Pending>()

  constructor(
    readonly infohash: string,
    private readonly space: PieceSpace,
    private readonly cached: CachedSpace | undefined,
    private readonly send: (message: ToChild) => void,
  ) {}

  get size(): number {
    return this.#pending.size
  }

  piece(index: number, demand: Demand): Promise<VerifiedPiece> {
    const { signal, urgency } = demand
    if (signal.aborted) return Promise.reject(abortError(signal))
    return new Promise((resolve, reject) => {
      const settled = (): void => signal.removeEventListener('abort', onAbort)
      const waiter: Waiter = {
        resolve: (piece) => {
          settled()
          resolve(piece)
        },
        reject: (error) => {
          settled()
          reject(error)
        },
      }
      const onAbort = (): void => {
        this.#leave(index, waiter)
        reject(abortError(signal))
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#enter(index, waiter, urgency)
    })
  }

  /** The other process has it: in the store, or in `bytes`. Its word is checked. */
  async arrived(index: number, bytes: Uint8Array | undefined): Promise<void> {
    const pending = this.#pending.get(index)
    if (pending === undefined) return
    try {
      const found = bytes ?? (await this.cached?.read(index, 0, pieceSize(this.space, index)))
      if (this.#pending.get(index) !== pending) return
      if (found === undefined) {
        pending.missed += 1
        if (pending.missed <= MOST_MISSED) {
          this.send({ type: 'send', infohash: this.infohash, index, urgency: pending.urgency })
          return
        }
        throw new AnnexfsError('UNAVAILABLE', `swarm: piece ${index} of ${this.space.id} came and was lost again`)
      }
      const piece = await checkPiece(this.space, index, found)
      if (piece.assurance !== 'piece') throw new AnnexfsError('INVALID', `${this.space.id} has no piece hashes`)
      this.#settle(index, pending, (waiter) => waiter.resolve(piece))
    } catch (error) {
      const own = isAnnexfsError(error)
        ? error
        : new AnnexfsError('SYSTEM', `piece ${index} of ${this.space.id} could not be read`, { cause: error })
      this.#settle(index, pending, (waiter) => waiter.reject(own))
    }
  }

  failed(index: number, reason: string): void {
    const pending = this.#pending.get(index)
    if (pending === undefined) return
    const error = new AnnexfsError('UNAVAILABLE', `swarm: piece ${index} of ${this.space.id}: ${reason}`)
    this.#settle(index, pending, (waiter) => waiter.reject(error))
  }

  failAll(error: AnnexfsError): void {
    for (const [index, pending] of this.#pending) this.#settle(index, pending, (waiter) => waiter.reject(error))
  }

  #enter(index: number, waiter: Waiter, urgency: Urgency): void {
    const pending = this.#pending.get(index)
    if (pending === undefined) {
      this.#pending.set(index, { urgency, waiters: new Set([waiter]), missed: 0 })
      this.send({ type: 'want', infohash: this.infohash, index, urgency })
      return
    }
    pending.waiters.add(waiter)
    const together = moreUrgent(pending.urgency, urgency)
    if (together === pending.urgency) return
    pending.urgency = together
    this.send({ type: 'want', infohash: this.infohash, index, urgency: together })
  }

  #leave(index: number, waiter: Waiter): void {
    const pending = this.#pending.get(index)
    if (pending === undefined || !pending.waiters.delete(waiter) || pending.waiters.size > 0) return
    this.#pending.delete(index)
    this.send({ type: 'cancel', infohash: this.infohash, index })
  }

  #settle(index: number, pending: Pending, each: (waiter: Waiter) => void): void {
    if (this.#pending.get(index) === pending) this.#pending.delete(index)
    for (const waiter of pending.waiters) each(waiter)
    pending.waiters.clear()
  }
}
