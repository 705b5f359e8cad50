import { Socket } from 'node:net'
import type { Bytes } from '../space/space.js'

/*
 * Node.js makes a new buffer for each read from a socket, 64 KiB at the most, and collecting them costs as much as
 * reading. Here a socket reads into one buffer of its own again and again, and the HTTP parser, which copies what it is
 * given, runs while the bytes are there. Whoever is called with bytes of such a connection must not keep them.
 */

/** As much as one read from the kernel may give. */
const BUFFER: Bytes = 256 * 1024
/** So much is given as a copy: of heads of answers, which are shorter, the parser keeps parts until all is there. */
const COPIED: Bytes = 64 * 1024

/** Options for `node:net`, for one socket. */
export interface OneBuffer {
  readonly onread: {
    readonly buffer: Uint8Array
    callback(this: unknown, length: number, buffer: Uint8Array): boolean
  }
}

/** What lies in the buffer of a socket that is being told of it: gone when that is over. */
const fresh = new WeakMap<Socket, Buffer>()

/** Makes a socket read into one buffer, once {@link readsOneBuffer} was called with it. */
export function oneBuffer(): OneBuffer {
  return { onread: { buffer: Buffer.allocUnsafeSlow(BUFFER), callback: onRead } }
}

function onRead(this: unknown, length: number, buffer: Uint8Array): boolean {
  if (!(this instanceof Socket)) throw new TypeError('a socket calls this')
  const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, length)
  fresh.set(this, length <= COPIED ? Buffer.from(bytes) : bytes)
  this.emit('readable')
  // The parser rests.
  if (fresh.delete(this)) return this.push(Buffer.from(bytes))
  return true
}

/** Has `socket`, made with {@link oneBuffer}, give what it reads as if it came from a stream. */
export function readsOneBuffer(socket: Socket): void {
  const read = socket.read.bind(socket)
  const unshift = socket.unshift.bind(socket)
  socket.read = (size?: number): unknown => {
    const bytes = fresh.get(socket)
    // What was put back is older.
    if (bytes === undefined || socket.readableLength > 0) return read(size)
    fresh.delete(socket)
    return bytes
  }
  // What is put back stays for longer than the buffer has it.
  socket.unshift = (chunk: Uint8Array, encoding?: BufferEncoding): void => unshift(Buffer.from(chunk), encoding)
}
