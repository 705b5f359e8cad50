import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { abortError, AnnexfsError } from '../errors.js'
import { printable } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'
import { compactPeers, type AllowedAddresses, type AnnounceAnswer, type Announcement } from './announce.js'
import { splitAddress } from './peer-address.js'

/** BEP 15. */
const PROTOCOL = 0x41727101980n
const CONNECT = 0
const ANNOUNCE = 1
const ERROR = 3
const STARTED = 2
const STOPPED = 3
const PEERS_WANTED = 50
/** BEP 15 says 15 s times 2^n; somebody may be waiting for these peers. */
const TRY_AGAIN: readonly Milliseconds[] = [2000, 4000, 8000]

/**
 * Announces to a UDP tracker (BEP 15), at the first of its addresses that the policy allows.
 * @throws AnnexfsError FORBIDDEN, UNAVAILABLE (with what the tracker said), INVALID, ABORTED, TIMED_OUT.
 */
export async function announceUdp(
  tracker: string,
  announcement: Announcement,
  allowed: AllowedAddresses,
  signal: AbortSignal,
): Promise<AnnounceAnswer> {
  const where = splitAddress(/^udp:\/\/(?:[^/@]*@)?([^/?#]+)/i.exec(tracker)?.[1] ?? '')
  const shown = printable(tracker.slice(0, 200))
  if (where === undefined) throw new AnnexfsError('INVALID', `the tracker ${shown} has no host and port`)
  const [address] = await allowed(where.host)
  if (address === undefined) {
    throw new AnnexfsError('FORBIDDEN', `the tracker ${shown} has no address that may be connected to`)
  }
  const exchange = new Exchange(address, where.port, shown, signal)
  try {
    const connected = await exchange.ask(connectRequest(), 16)
    const answer = await exchange.ask(announceRequest(connected.subarray(8, 16), announcement), 20)
    const peers = compactPeers(answer.subarray(20), isIPv6(address) ? 18 : 6)
    return { interval: answer.readUInt32BE(8) * 1000, peers }
  } finally {
    exchange.close()
  }
}

function connectRequest(): Buffer {
  const request = Buffer.alloc(16)
  request.writeBigUInt64BE(PROTOCOL, 0)
  request.writeUInt32BE(CONNECT, 8)
  randomBytes(4).copy(request, 12)
  return request
}

function announceRequest(connection: Buffer, announcement: Announcement): Buffer {
  const request = Buffer.alloc(98)
  connection.copy(request, 0)
  request.writeUInt32BE(ANNOUNCE, 8)
  randomBytes(4).copy(request, 12)
  Buffer.from(announcement.infohash, 'hex').copy(request, 16)
  Buffer.from(announcement.peerId, 'hex').copy(request, 36)
  request.writeBigUInt64BE(BigInt(announcement.downloaded), 56)
  request.writeBigUInt64BE(BigInt(announcement.left), 64)
  request.writeBigUInt64BE(BigInt(announcement.uploaded), 72)
  const event = announcement.event === undefined ? 0 : announcement.event === 'started' ? STARTED : STOPPED
  request.writeUInt32BE(event, 80)
  randomBytes(4).copy(request, 88)
  request.writeInt32BE(PEERS_WANTED, 92)
  request.writeUInt16BE(announcement.port, 96)
  return request
}

/** One socket, connected to the tracker's address so that nobody else's packets come in. */
class Exchange {
  readonly #socket
  readonly #connected: Promise<void>

  constructor(
    address: string,
    port: number,
    private readonly shown: string,
    private readonly signal: AbortSignal,
  ) {
    this.#socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4')
    this.#connected = new Promise((resolve, reject) => {
      this.#socket.once('error', reject)
      this.#socket.connect(port, address, () => resolve())
    })
    // Awaited by the first request; a failure before that is not an unhandled one.
    this.#connected.catch(() => undefined)
  }

  async ask(request: Buffer, shortest: number): Promise<Buffer> {
    await this.#connected
    for (const wait of TRY_AGAIN) {
      const answer = await this.#once(request, shortest, wait)
      if (answer !== undefined) return answer
    }
    throw new AnnexfsError('UNAVAILABLE', `the tracker ${this.shown} does not answer`)
  }

  close(): void {
    this.#socket.removeAllListeners()
    this.#socket.on('error', () => undefined)
    this.#socket.close()
  }

  async #once(request: Buffer, shortest: number, wait: Milliseconds): Promise<Buffer | undefined> {
    if (this.signal.aborted) throw abortError(this.signal)
    return await new Promise((resolve, reject) => {
      const done = (settle: () => void): void => {
        clearTimeout(timer)
        this.#socket.off('message', onMessage)
        this.#socket.off('error', onError)
        this.signal.removeEventListener('abort', onAbort)
        settle()
      }
      const onMessage = (message: Buffer): void => {
        // Another transaction's, or somebody's rubbish: ours may still come.
        if (message.length < 8 || message.readUInt32BE(4) !== request.readUInt32BE(12)) return
        if (message.readUInt32BE(0) === ERROR) {
          const said = printable(message.toString('utf8', 8, 208))
          done(() => reject(new AnnexfsError('UNAVAILABLE', `the tracker ${this.shown} refused: ${said}`)))
        } else if (message.readUInt32BE(0) === request.readUInt32BE(8) && message.length >= shortest) {
          done(() => resolve(message))
        }
      }
      const onError = (error: Error): void => {
        done(() => reject(new AnnexfsError('UNAVAILABLE', `the tracker ${this.shown}: ${error.message}`)))
      }
      const onAbort = (): void => done(() => reject(abortError(this.signal)))
      const timer = setTimeout(() => done(() => resolve(undefined)), wait)
      this.#socket.on('message', onMessage)
      this.#socket.on('error', onError)
      this.signal.addEventListener('abort', onAbort, { once: true })
      this.#socket.send(request, (error) => {
        if (error !== null) onError(error)
      })
    })
  }
}
