import Wire from 'bittorrent-protocol'
import type { Bytes } from '../space/space.js'
import { decode } from '../torrent/bencode-compat.js'

/**
 * Guards against what a peer may send (BEP 3 framing). bittorrent-protocol waits for a message of any length and buffers
 * it, and an error thrown while it handles one ends the process. So: the length is checked as soon as it is known,
 * answers that the peer does not read are bounded, and whatever a message makes throw costs that peer its connection.
 */

/** The longest honest message is a bitfield: of the 2,097,152 pieces that a torrent may have it takes 256 KiB. */
const LONGEST_MESSAGE: Bytes = 300 * 1024
/** Waiting to be sent to a peer: metadata and rejects that it asked for and does not read. */
const MOST_UNREAD: Bytes = 4 * 1024 * 1024
const MOST_UNANSWERED_REQUESTS = 4000

const EXTENDED = 20
const EXTENDED_HANDSHAKE = 0

let installed = false

/** Puts the guard on every wire of this process, from its first byte. */
export function guardWires(): void {
  if (installed) return
  installed = true
  const onLength = Wire.prototype._onMessageLength
  const onMessage = Wire.prototype._onMessage
  const write = Wire.prototype._write
  Wire.prototype._onMessageLength = function guardedLength(this: Wire, bytes: Uint8Array): void {
    const length = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).readUInt32BE(0)
    if (length > LONGEST_MESSAGE) return dropWire(this, `announced a message of ${length} bytes`)
    if (this._readableState.buffered > MOST_UNREAD) return dropWire(this, 'does not read what it asked for')
    if (this.peerRequests.length > MOST_UNANSWERED_REQUESTS) return dropWire(this, 'asks for too many blocks at once')
    onLength.call(this, bytes)
  }
  // Joined to what is left of the chunk before, every chunk would be copied whole: so only the message that it completes.
  Wire.prototype._write = function splitWrite(this: Wire, data: Uint8Array, done: (error: null) => void): void {
    const missing = this._parserSize - this._bufferSize
    if (this.peerId === null || this._bufferSize === 0 || missing <= 0 || missing >= data.byteLength) {
      write.call(this, data, done)
      return
    }
    write.call(this, data.subarray(0, missing), () => undefined)
    write.call(this, data.subarray(missing), done)
  }
  Wire.prototype._onMessage = function guardedMessage(this: Wire, bytes: Uint8Array): void {
    try {
      // bittorrent-protocol ignores an extended handshake (BEP 10) that it cannot read; who sends one means harm.
      if (bytes[0] === EXTENDED && bytes[1] === EXTENDED_HANDSHAKE) decode(bytes.subarray(2))
      onMessage.call(this, bytes)
    } catch (error) {
      dropWire(
        this,
        `sent a message that cannot be handled (${error instanceof Error ? error.message : String(error)})`,
      )
    }
  }
}

/** Ends the connection at once, and parses nothing more of what has come already. */
export function dropWire(wire: Wire, reason: string): void {
  wire._parse(Number.MAX_VALUE, () => undefined)
  const error = new Error(`the peer ${reason}`)
  // webtorrent's peer listens once and closes the socket; without a listener the wire is closed by itself.
  if (wire.listenerCount('error') > 0) wire.emit('error', error)
  else wire.destroy()
}
