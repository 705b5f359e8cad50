import type { Wire } from 'bittorrent-protocol'
import type { Bytes, Milliseconds } from '../space/space.js'
import { BLOCK_LENGTH, type Giver } from './assembly.js'
import { window } from './order.js'

/** A connection to a peer as the picker needs it. */
export class Link implements Giver {
  readonly address: string
  #given = 0
  #delay: { readonly least: Milliseconds; readonly last: Milliseconds } | undefined

  constructor(readonly wire: Wire) {
    this.address = plainAddress(wire.remoteAddress ?? '')
  }

  room(): number {
    if (this.wire.destroyed || this.wire.peerChoking) return 0
    const queue = this.wire.peerExtendedHandshake['reqq']
    const giving = {
      speed: this.speed(),
      given: this.#given,
      delay: this.#delay,
      queue: typeof queue === 'number' ? queue : undefined,
    }
    return window(giving, BLOCK_LENGTH) - this.wire.requests.length
  }

  speed(): number {
    return this.wire.downloadSpeed()
  }

  has(index: number): boolean {
    return this.wire.peerPieces.get(index)
  }

  request(index: number, offset: Bytes, length: Bytes, done: (error: Error | null, block?: Uint8Array) => void): void {
    const asked = performance.now()
    this.wire.request(index, offset, length, (error, block) => {
      if (error === null) {
        this.#given += 1
        const last = performance.now() - asked
        this.#delay = { least: Math.min(last, this.#delay?.least ?? last), last }
      }
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
