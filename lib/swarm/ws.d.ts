/** What we use of ws 8, which comes without types. */
declare module 'ws' {
  import type { EventEmitter } from 'node:events'
  import type { LookupFunction } from 'node:net'

  export interface WebSocketOptions {
    readonly lookup?: LookupFunction
    readonly handshakeTimeout?: number
    readonly maxPayload?: number
    readonly maxFragments?: number
    readonly maxBufferedChunks?: number
    readonly perMessageDeflate?: boolean
    readonly followRedirects?: boolean
    readonly autoPong?: boolean
  }

  export class WebSocket extends EventEmitter {
    static readonly OPEN: number
    constructor(url: string | URL, options?: WebSocketOptions)
    readonly readyState: number
    readonly bufferedAmount: number
    send(data: string | Uint8Array): void
    ping(): void
    pong(data?: Uint8Array): void
    close(): void
    terminate(): void
  }

  export class WebSocketServer extends EventEmitter {
    constructor(options: { readonly host: string; readonly port: number })
    address(): { readonly port: number }
    close(): void
  }

  export default WebSocket
}
