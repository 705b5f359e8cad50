import type { EventEmitter } from 'node:events'

type Listener = (...values: unknown[]) => void

/**
 * bittorrent-dht takes what a query names (BEP 5) without a look at its kind, and throws where nobody catches. A packet
 * that it cannot handle is forgotten, as a lost one would be.
 */
export function guardPackets(socket: EventEmitter, failed: (error: unknown) => void): void {
  for (const listener of socket.listeners('message') as Listener[]) {
    socket.removeListener('message', listener)
    socket.on('message', (...values: unknown[]) => {
      try {
        listener.apply(socket, values)
      } catch (error) {
        failed(error)
      }
    })
  }
}
