import { once } from 'node:events'
import { request, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import type { Volume } from '../../lib/engine/volume.js'
import { gateway, type Gateway, type GatewayOptions } from '../../lib/gateway/gateway.js'
import { silentLog } from '../../lib/log/log.js'

type Context = Pick<TestContext, 'after'>

export interface TestGateway extends Gateway {
  readonly port: number
}

/** A gateway over `volume` on a free port of 127.0.0.1, closed when the test ends. */
export async function startGateway(
  t: Context,
  volume: Volume,
  options: Partial<GatewayOptions> = {},
): Promise<TestGateway> {
  const started = await gateway({
    volume,
    listen: { host: '127.0.0.1', port: 0 },
    readTimeout: 10_000,
    log: silentLog,
    ...options,
  })
  t.after(() => started.close())
  return { ...started, port: Number(new URL(started.url).port) }
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly text: string
  /** The connection ended before the answer was whole. */
  readonly broken: boolean
}

export interface Asked {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

/** One request on a connection of its own, with just the path and headers that are given. */
export async function ask(port: number, path: string, asked: Asked = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body } = asked
  const sent = request({ host: '127.0.0.1', port, path, method, headers, agent: false, timeout: 120_000 })
  sent.on('timeout', () => sent.destroy(new Error(`no answer to ${method} ${path}`)))
  sent.end(body)
  const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage]
  const chunks: Buffer[] = []
  let broken = false
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  } catch {
    // Just this is what the caller wants to see.
    broken = true
  }
  const whole = Buffer.concat(chunks)
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: whole,
    text: whole.toString(),
    broken: broken || !response.complete,
  }
}

export interface RawConnection {
  readonly socket: Socket
  /** All that came so far, one character a byte. */
  received(): string
  /** Until the other side has ended the connection, or `timeout` ms: whether it has. */
  ended(timeout: number): Promise<boolean>
  /** Until what came matches. */
  matched(pattern: RegExp, timeout?: number): Promise<string>
}

/** A bare connection to send just anything; closed when the test ends. */
export async function rawConnection(t: Context, port: number, text = ''): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  let received = ''
  let over = false
  const watchers = new Set<() => void>()
  const look = (): void => {
    for (const watcher of Array.from(watchers)) watcher()
  }
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    received += chunk
    look()
  })
  // A reset is an end as well.
  socket.on('error', () => undefined)
  socket.on('close', () => {
    over = true
    look()
  })
  if (text !== '') socket.write(text, 'latin1')
  const until = (done: () => boolean, timeout: number): Promise<boolean> =>
    new Promise((resolve) => {
      const end = (value: boolean): void => {
        clearTimeout(timer)
        watchers.delete(watcher)
        resolve(value)
      }
      const watcher = (): void => {
        if (done()) end(true)
      }
      const timer = setTimeout(() => end(done()), timeout)
      watchers.add(watcher)
      watcher()
    })
  return {
    socket,
    received: () => received,
    ended: (timeout) => until(() => over, timeout),
    matched: async (pattern, timeout = 60_000) => {
      if (await until(() => pattern.test(received), timeout)) return received
      throw new Error(`${String(pattern)} did not come within ${timeout} ms: ${received.slice(0, 500)}`)
    },
  }
}

/** The status line and headers of `text`, sent as they are, and all that is answered before the connection ends. */
export async function rawAnswer(t: Context, port: number, text: string): Promise<string> {
  const connection = await rawConnection(t, port, text)
  if (!(await connection.ended(15_000))) throw new Error(`no end: ${connection.received().slice(0, 500)}`)
  return connection.received()
}
