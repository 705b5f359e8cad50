import type { Wire } from 'bittorrent-protocol'
import type { Bytes } from '../space/space.js'

/** BEP 3 says 16 KiB; clients close the connection at more than 128 KiB. */
const LONGEST_BLOCK: Bytes = 128 * 1024
/** Handed to a connection and not yet sent: enough to keep it busy, little to lose when the peer goes. */
const MOST_UNSENT: Bytes = 512 * 1024
const LOOK_AGAIN = 20

/** Where the bytes for peers come from. */
export interface Stock {
  readonly pieces: number
  size(index: number): Bytes
  has(index: number): boolean
  /** Undefined: evicted or damaged; the piece is no longer offered then. */
  read(index: number, start: Bytes, end: Bytes): Promise<Uint8Array | undefined>
}

/** Bytes per second that may go out, shared by all connections of the process. */
export class UploadAllowance {
  #tokens: number
  #at = Date.now()

  constructor(private readonly rate: Bytes | undefined) {
    this.#tokens = rate ?? 0
  }

  /** Milliseconds to wait before `bytes` may be sent; 0: they are taken. */
  take(bytes: Bytes): number {
    if (this.rate === undefined) return 0
    const now = Date.now()
    // At least one block fits, or a limit below a block's size would serve nothing for ever.
    const most = Math.max(this.rate, LONGEST_BLOCK)
    this.#tokens = Math.min(most, this.#tokens + (Math.max(0, now - this.#at) / 1000) * this.rate)
    this.#at = now
    if (this.#tokens >= bytes) {
      this.#tokens -= bytes
      return 0
    }
    return Math.max(LOOK_AGAIN, ((bytes - this.#tokens) / this.rate) * 1000)
  }
}

interface Asked {
  readonly index: number
  readonly offset: Bytes
  readonly length: Bytes
  readonly respond: (error: Error | null, block?: Uint8Array) => void
}

/**
 * Answers what a peer asks for, one block after the other, from the cache: only what is whole there, no faster than the
 * peer reads, never something in place of an evicted piece. That is refused (BEP 6), or the peer is choked, which calls
 * back all its requests (BEP 3).
 */
export function serveWire(wire: Wire, stock: Stock, allowance: UploadAllowance, sent: (bytes: Bytes) => void): void {
  const queue: Asked[] = []
  let busy = false

  const answerAll = async (): Promise<void> => {
    if (busy) return
    busy = true
    try {
      while (queue.length > 0 && !wire.destroyed) {
        const next = queue[0]
        if (next === undefined) break
        const wait = wire._readableState.buffered > MOST_UNSENT ? LOOK_AGAIN : 0
        if (wait > 0) {
          await pause(wait)
          continue
        }
        queue.shift()
        if (!stillAsked(wire, next)) continue
        const block = await stock.read(next.index, next.offset, next.offset + next.length)
        if (wire.destroyed) return
        if (block === undefined) {
          next.respond(new Error('the piece is not in the cache any more'))
          if (!wire.hasFast) {
            wire.choke()
            queue.length = 0
          }
          continue
        }
        for (let pausing = allowance.take(next.length); pausing > 0; pausing = allowance.take(next.length)) {
          await pause(pausing)
          if (wire.destroyed) return
        }
        if (!stillAsked(wire, next)) continue
        next.respond(null, block)
        sent(block.byteLength)
      }
    } finally {
      busy = false
    }
  }

  wire.on('request', (index: number, offset: number, length: number, respond: Asked['respond']) => {
    const fits = index >= 0 && index < stock.pieces && offset >= 0 && length > 0 && offset + length <= stock.size(index)
    if (!fits || length > LONGEST_BLOCK) {
      wire.destroy()
      return
    }
    if (!stock.has(index)) {
      respond(new Error('not here'))
      return
    }
    queue.push({ index, offset, length, respond })
    answerAll().catch(() => wire.destroy())
  })
  wire.once('close', () => {
    queue.length = 0
  })
}

/** A choke or a cancel in the meantime has taken the request back. */
function stillAsked(wire: Wire, asked: Asked): boolean {
  return wire.peerRequests.some(
    (one) => one.piece === asked.index && one.offset === asked.offset && one.length === asked.length,
  )
}

async function pause(milliseconds: number): Promise<void> {
  await new Promise<void>((resolve) => setTimeout(resolve, milliseconds))
}
