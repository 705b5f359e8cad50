import type { Bytes, Milliseconds } from '../space/space.js'

/** What a tracker is told (BEP 3). */
export interface Announcement {
  /** 40 hexadecimal digits each. */
  readonly infohash: string
  readonly peerId: string
  readonly port: number
  readonly uploaded: Bytes
  readonly downloaded: Bytes
  readonly left: Bytes
  readonly event: 'started' | 'stopped' | undefined
}

export interface AnnounceAnswer {
  /** When it wants to be asked again. */
  readonly interval: Milliseconds
  /** `host:port`, `[host]:port`; addresses only. */
  readonly peers: readonly string[]
}

/** Addresses of a host that the policy allows to connect to; empty when there is none. */
export type AllowedAddresses = (host: string) => Promise<readonly string[]>

/** More than a client ever connects to. */
export const MOST_PEERS_AN_ANSWER = 200
const IPV4_PEER = 6
const IPV6_PEER = 18

/** BEP 23 (`length` 6) and BEP 7 (18): addresses and ports after each other. */
export function compactPeers(bytes: Uint8Array, length: typeof IPV4_PEER | typeof IPV6_PEER): string[] {
  const peers: string[] = []
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = 0; at + length <= view.length && peers.length < MOST_PEERS_AN_ANSWER; at += length) {
    const port = view.readUInt16BE(at + length - 2)
    if (port === 0) continue
    if (length === IPV4_PEER) peers.push(`${view.subarray(at, at + 4).join('.')}:${port}`)
    else {
      const groups = Array.from({ length: 8 }, (_, group) => view.readUInt16BE(at + group * 2).toString(16))
      peers.push(`[${groups.join(':')}]:${port}`)
    }
  }
  return peers
}
