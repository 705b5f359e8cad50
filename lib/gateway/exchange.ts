import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Patience } from '../deadline.js'
import type { Volume } from '../engine/volume.js'
import type { Log } from '../log/log.js'
import type { Milliseconds } from '../space/space.js'

/** One request and its answer, with what answering it takes. */
export interface Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly volume: Volume
  readonly log: Log
  /** The longest that a look-up, an open or a read may take. */
  readonly readTimeout: Milliseconds
  /** Fires when the client has left, or the gateway closes. */
  readonly signal: AbortSignal
  /** `http://HOST`, by the name that the client used. */
  readonly origin: string
  /** Where it goes in the tree: `/a/b`, without a slash at its end. */
  readonly path: string
  /** The request's path ended with a slash. */
  readonly folder: boolean
  /** What follows the `?`; empty without one. */
  readonly query: string
  /** Something answers below `/-/`, so that pages may link there. */
  readonly hasPage: boolean
}

/** How long work whose time is over may take to say what it was waiting for. */
const LAST_WORDS: Milliseconds = 50

/** How long a part of the answer may take; `what` it is, for the message. */
export function patience({ readTimeout, signal }: Pick<Exchange, 'readTimeout' | 'signal'>, what: string): Patience {
  return { what, timeout: readTimeout, signal, lastWords: LAST_WORDS }
}

/** Sent with everything: nothing may be guessed, embedded by other sites, or shared with them. */
export const COMMON_HEADERS: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'nosniff',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Referrer-Policy': 'no-referrer',
  'X-Frame-Options': 'DENY',
}

/** Answers with a line of text for people. */
export function say(
  { request, response }: Pick<Exchange, 'request' | 'response'>,
  status: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  const body = Buffer.from(`${text}\n`)
  response.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': body.length,
    'Cache-Control': 'no-store',
    ...headers,
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}
