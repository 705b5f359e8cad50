import { Duplex } from 'node:stream'
import { silentLog } from '../log/log.js'
import type { Bytes } from '../space/space.js'
import { HttpClient } from './http-client.js'

/**
 * A client that may connect to no address, and whose requests a server within this process answers, with ranges of `length` zeros: the real parser over a
 * pretended connection. Nothing leaves the process, and no socket is opened.
 */
export function pretendedWeb(length: Bytes): HttpClient {
  return new HttpClient({ policy: { allows: () => false }, log: silentLog, connect: () => pretendedServer(length) })
}

function pretendedServer(length: Bytes): Duplex {
  return new Duplex({
    read: () => undefined,
    write(request: Buffer, _encoding, done) {
      const [, from = '0', to = '0'] = /^range: bytes=(\d+)-(\d+)/im.exec(request.toString('latin1')) ?? []
      const body = Buffer.alloc(Number(to) + 1 - Number(from))
      const head = `HTTP/1.1 206 Partial Content\r\nContent-Length: ${body.length}\r\nContent-Range: bytes ${from}-${to}/${length}\r\n\r\n`
      this.push(Buffer.concat([Buffer.from(head), body]))
      done()
    },
  })
}
