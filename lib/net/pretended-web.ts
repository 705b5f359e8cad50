import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import Agent from 'undici/lib/dispatcher/agent.js'
import type { Bytes } from '../space/space.js'
import { exchange } from './http-body.js'
import type { WebReads } from './http-client.js'

/**
 * A client whose requests a server within this process answers, with ranges of `length` zeros: the real parser over a
 * pretended connection. Nothing leaves the process, and no socket is opened.
 */
export function pretendedWeb(length: Bytes): WebReads & { close(): Promise<void> } {
  const agent = new Agent({
    pipelining: 1,
    allowH2: false,
    connect: (_options, done) => {
      // The client wants of a socket only what every stream has.
      const socket = pretendedServer(length) as unknown as Socket
      process.nextTick(() => done(null, socket))
    },
  })
  const ask: WebReads['get'] = (url, { range = { start: 0, end: length }, room, signal }) =>
    exchange(agent, {
      url: new URL(url),
      method: 'GET',
      headers: { range: `bytes=${range.start}-${range.end - 1}`, accept: '*/*' },
      signal,
      idleTimeout: 1_000,
      ...(room === undefined ? {} : { target: { at: range.start, room } }),
    })
  return { get: ask, head: (url, signal) => ask(url, { signal }), close: () => agent.destroy() }
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
