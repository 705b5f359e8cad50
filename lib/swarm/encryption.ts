import type WebTorrent from 'webtorrent'
import type { TorrentPeer } from 'webtorrent'

const PLAIN = 0
const ENCRYPTED = 1
const MOST_REMEMBERED = 10_000

/**
 * Whether to begin a connection with protocol encryption (MSE). webtorrent knows one answer for all peers and does not
 * try the other. Plain is a round trip and a key exchange faster and nearly all take it, so it comes first; an address
 * that hangs up before its handshake is tried the other way the next time. Incoming connections may be either.
 */
export class Encryption {
  readonly #encrypted = new Set<string>()

  /** Runs `connect`, which makes an outgoing peer for `address`, with the setting that is right for it. */
  apply(client: WebTorrent, address: string, connect: () => TorrentPeer | null): TorrentPeer | null {
    const encrypted = this.#encrypted.has(address)
    client.secure = encrypted ? ENCRYPTED : PLAIN
    const peer = connect()
    client.secure = ENCRYPTED
    peer?.once('disconnect', () => {
      if (peer._handshakeDone === true) return
      if (encrypted) this.#encrypted.delete(address)
      else if (this.#encrypted.size < MOST_REMEMBERED) this.#encrypted.add(address)
    })
    return peer
  }
}
