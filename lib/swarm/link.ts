import type { Wire } from 'bittorrent-protocol'
import type { Bytes } from '../space/space.js'
import { BLOCK_LENGTH, type Giver } from './assembly.js'
import { Flow } from './flow.js'

/** A connection to a peer as the picker needs it. */
export class Link implements Giver {
  readonly address: string
  readonly #flow: Flow
  #asked = 0

  constructor(
    readonly wire: Wire,
    pieceLength: Bytes,
  ) {
    this.address = plainAddress(wire.remoteAddress ?? '')
    this.#flow = new Flow(pieceLength, BLOCK_LENGTH)
    wire.on('reject', () => this.#flow.refused(performance.now()))
  }

  /** Blocks that it was asked for so far. */
  get asked(): number {
    return this.#asked
  }

  room(hurry = false): number {
    if (this.wire.destroyed || this.wire.peerChoking) return 0
    const queue = this.wire.peerExtendedHandshake['reqq']
    const now = performance.now()
    const peer = {
      speed: this.speed(),
      owes: this.wire.requests.length,
      queue: typeof queue === 'number' ? queue : undefined,
    }
    return this.#flow.room(peer, now, hurry)
  }

  speed(): number {
    return this.wire.downloadSpeed()
  }

  has(index: number): boolean {
    return this.wire.peerPieces.get(index)
  }

  request(index: number, offset: Bytes, length: Bytes, done: (error: Error | null, block?: Uint8Array) => void): void {
    const asked = performance.now()
    this.#asked += 1
    this.#flow.asked(this.wire.requests.length, asked)
    this.wire.request(index, offset, length, (error, block) => {
      const now = performance.now()
      if (error === null) this.#flow.came(length, now - asked, this.wire.requests.length, now)
      done(error, block)
    })
  }

  cancel(index: number, offset: Bytes, length: Bytes): void {
    if (this.wire.destroyed) return
    if (this.wire.requests.some((one) => one.piece === index && one.offset === offset && one.length === length)) {
      this.wire.cancel(index, offset, length)
    }
  }
}

/** An address as it is compared and banned: IPv4 in its plain form also where it came in by an IPv6 socket. */
export function plainAddress(address: string): string {
  return address.replace(/^\[|\]$/g, '').replace(/^::ffff:(\d+\.\d+\.\d+\.\d+)$/i, '$1')
}
