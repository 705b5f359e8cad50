import { isIP, type LookupFunction } from 'node:net'
import type { WebSocket } from 'ws'
import { abortError, AnnexfsError, reasonOf } from '../errors.js'
import { shownUrl } from '../net/url.js'
import type { Bytes, Milliseconds } from '../space/space.js'
import type { AllowedAddresses } from './announce.js'

const HANDSHAKE: Milliseconds = 10_000
/** An offer or answer takes a few KiB; a message of the tracker holds one. */
const LONGEST_MESSAGE: Bytes = 64 * 1024
const MOST_FRAGMENTS = 64
const MOST_UNSENT: Bytes = 256 * 1024
/** Of the whole process; many torrents may be active, each with trackers of its own. */
const MOST_SOCKETS = 100

let sockets = 0

/**
 * Opens a web socket (RFC 6455) to a host that the policy allows, at just the addresses that it allowed. Redirects are
 * not followed; messages are not compressed and bounded.
 * @throws AnnexfsError INVALID, FORBIDDEN, UNAVAILABLE, ABORTED.
 */
export async function openSocket(text: string, allowed: AllowedAddresses, signal: AbortSignal): Promise<WebSocket> {
  const shown = shownUrl(text)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^wss?:$/.test(url.protocol)) {
    throw new AnnexfsError('INVALID', `the tracker ${shown} is not a ws or wss address`)
  }
  url.hash = ''
  const addresses = await allowed(url.hostname.replace(/^\[|\]$/g, ''))
  if (addresses.length === 0) {
    throw new AnnexfsError('FORBIDDEN', `the tracker ${shown} has no address that may be connected to`)
  }
  if (sockets >= MOST_SOCKETS) {
    throw new AnnexfsError('UNAVAILABLE', `the tracker ${shown} is not asked: ${sockets} web sockets are open already`)
  }
  // Loaded when the first tracker of this kind needs it.
  const { default: Socket } = await import('ws')
  if (signal.aborted) throw abortError(signal)
  const socket = new Socket(url, {
    lookup: pinned(addresses),
    handshakeTimeout: HANDSHAKE,
    maxPayload: LONGEST_MESSAGE,
    maxFragments: MOST_FRAGMENTS,
    maxBufferedChunks: 4 * MOST_FRAGMENTS,
    perMessageDeflate: false,
    followRedirects: false,
    autoPong: false,
  })
  sockets += 1
  // Whoever waits listens too; an error that nobody waits for is the end of the socket and no more.
  socket.on('error', () => undefined)
  socket.once('close', () => {
    sockets -= 1
  })
  await new Promise<void>((resolve, reject) => {
    const failed = (error: unknown): void => {
      signal.removeEventListener('abort', aborted)
      reject(new AnnexfsError('UNAVAILABLE', `the tracker ${shown} was not reached: ${reasonOf(error)}`))
    }
    const aborted = (): void => {
      reject(abortError(signal))
      socket.terminate()
    }
    signal.addEventListener('abort', aborted, { once: true })
    socket.once('error', failed)
    socket.once('open', () => {
      signal.removeEventListener('abort', aborted)
      socket.removeListener('error', failed)
      resolve()
    })
  })
  return socket
}

/** Answers a ping; false when the other side does not read what it is sent. */
export function pong(socket: WebSocket, data: Uint8Array): boolean {
  if (socket.bufferedAmount > MOST_UNSENT) return false
  if (socket.readyState === 1) socket.pong(data)
  return true
}

/** The name has been looked up and checked: it is not looked up again. */
function pinned(addresses: readonly string[]): LookupFunction {
  return (_host, options, callback) => {
    const found = addresses.map((address) => ({ address, family: isIP(address) }))
    const [first] = found
    if (options.all === true) callback(null, found)
    else callback(null, first?.address ?? '', first?.family)
  }
}
